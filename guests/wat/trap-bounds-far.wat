;; SPDX-License-Identifier: Apache-2.0
;; Reads as far away as one instruction can reach: address and offset at their largest.
(module $traps
  (memory (export "memory") 1)
  (func $read_far (param i32) (result i64) (i64.load offset=4294967295 (local.get 0)))
  (func $start (export "_start") (drop (call $read_far (i32.const -1)))))
