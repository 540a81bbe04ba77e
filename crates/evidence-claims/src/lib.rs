// SPDX-License-Identifier: Apache-2.0

//! What verified evidence says ([`Claims`]), why evidence is refused ([`Reason`]), and the seam
//! ([`Format`]) by which a format of evidence joins the verifier.
//!
//! The words are those of RFC 9334: a Keep is the attester, its report or quote is *evidence*, what the
//! processor's vendor says about the processor (certificates, revocation lists, TCB information) are
//! *endorsements*. Verifying yields claims and decides nothing else: that a claim is welcome is for a
//! policy to say. Claims exist only for evidence that is genuine, so whatever fails before that point is
//! a refusal and never a claim.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod claims;
mod detail;
mod format;
mod reason;
pub mod statement;

pub use claims::{Claims, Platform, Svn, TcbStatus};
pub use detail::{
    Detail, Firmware, PckAuthority, QuotePlatform, SgxDetail, SigningKey, SnpDetail, SnpProduct,
    TcbVersion, TdxDetail,
};
pub use evidence_pki::Time;
pub use format::{
    Check, Endorsement, Endorsements, EndorsementsError, Field, Format, Outcome, kind,
};
pub use reason::{Reason, Refusal};
