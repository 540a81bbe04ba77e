// SPDX-License-Identifier: Apache-2.0

//! OpenID Connect for a resource server: discovery, keys with rotation, and what a token has to say.
//!
//! A [`Verifier`] speaks for one issuer and one audience. The keys of the issuer are fetched when it is
//! made, again from time to time, and when a token names a key that is not known; never more often than
//! [`Options::min_refetch`], whatever tokens come in. While the issuer is down, the keys that are known
//! go on to count, for [`Options::max_stale`] at most.
//!
//! Which algorithm verifies a token is decided by the key of the issuer, not by the token: the `alg` of a
//! token's header is used only to refuse what does not fit (RFC 8725, §3.1 and §3.2). There are no
//! symmetric algorithms here, and no `none`.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod claims;
mod error;
mod keys;
#[cfg(feature = "testing")]
pub mod testing;
mod token;
mod verifier;

pub use claims::Claims;
pub use error::TokenError;
pub use keys::Algorithm;
pub use oidc_discovery::DiscoveryError;
pub use verifier::{Options, Verifier};
