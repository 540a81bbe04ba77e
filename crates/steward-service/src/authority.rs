// SPDX-License-Identifier: Apache-2.0

//! Makes a certificate authority: a root and an intermediate.
//!
//! Two certificates rather than one, so that the root's key can be put away: certificates of Keeps are
//! signed by the intermediate, which can be renewed without a word to anybody who trusts the root.

use evidence_claims::Time;
use evidence_crypto::AwsLc;
use evidence_pki::{Certificate, PkiError};
use steward_core::certificate::{Issuer, Profile, Template, name};
use steward_core::{KeyError, PemKey, SignError, Signer, SigningAlgorithm};

use crate::decision;

const DAY: u64 = 86_400;
/// Long enough that no relying party has to change its root all the time.
const ROOT_LIFETIME: u64 = 3_650 * DAY;
/// The key that is in use every day gets a new certificate sooner.
const INTERMEDIATE_LIFETIME: u64 = 1_095 * DAY;
/// Clocks differ.
const BACKDATE: u64 = 3_600;

/// A new authority, without the intermediate's key, which the caller has.
#[derive(Debug)]
pub struct Established {
    /// The root's certificate, DER: what relying parties trust.
    pub root: Vec<u8>,
    /// Its key, needed only for a new intermediate.
    pub root_key: PemKey,
    /// The issuing certificate, DER.
    pub intermediate: Vec<u8>,
}

/// Why there is no new authority.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EstablishError {
    /// The system gives no random numbers.
    #[error("the system has no random numbers")]
    Random,
    /// No key could be made.
    #[error("cannot make a key")]
    Key(#[source] KeyError),
    /// A key does not sign.
    #[error("cannot make the certificates")]
    Sign(#[from] SignError),
    /// The new root cannot be read.
    #[error("cannot read the root")]
    Root(#[source] PkiError),
}

/// Makes an authority of that name, whose intermediate has the key of `signer`.
///
/// # Errors
///
/// [`EstablishError`].
pub fn establish(
    authority: &str,
    now: Time,
    signer: &dyn Signer,
) -> Result<Established, EstablishError> {
    let random = || decision::random().ok_or(EstablishError::Random);
    let root_key =
        PemKey::generate(SigningAlgorithm::EcdsaP384Sha384).map_err(EstablishError::Key)?;
    let root = Template {
        random: random()?,
        subject: &name(None, &format!("{authority} Root")),
        public_key: root_key.public_key(),
        not_before: now.minus(BACKDATE),
        not_after: now.plus(ROOT_LIFETIME),
        profile: Profile::Authority { path_length: 1 },
    }
    .self_sign(&AwsLc, &root_key)?;
    let issuer = Certificate::parse(&root)
        .and_then(|root| Issuer::of(&AwsLc, &root))
        .map_err(EstablishError::Root)?;
    let intermediate = Template {
        random: random()?,
        subject: &name(None, authority),
        public_key: signer.public_key(),
        not_before: now.minus(BACKDATE),
        not_after: now.plus(INTERMEDIATE_LIFETIME),
        profile: Profile::Authority { path_length: 0 },
    }
    .sign(&AwsLc, &issuer, &root_key)?;
    Ok(Established { root, root_key, intermediate })
}
