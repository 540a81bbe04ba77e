// SPDX-License-Identifier: Apache-2.0

//! For who talks to a Keep: is the peer what I demand?
//!
//! A Steward's signature says that a Keep satisfied the *Steward's* policy. Who relies on the certificate
//! may want more: this measurement and no other, no development Keeps, firmware that is up to date. The
//! Steward has written what it verified into the certificate, so that can be demanded without asking it,
//! and without knowing anything about quotes and reports.
//!
//! [`check`] holds a certificate and its chain against [`Demands`]; with the feature `rustls`,
//! `KeepVerifier` does so within a TLS handshake, as a client and as a server, and `Possession` leaves it to
//! a server to do so later. `examples/measured_client.rs` is a client that talks to given measurements alone.
//!
//! Nothing is trusted but the roots that the caller names: not those of the system, and not a certificate
//! that merely has the extension.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod chain;
mod demands;
mod refusal;
#[cfg(feature = "rustls")]
mod tls;

use evidence_crypto::Crypto;
pub use evidence_pki::Time;
pub use steward_claims::{CertificateClaims, Workload};

pub use demands::Demands;
pub use refusal::PartyRefusal;
#[cfg(feature = "rustls")]
pub use tls::{KeepVerifier, Names, Possession};

/// Whether a certificate of a Keep leads to one of `roots` and says what is demanded; if so, what it says.
///
/// `leaf` is the Keep's certificate, `chain` what came with it, in any order, at most
/// [`MAX_CHAIN`], and `roots` the roots of Stewards that are trusted; all of them DER. Names in the
/// certificate are not looked at: they are for who knows whom it wants to talk to.
///
/// # Errors
///
/// [`PartyRefusal`]: the first thing that is wrong, the chain before the claims.
pub fn check(
    leaf: &[u8],
    chain: &[&[u8]],
    demands: &Demands,
    now: Time,
    crypto: &dyn Crypto,
    roots: &[&[u8]],
) -> Result<CertificateClaims, PartyRefusal> {
    let leaf = chain::verify(leaf, chain, now, crypto, roots)?;
    let extension = leaf.extension(steward_claims::OID).ok_or(PartyRefusal::NoClaims)?;
    let claims = CertificateClaims::from_der(extension.value)?;
    demands.check(&claims, now)?;
    Ok(claims)
}

/// How many certificates may come with a leaf.
pub const MAX_CHAIN: usize = 8;
