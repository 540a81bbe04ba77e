;; SPDX-License-Identifier: Apache-2.0
;; Imports a function that exists by a type that it does not have.
(module
  (import "wasi_snapshot_preview1" "sched_yield" (func (param i64) (result f32)))
  (memory (export "memory") 1)
  (func (export "_start")))
