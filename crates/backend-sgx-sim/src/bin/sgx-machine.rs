// SPDX-License-Identifier: Apache-2.0

//! The machine of one Keep, for the tests of this crate: `enarx` is its own machine.

fn main() {
    backend_sgx_sim::machine();
}
