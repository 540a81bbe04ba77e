// SPDX-License-Identifier: Apache-2.0

//! The Keep asks as the fuzzer likes.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| keep_host::testing::hostile_keep(input));
