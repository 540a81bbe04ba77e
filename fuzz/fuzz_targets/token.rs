// SPDX-License-Identifier: Apache-2.0

//! See [`enarx_fuzz::token`].

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| enarx_fuzz::token(input));
