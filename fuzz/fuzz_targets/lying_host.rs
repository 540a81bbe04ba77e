// SPDX-License-Identifier: Apache-2.0

//! The host answers as the fuzzer likes.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sallyport::testing::lying_host(input));
