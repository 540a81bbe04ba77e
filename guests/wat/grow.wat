;; SPDX-License-Identifier: Apache-2.0
;; Grows its memory page by page until it is refused, and ends with 0 if it got at least 256 pages.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $more
      (if (i32.ne (memory.grow (i32.const 16)) (i32.const -1)) (then
        (i32.store (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 4)) (i32.const 7))
        (br_if $more (i32.lt_u (memory.size) (i32.const 8192))))))
    (call $proc_exit (i32.lt_u (memory.size) (i32.const 256)))))
