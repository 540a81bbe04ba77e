;; SPDX-License-Identifier: Apache-2.0
;; A sound component, but of a world that is not `wasi:cli/command`.
(component
  (import "acme:device/driver@1.0.0" (instance
    (export "fire" (func (param "strength" u32))))))
