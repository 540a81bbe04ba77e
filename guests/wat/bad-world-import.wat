;; SPDX-License-Identifier: Apache-2.0
;; A component that can be run, but wants what `wasi:cli/command` does not offer; it must be named.
(component
  (import "acme:device/driver@1.0.0" (instance $driver (export "fire" (func))))
  (core module $main (func (export "run") (result i32) (i32.const 0)))
  (core instance $main (instantiate $main))
  (func $run (result (result)) (canon lift (core func $main "run")))
  (instance $run (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $run)))
