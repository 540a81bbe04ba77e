// SPDX-License-Identifier: Apache-2.0

//! OpenID Connect for a resource server: discovery, keys with rotation, and what a token has to say.

#![forbid(unsafe_code)]
