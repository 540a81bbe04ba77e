// SPDX-License-Identifier: Apache-2.0

//! The certificate authorities of a development setup: the Steward's own, and one for the TLS of the
//! services. They have nothing to do with each other, as it would be anywhere else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use command_line::OrExit;
use command_line::files::{self, Access};
use evidence_crypto::AwsLc;
use evidence_pki::{Certificate, to_pem};
use steward_core::certificate::{Issuer, Profile, Template, name};
use steward_core::{PemKey, Signer, SigningAlgorithm};
use steward_service::{clock, establish};
use zeroize::Zeroizing;

use crate::exit::{Code, Failure};

/// Services are certified anew at each start.
const LIFETIME: u64 = 30 * 86_400;
/// Clocks differ.
const BACKDATE: u64 = 3_600;

/// An authority: an intermediate that signs, and the root that is trusted.
pub(crate) struct Authority {
    /// PKCS#8, PEM.
    key_pem: Zeroizing<String>,
    /// DER, the issuing certificate first, the root last.
    pub(crate) chain: Vec<Vec<u8>>,
}

impl Authority {
    /// The one in a folder, which is made if it is not there.
    pub(crate) fn open(folder: &Path, authority: &str) -> Result<Self, Failure> {
        let (key, chain) = (folder.join("authority.key"), folder.join("authority.crt"));
        let root = folder.join("root.crt");
        if !key.exists() {
            let new = Self::create(authority)?;
            let root_pem = new.root_pem();
            files::create_folder::<Code>(folder)?;
            files::create_all::<Code>(&[
                (&key, new.key_pem.as_bytes(), Access::Secret),
                (&chain, new.chain_pem().as_bytes(), Access::Public),
                (&root, root_pem.as_bytes(), Access::Public),
            ])?;
            return Ok(new);
        }
        Ok(Self {
            key_pem: files::read_secret_text::<Code>(&key)?,
            chain: files::read_certificates::<Code>(&chain)?,
        })
    }

    fn create(authority: &str) -> Result<Self, Failure> {
        let failed = "cannot make a certificate authority";
        let key = PemKey::generate(SigningAlgorithm::EcdsaP384Sha384)
            .or_exit_with(Code::Failed, || failed)?;
        let made =
            establish(authority, clock::now(), &key).or_exit_with(Code::Failed, || failed)?;
        Ok(Self {
            key_pem: key.to_pem().or_exit_with(Code::Failed, || failed)?,
            chain: vec![made.intermediate, made.root],
        })
    }

    /// The key that signs.
    pub(crate) fn signer(&self) -> Result<PemKey, Failure> {
        PemKey::from_pem(self.key_pem.as_bytes())
            .or_exit_with(Code::Input, || "cannot use the key of a certificate authority")
    }

    /// What makes nonces of the same Steward alike.
    pub(crate) fn secret(&self) -> &[u8] {
        self.key_pem.as_bytes()
    }

    /// The root, PEM: what is trusted.
    pub(crate) fn root_pem(&self) -> String {
        self.chain.last().map(|root| to_pem("CERTIFICATE", root)).unwrap_or_default()
    }

    fn chain_pem(&self) -> String {
        self.chain.iter().map(|der| to_pem("CERTIFICATE", der)).collect()
    }

    /// A chain and its key, both PEM, for a service on the loopback interface.
    pub(crate) fn server(&self, service: &str) -> Result<(Vec<u8>, Zeroizing<Vec<u8>>), Failure> {
        let failed = || "cannot certify a service";
        let key = PemKey::generate(SigningAlgorithm::EcdsaP256Sha256)
            .or_exit_with(Code::Failed, failed)?;
        let issuer = self.chain.first().map(Vec::as_slice).unwrap_or_default();
        let issuer = Certificate::parse(issuer)
            .and_then(|issuer| Issuer::of(&AwsLc, &issuer))
            .or_exit_with(Code::Failed, failed)?;
        let mut random = [0; 16];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .or_exit_with(Code::Failed, failed)?;
        let now = clock::now();
        let leaf = Template {
            random,
            subject: &name(None, service),
            public_key: key.public_key(),
            not_before: now.minus(BACKDATE),
            not_after: now.plus(LIFETIME),
            profile: Profile::Server {
                dns_names: &["localhost".to_owned()],
                addresses: &[Ipv4Addr::LOCALHOST.into(), IpAddr::from(Ipv6Addr::LOCALHOST)],
            },
        }
        .sign(&AwsLc, &issuer, &self.signer()?)
        .or_exit_with(Code::Failed, failed)?;
        let chain = to_pem("CERTIFICATE", &leaf) + &self.chain_pem();
        let key = key.to_pem().or_exit_with(Code::Failed, failed)?;
        Ok((chain.into_bytes(), Zeroizing::new(key.as_bytes().to_vec())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_stays_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let first = Authority::open(&folder.path().join("a"), "Test").unwrap();
        let second = Authority::open(&folder.path().join("a"), "Test").unwrap();
        assert_eq!(first.chain, second.chain);
        assert_eq!(first.key_pem, second.key_pem);
        let other = Authority::open(&folder.path().join("b"), "Test").unwrap();
        assert_ne!(first.chain, other.chain);
    }

    #[test]
    fn services_get_certificates_that_tls_takes() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path(), "Test").unwrap();
        let (chain, key) = authority.server("Steward").unwrap();
        assert!(steward_service::server_config(&chain, &key).is_ok());
    }
}
