// SPDX-License-Identifier: Apache-2.0

//! What a Steward is made of.
//!
//! What it was given stays as it is until it ends; a new policy is a restart, which a load balancer does
//! not notice and after which nobody has to guess what was in force when.

use std::sync::Arc;

use aws_lc_rs::hmac;
use evidence_claims::Endorsements;
use evidence_crypto::{AwsLc, Crypto};
use evidence_dcap::SgxDevelopment;
use evidence_pki::hex;
use evidence_snp::Development;
use evidence_verifier::Verifier;
use steward_core::{Authority, Signer};
use steward_policy::Policy;
use zeroize::Zeroizing;

use crate::Limits;

/// What is said wherever development evidence is accepted.
pub const DEVELOPMENT_WARNING: &str = "DEVELOPMENT: certificates are issued for evidence that \
     anybody with the development root's key can make; they prove nothing";

/// What a Steward is made of.
#[derive(Debug)]
pub struct Setup {
    /// Its certificates, DER: the issuing one first, its root last.
    pub chain: Vec<Vec<u8>>,
    /// The key of the issuing certificate.
    pub signer: Box<dyn Signer>,
    /// Makes nonces; all Stewards behind one address need the same. See [`nonce_key`].
    pub nonce_key: Zeroizing<[u8; 32]>,
    /// Which evidence gets a certificate.
    pub policy: Policy,
    /// The public URL, without a final slash, by which certificates say where the policy can be read.
    pub public_url: Option<String>,
    /// For requests that bring none.
    pub endorsements: Endorsements<'static>,
    /// Whether a policy that names a development root is meant.
    pub development: bool,
    /// What clients may take.
    pub limits: Limits,
}

/// Why no Steward can be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// Development evidence is wanted twice or not at all: in the policy, and by whoever starts the
    /// service, where it cannot get by a copied file.
    #[error(
        "the policy names a development root, under which anybody who has its key gets certificates; \
         if that is what you want, say so with --development, otherwise remove the section \
         [development]"
    )]
    DevelopmentUnannounced,
    /// The reverse.
    #[error(
        "--development is given, but the policy names no development root; add a section \
         [development], or leave out the option"
    )]
    DevelopmentUnfounded,
    /// Key, chain or URL are of no use.
    #[error("key and chain make no certificate authority")]
    Authority(#[source] steward_core::SetupError),
}

impl Setup {
    pub(crate) fn authority(self) -> Result<Authority, SetupError> {
        match (self.development, self.policy.development_roots().is_empty()) {
            (false, false) => return Err(SetupError::DevelopmentUnannounced),
            (true, true) => return Err(SetupError::DevelopmentUnfounded),
            _ => {}
        }
        let crypto: Arc<dyn Crypto> = Arc::new(AwsLc);
        let policy_url = self
            .public_url
            .map(|base| format!("{base}/v1/policy/{}", hex(&self.policy.digest(&AwsLc))));
        Authority::new(steward_core::Setup {
            verifier: verifier(&crypto, self.policy.development_roots()),
            crypto,
            chain: self.chain,
            signer: self.signer,
            policy_url,
            policy: self.policy,
            nonce_key: Some(self.nonce_key),
            endorsements: self.endorsements,
        })
        .map_err(SetupError::Authority)
    }
}

/// All formats: those of hardware, and development evidence if there are roots for it.
pub fn verifier(crypto: &Arc<dyn Crypto>, development_roots: &[Vec<u8>]) -> Verifier {
    let verifier = Verifier::new(Arc::clone(crypto));
    if development_roots.is_empty() {
        return verifier;
    }
    verifier
        .with(Box::new(Development::new(Arc::clone(crypto), development_roots.to_vec())))
        .with(Box::new(SgxDevelopment::new(Arc::clone(crypto), development_roots.to_vec())))
}

/// A key for nonces from a secret, such as the private key: one step of HKDF (RFC 5869, 2.3), so that
/// nobody gets from a nonce key back to it.
pub fn nonce_key(secret: &[u8]) -> Zeroizing<[u8; 32]> {
    let tag =
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), b"enarx steward nonce key v1\x01");
    let mut key = Zeroizing::new([0; 32]);
    key.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonce_keys_depend_on_the_private_key() {
        assert_ne!(nonce_key(b"a"), nonce_key(b"b"));
        assert_eq!(nonce_key(b"a"), nonce_key(b"a"));
    }
}
