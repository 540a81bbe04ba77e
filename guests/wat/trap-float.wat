;; SPDX-License-Identifier: Apache-2.0
(module $traps
  (memory (export "memory") 1)
  (func $convert (param f64) (result i32) (i32.trunc_f64_s (local.get 0)))
  (func $start (export "_start") (drop (call $convert (f64.const nan)))))
