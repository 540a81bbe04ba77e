;; SPDX-License-Identifier: Apache-2.0
;; Imports a function that WASI does not have; the error must name it.
(module
  (import "wasi_snapshot_preview1" "fd_teleport" (func (param i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")))
