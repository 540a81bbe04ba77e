// SPDX-License-Identifier: Apache-2.0

//! See [`enarx_fuzz::sigstore`].

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| enarx_fuzz::sigstore(input));
