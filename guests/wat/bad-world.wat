;; SPDX-License-Identifier: Apache-2.0
;; A sound component of a world that is not `wasi:cli/command`: there is nothing to run.
(component
  (import "acme:device/driver@1.0.0" (instance
    (export "fire" (func (param "strength" u32))))))
