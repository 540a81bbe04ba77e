// SPDX-License-Identifier: Apache-2.0

//! Who a Keep is: its key, its request to the Steward, what it believes of the answer, and when to ask
//! again.
//!
//! A Keep makes a key that never leaves it ([`Key`]), asks its platform for evidence that speaks for that key
//! and for what it is about to run ([`Request`]), and sends both to a Steward. What comes back counts only if
//! it leads to a root that the launch names, is of that key, and says what was asked for
//! ([`Request::check`]). Where there is no Steward, a Keep signs for itself ([`self_signed`]), which proves
//! nothing but keeps the traffic secret from who merely listens. A key with which its workload can seal data
//! ([`sealing_key`]) comes from the platform, too.
//!
//! Nothing here reads, writes, waits or looks at a clock; whoever calls does that.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod error;
mod identity;
mod key;
mod request;
mod sealing;
mod self_signed;

pub use attested_request::Binding;
pub use error::IdentityError;
pub use evidence_pki::Time;
pub use identity::Identity;
pub use key::Key;
pub use request::{CONTENT_TYPE, MAX_ANSWER, MIN_REST, Request};
pub use sealing::{CodeOrigin, sealing_key};
pub use self_signed::{SELF_SIGNED_LIFETIME, self_signed};
pub use steward_claims::CertificateClaims;
