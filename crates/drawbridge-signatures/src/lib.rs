// SPDX-License-Identifier: Apache-2.0

//! Signed tags: JWS, and sigstore bundles verified offline.

#![forbid(unsafe_code)]
