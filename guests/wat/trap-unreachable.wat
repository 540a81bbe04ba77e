;; SPDX-License-Identifier: Apache-2.0
(module $traps
  (memory (export "memory") 1)
  (func $innermost unreachable)
  (func $middle (call $innermost))
  (func $start (export "_start") (call $middle)))
