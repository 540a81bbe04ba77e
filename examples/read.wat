;; SPDX-License-Identifier: Apache-2.0
;; Writes the file `today.txt` of its first folder to standard output.
(module $read
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read"
    (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 100) "today.txt")

  ;; 0: the file's descriptor; 8: a list of one piece; 16: how much was read; 20: written.
  (func (export "_start")
    (if (call $path_open
          (i32.const 3)         ;; the first folder
          (i32.const 0)         ;; no flags for looking it up
          (i32.const 100) (i32.const 9)
          (i32.const 0)         ;; neither made nor emptied
          (i64.const 2)         ;; the right to read
          (i64.const 0)
          (i32.const 0)
          (i32.const 0))
      (then (call $proc_exit (i32.const 1))))
    (loop $more
      (i32.store (i32.const 8) (i32.const 1024))
      (i32.store (i32.const 12) (i32.const 4096))
      (if (call $fd_read (i32.load (i32.const 0)) (i32.const 8) (i32.const 1) (i32.const 16))
        (then (call $proc_exit (i32.const 2))))
      (if (i32.load (i32.const 16)) (then
        (i32.store (i32.const 12) (i32.load (i32.const 16)))
        (drop (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 20)))
        (br $more))))))
