// SPDX-License-Identifier: Apache-2.0

//! A small OpenID Connect issuer for development and tests: device flow, client credentials, rotating keys.

#![forbid(unsafe_code)]
