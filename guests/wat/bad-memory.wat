;; SPDX-License-Identifier: Apache-2.0
;; Wants 4 GiB from the start: more than a Keep that was given less can hand out.
(module
  (memory (export "memory") 65536)
  (func (export "_start")))
