// SPDX-License-Identifier: Apache-2.0

//! What a Keep in an SGX enclave knows of the hardware, as data and logic.

#![no_std]
#![forbid(unsafe_code)]
