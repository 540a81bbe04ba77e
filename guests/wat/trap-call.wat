;; SPDX-License-Identifier: Apache-2.0
;; Calls through a table: a null entry.
(module $traps
  (memory (export "memory") 1)
  (table 2 funcref)
  (type $t (func))
  (func $indirect (call_indirect (type $t) (i32.const 1)))
  (func $start (export "_start") (call $indirect)))
