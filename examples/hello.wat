;; SPDX-License-Identifier: Apache-2.0
;; The smallest useful WASI program: one line to standard output. `enarx run` takes the text form as
;; it is, so that a first look needs no compiler for WebAssembly.
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)

  ;; One piece of text, as address and length, then the text.
  (data (i32.const 0) "\08\00\00\00" "\13\00\00\00")
  (data (i32.const 8) "Hello from a Keep!\0a")

  (func (export "_start")
    (drop (call $fd_write
      (i32.const 1)      ;; standard output
      (i32.const 0)      ;; where the list of pieces begins
      (i32.const 1)      ;; one piece
      (i32.const 32))))) ;; where to put how much was written
