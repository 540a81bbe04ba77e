// SPDX-License-Identifier: Apache-2.0

//! See [`snp_guest::host::hostile`].

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| snp_guest::host::hostile(input));
