;; SPDX-License-Identifier: Apache-2.0
;; Imports from a module that no world has; the error must name it.
(module
  (import "env" "launch" (func))
  (memory (export "memory") 1)
  (func (export "_start")))
