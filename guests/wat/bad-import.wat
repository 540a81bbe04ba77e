;; SPDX-License-Identifier: Apache-2.0
;; Imports a function that no world has; the error must name it.
(module
  (import "wasi_snapshot_preview1" "fd_teleport" (func (param i32) (result i32)))
  (import "env" "launch_missiles" (func))
  (memory (export "memory") 1)
  (func (export "_start")))
