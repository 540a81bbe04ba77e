// SPDX-License-Identifier: Apache-2.0

//! Certificates and revocation lists of AMD: from the firmware, the KDS or a certificate table, checked and cached.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
