;; SPDX-License-Identifier: Apache-2.0
;; Reads the first byte after the end of a memory of one page.
(module $traps
  (memory (export "memory") 1)
  (func $read (param i32) (result i32) (i32.load8_u (local.get 0)))
  (func $start (export "_start")
    (drop (call $read (i32.const 65535)))
    (drop (call $read (i32.const 65536)))))
