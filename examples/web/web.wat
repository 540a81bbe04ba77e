;; SPDX-License-Identifier: Apache-2.0
;; A web service without a compiler: HTTP/1.1 with keep-alive and pipelining, up to 1000 connections
;; at a time, one event loop around poll_oneoff. TLS is the Keep's work; what arrives here is plain.
;;
;; GET answers one page, every other method 405. A connection is closed at the first fault.
(module $web
  (import "wasi_snapshot_preview1" "fd_fdstat_get"
    (func $fd_fdstat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_set_flags"
    (func $fd_fdstat_set_flags (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_accept"
    (func $sock_accept (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_recv"
    (func $sock_recv (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_send"
    (func $sock_send (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff"
    (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))

  (memory (export "memory") 4)

  ;; 0: one piece of memory, its address and length; 8, 12, 16: results of calls; 32: state of a
  ;; descriptor. From 0x400: the answers. From 0x1000: 4 KiB of what arrived.
  ;; From 0x10000: connections, 32 bytes each:
  ;;   0  descriptor; -1 once it is closed
  ;;   4  how many bytes of the end of a head, CR LF CR LF, were just seen
  ;;   8  bytes of this head so far
  ;;   12 answers owed
  ;;   16 bytes of the first of them that were sent
  ;;   20 whether a request was not understood: 405 after the others, and the end
  ;; From 0x20000: subscriptions, 48 bytes each. From 0x30000: events, 32 bytes each.
  (data (i32.const 0x400)
    "HTTP/1.1 200 OK\0d\0a"
    "Content-Type: text/html; charset=utf-8\0d\0a"
    "Content-Length: 228\0d\0a"
    "\0d\0a"
    "<!DOCTYPE html>\0a"
    "<html lang=\"en\">\0a"
    "<meta charset=\"utf-8\">\0a"
    "<title>A Keep</title>\0a"
    "<h1>Hello from a Keep</h1>\0a"
    "<p>This page was made inside of one, and left it through TLS that ends there:\0a"
    "the host carried what it could not read.</p>\0a")
  (global $page i32 (i32.const 0x400))
  (global $page_len i32 (i32.const 308))
  (data (i32.const 0x800)
    "HTTP/1.1 405 Method Not Allowed\0d\0a"
    "Allow: GET\0d\0a"
    "Content-Length: 0\0d\0a"
    "Connection: close\0d\0a"
    "\0d\0a")
  (global $refusal i32 (i32.const 0x800))
  (global $refusal_len i32 (i32.const 85))

  (global $max i32 (i32.const 1000))
  (global $max_head i32 (i32.const 8192))
  (global $again i32 (i32.const 6))
  (global $listener (mut i32) (i32.const 0))
  (global $count (mut i32) (i32.const 0))

  (func $connection (param $index i32) (result i32)
    (i32.add (i32.const 0x10000) (i32.shl (local.get $index) (i32.const 5))))

  ;; The first descriptor that is a socket, or the end.
  (func $find_listener
    (loop $next
      (if (i32.eqz (call $fd_fdstat_get (global.get $listener) (i32.const 32)))
        (then (if (i32.eq (i32.load8_u (i32.const 32)) (i32.const 6)) (then (return)))))
      (global.set $listener (i32.add (global.get $listener) (i32.const 1)))
      (br_if $next (i32.lt_u (global.get $listener) (i32.const 64)))
      (call $proc_exit (i32.const 1))))

  ;; Takes every connection that waits, while there is room.
  (func $accept (local $at i32)
    (loop $more
      (if (i32.ge_u (global.get $count) (global.get $max)) (then (return)))
      ;; 4: calls on the new descriptor do not block.
      (if (call $sock_accept (global.get $listener) (i32.const 4) (i32.const 8))
        (then (return)))
      (local.set $at (call $connection (global.get $count)))
      (memory.fill (local.get $at) (i32.const 0) (i32.const 32))
      (i32.store (local.get $at) (i32.load (i32.const 8)))
      (global.set $count (i32.add (global.get $count) (i32.const 1)))
      (br $more)))

  (func $close (param $at i32)
    (drop (call $fd_close (i32.load (local.get $at))))
    (i32.store (local.get $at) (i32.const -1)))

  ;; Forgets what was closed; the last connection takes its place.
  (func $sweep (local $index i32) (local $at i32)
    (local.set $index (global.get $count))
    (block $all
      (loop $next
        (br_if $all (i32.eqz (local.get $index)))
        (local.set $index (i32.sub (local.get $index) (i32.const 1)))
        (local.set $at (call $connection (local.get $index)))
        (br_if $next (i32.ne (i32.load (local.get $at)) (i32.const -1)))
        (global.set $count (i32.sub (global.get $count) (i32.const 1)))
        (memory.copy (local.get $at) (call $connection (global.get $count)) (i32.const 32))
        (br $next))))

  ;; Reads once and counts the requests in it. Whether the connection lives on.
  (func $receive (param $at i32) (result i32)
    (local $errno i32) (local $cursor i32) (local $end i32) (local $byte i32) (local $seen i32)
    (i32.store (i32.const 0) (i32.const 0x1000))
    (i32.store (i32.const 4) (i32.const 4096))
    (local.set $errno
      (call $sock_recv (i32.load (local.get $at)) (i32.const 0) (i32.const 1) (i32.const 0)
        (i32.const 8) (i32.const 12)))
    (if (local.get $errno)
      (then (return (i32.eq (local.get $errno) (global.get $again)))))
    ;; Nothing is the end.
    (if (i32.eqz (i32.load (i32.const 8))) (then (return (i32.const 0))))
    (local.set $cursor (i32.const 0x1000))
    (local.set $end (i32.add (local.get $cursor) (i32.load (i32.const 8))))
    (local.set $seen (i32.load offset=4 (local.get $at)))
    (loop $next
      (local.set $byte (i32.load8_u (local.get $cursor)))
      ;; The first letter of a method tells enough.
      (if (i32.and
            (i32.eqz (i32.load offset=8 (local.get $at)))
            (i32.ne (local.get $byte) (i32.const 71)))
        (then
          (i32.store offset=20 (local.get $at) (i32.const 1))
          (return (i32.const 1))))
      (i32.store offset=8 (local.get $at)
        (i32.add (i32.load offset=8 (local.get $at)) (i32.const 1)))
      (if (i32.gt_u (i32.load offset=8 (local.get $at)) (global.get $max_head))
        (then (return (i32.const 0))))
      ;; CR comes at even places of the four, LF at odd ones.
      (if (i32.eq (local.get $byte)
            (select (i32.const 10) (i32.const 13) (i32.and (local.get $seen) (i32.const 1))))
        (then (local.set $seen (i32.add (local.get $seen) (i32.const 1))))
        (else (local.set $seen (i32.eq (local.get $byte) (i32.const 13)))))
      (if (i32.eq (local.get $seen) (i32.const 4))
        (then
          (local.set $seen (i32.const 0))
          (i32.store offset=8 (local.get $at) (i32.const 0))
          (i32.store offset=12 (local.get $at)
            (i32.add (i32.load offset=12 (local.get $at)) (i32.const 1)))))
      (local.set $cursor (i32.add (local.get $cursor) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $cursor) (local.get $end))))
    (i32.store offset=4 (local.get $at) (local.get $seen))
    (i32.const 1))

  ;; Sends what is owed, as far as there is room. Whether the connection lives on.
  (func $answer (param $at i32) (result i32) (local $errno i32)
    (loop $more
      (if (i32.eqz (i32.load offset=12 (local.get $at)))
        (then
          (if (i32.eqz (i32.load offset=20 (local.get $at))) (then (return (i32.const 1))))
          ;; Short enough for the room that an empty socket has.
          (i32.store (i32.const 0) (global.get $refusal))
          (i32.store (i32.const 4) (global.get $refusal_len))
          (drop (call $sock_send (i32.load (local.get $at)) (i32.const 0) (i32.const 1)
            (i32.const 0) (i32.const 8)))
          (return (i32.const 0))))
      (i32.store (i32.const 0)
        (i32.add (global.get $page) (i32.load offset=16 (local.get $at))))
      (i32.store (i32.const 4)
        (i32.sub (global.get $page_len) (i32.load offset=16 (local.get $at))))
      (local.set $errno
        (call $sock_send (i32.load (local.get $at)) (i32.const 0) (i32.const 1) (i32.const 0)
          (i32.const 8)))
      (if (local.get $errno)
        (then (return (i32.eq (local.get $errno) (global.get $again)))))
      (i32.store offset=16 (local.get $at)
        (i32.add (i32.load offset=16 (local.get $at)) (i32.load (i32.const 8))))
      (if (i32.eq (i32.load offset=16 (local.get $at)) (global.get $page_len))
        (then
          (i32.store offset=16 (local.get $at) (i32.const 0))
          (i32.store offset=12 (local.get $at)
            (i32.sub (i32.load offset=12 (local.get $at)) (i32.const 1)))))
      (br $more))
    (unreachable))

  (func $serve (param $at i32) (result i32)
    (if (i32.eqz (i32.or
          (i32.load offset=12 (local.get $at)) (i32.load offset=20 (local.get $at))))
      (then
        (if (i32.eqz (call $receive (local.get $at))) (then (return (i32.const 0))))))
    (call $answer (local.get $at)))

  ;; Asks to be told of a descriptor. `type` is 1 for reading, 2 for writing.
  (func $subscribe (param $slot i32) (param $who i32) (param $fd i32) (param $type i32)
    (local $at i32)
    (local.set $at (i32.add (i32.const 0x20000) (i32.mul (local.get $slot) (i32.const 48))))
    (i64.store (local.get $at) (i64.extend_i32_s (local.get $who)))
    (i32.store8 offset=8 (local.get $at) (local.get $type))
    (i32.store offset=16 (local.get $at) (local.get $fd)))

  ;; Waits until something can be done. How many events there are.
  (func $wait (result i32) (local $index i32) (local $slots i32) (local $at i32)
    (block $all
      (loop $next
        (br_if $all (i32.ge_u (local.get $index) (global.get $count)))
        (local.set $at (call $connection (local.get $index)))
        (call $subscribe (local.get $index) (local.get $index) (i32.load (local.get $at))
          (select (i32.const 2) (i32.const 1)
            (i32.or (i32.load offset=12 (local.get $at)) (i32.load offset=20 (local.get $at)))))
        (local.set $index (i32.add (local.get $index) (i32.const 1)))
        (br $next)))
    (local.set $slots (global.get $count))
    (if (i32.lt_u (global.get $count) (global.get $max))
      (then
        (call $subscribe (local.get $slots) (i32.const -1) (global.get $listener) (i32.const 1))
        (local.set $slots (i32.add (local.get $slots) (i32.const 1)))))
    (if (call $poll_oneoff (i32.const 0x20000) (i32.const 0x30000) (local.get $slots)
          (i32.const 8))
      (then (call $proc_exit (i32.const 2))))
    (i32.load (i32.const 8)))

  (func (export "_start") (local $event i32) (local $who i32) (local $at i32)
    (call $find_listener)
    ;; 4: to accept where nobody waits does not block.
    (if (call $fd_fdstat_set_flags (global.get $listener) (i32.const 4))
      (then (call $proc_exit (i32.const 3))))
    (loop $forever
      (local.set $event (call $wait))
      (block $none
        (loop $next
          (br_if $none (i32.eqz (local.get $event)))
          (local.set $event (i32.sub (local.get $event) (i32.const 1)))
          (local.set $who
            (i32.wrap_i64 (i64.load
              (i32.add (i32.const 0x30000) (i32.shl (local.get $event) (i32.const 5))))))
          (br_if $next (i32.lt_s (local.get $who) (i32.const 0)))
          (local.set $at (call $connection (local.get $who)))
          (if (i32.eqz (call $serve (local.get $at))) (then (call $close (local.get $at))))
          (br $next)))
      (call $sweep)
      (call $accept)
      (br $forever))))
