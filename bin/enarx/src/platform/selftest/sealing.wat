;; SPDX-License-Identifier: Apache-2.0

;; Reads its key for sealing, tries in vain to put a file beside it, and prints 32 bits of a digest of it: enough
;; to tell keys apart, and nothing to guess them by. Ends with 42, or with the number of what is wrong.
(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read"
    (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "key")
  (data (i32.const 8) "new")
  (func $must (param $right i32) (param $number i32)
    (if (i32.eqz (local.get $right)) (then (call $proc_exit (local.get $number)))))
  (func (export "_start") (local $at i32) (local $digest i32) (local $digit i32)
    ;; The folder is the first descriptor behind the three streams.
    (call $must
      (i32.eqz (call $path_open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 3) (i32.const 0)
        (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 16)))
      (i32.const 1))
    ;; There is room for more than the 32 bytes.
    (i32.store (i32.const 32) (i32.const 128))
    (i32.store (i32.const 36) (i32.const 64))
    (call $must
      (i32.eqz (call $fd_read (i32.load (i32.const 16)) (i32.const 32) (i32.const 1) (i32.const 24)))
      (i32.const 2))
    (call $must (i32.eq (i32.load (i32.const 24)) (i32.const 32)) (i32.const 3))
    (call $must
      (call $path_open (i32.const 3) (i32.const 0) (i32.const 8) (i32.const 3) (i32.const 1)
        (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 20))
      (i32.const 4))
    ;; FNV-1a.
    (local.set $digest (i32.const 0x811c9dc5))
    (local.set $at (i32.const 128))
    (loop $bytes
      (local.set $digest (i32.mul (i32.const 0x01000193)
        (i32.xor (local.get $digest) (i32.load8_u (local.get $at)))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $bytes (i32.lt_u (local.get $at) (i32.const 160))))
    (local.set $at (i32.const 200))
    (loop $digits
      (local.set $digit (i32.shr_u (local.get $digest) (i32.const 28)))
      (i32.store8 (local.get $at) (i32.add (local.get $digit)
        (select (i32.const 87) (i32.const 48) (i32.gt_u (local.get $digit) (i32.const 9)))))
      (local.set $digest (i32.shl (local.get $digest) (i32.const 4)))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $digits (i32.lt_u (local.get $at) (i32.const 208))))
    (i32.store8 (i32.const 208) (i32.const 10))
    (i32.store (i32.const 32) (i32.const 200))
    (i32.store (i32.const 36) (i32.const 9))
    (call $must
      (i32.eqz (call $fd_write (i32.const 1) (i32.const 32) (i32.const 1) (i32.const 24)))
      (i32.const 5))
    (call $proc_exit (i32.const 42))))
