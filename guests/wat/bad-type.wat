;; SPDX-License-Identifier: Apache-2.0
;; Good text, bad types: the validator must refuse it.
(module
  (memory (export "memory") 1)
  (func (export "_start") (i32.add (i32.const 1))))
