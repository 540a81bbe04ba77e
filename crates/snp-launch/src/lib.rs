// SPDX-License-Identifier: Apache-2.0

//! What SEV-SNP measures and checks when a guest is launched, computed without the hardware.

#![forbid(unsafe_code)]
