;; SPDX-License-Identifier: Apache-2.0
;; Divides by zero, two calls deep: the backtrace has the functions' names.
(module $trap
  (memory (export "memory") 1)
  (func $divide (param $by i32)
    (drop (i32.div_s (i32.const 1) (local.get $by))))
  (func $main (export "_start")
    (call $divide (i32.const 0))))
