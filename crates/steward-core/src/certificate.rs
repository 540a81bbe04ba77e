// SPDX-License-Identifier: Apache-2.0

//! Makes certificates: `docs/certificate-profile.md`.
//!
//! There is a profile for authorities, one for Keeps and one for services that are none, and nothing in
//! them comes from a request but the public key. Signing certificates is little more than putting bytes in
//! their order, so it is done here, in one place that can be read against RFC 5280.

use core::net::IpAddr;

use evidence_claims::Time;
use evidence_crypto::Crypto;
use evidence_pki::encode::{self, extension};
use evidence_pki::{Certificate, Cursor, PkiError, SignError, Signer, oid, tag};

/// How many bytes a key identifier has.
pub const KEY_ID_SIZE: usize = 20;

/// A certificate to be.
#[derive(Debug, Clone)]
pub struct Template<'a> {
    /// Random bytes, of which the serial number is made, see [`serial`].
    pub random: [u8; 16],
    /// DER `Name`, see [`name`]; not empty.
    pub subject: &'a [u8],
    /// DER `SubjectPublicKeyInfo`.
    pub public_key: &'a [u8],
    /// First second of its validity.
    pub not_before: Time,
    /// Last second of its validity.
    pub not_after: Time,
    /// What it is for.
    pub profile: Profile<'a>,
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy)]
pub enum Profile<'a> {
    /// For signing certificates: a root, an intermediate, or the Steward itself.
    Authority {
        /// How many authorities may follow below it (RFC 5280, 4.2.1.9): 0 for the Steward.
        path_length: u8,
    },
    /// For a Keep, as server and as client of TLS.
    Keep {
        /// Names in the DNS.
        dns_names: &'a [String],
        /// URIs: slug and digest of the workload.
        uris: &'a [String],
        /// The value of the claims extension.
        claims: &'a [u8],
    },
    /// For a service that is no Keep, as server of TLS.
    Server {
        /// Names in the DNS.
        dns_names: &'a [String],
        /// Addresses.
        addresses: &'a [IpAddr],
    },
}

/// Who issues a certificate, as that certificate says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// DER `Name`.
    pub name: Vec<u8>,
    /// Its key's identifier.
    pub key_id: Vec<u8>,
}

impl Issuer {
    /// The subject of a certificate. Its key identifier is the one that the certificate states, so that the
    /// chain can be found by it; without one it is computed.
    ///
    /// # Errors
    ///
    /// [`PkiError::Malformed`] if the extension with the identifier is.
    pub fn of(crypto: &dyn Crypto, certificate: &Certificate<'_>) -> Result<Self, PkiError> {
        let key_id = match certificate.extension(oid::SUBJECT_KEY_ID) {
            Some(extension) => {
                let mut value = Cursor::new(extension.value, "subjectKeyIdentifier");
                let key_id = value.expect(tag::OCTET_STRING)?.value.to_vec();
                value.finish()?;
                key_id
            }
            None => key_id(crypto, certificate.spki)?.to_vec(),
        };
        Ok(Self { name: certificate.subject.to_vec(), key_id })
    }
}

impl Template<'_> {
    /// Signs the certificate in the name of `issuer`; `signer` is the issuer's key. Returns DER.
    ///
    /// # Errors
    ///
    /// [`SignError`].
    pub fn sign(
        &self,
        crypto: &dyn Crypto,
        issuer: &Issuer,
        signer: &dyn Signer,
    ) -> Result<Vec<u8>, SignError> {
        let own_id =
            key_id(crypto, self.public_key).map_err(|error| SignError(error.to_string()))?;
        let algorithm = signer.algorithm().identifier();
        let version = encode::element(tag::context_constructed(0), &[&encode::integer(&[2])]);
        let extensions = self.extensions(&own_id, &issuer.key_id);
        let tbs = encode::sequence(&[
            &version,
            &encode::integer(&serial(self.random)),
            &algorithm,
            &issuer.name,
            &encode::sequence(&[&self.not_before.to_der(), &self.not_after.to_der()]),
            self.subject,
            self.public_key,
            &encode::element(tag::context_constructed(3), &[&extensions]),
        ]);
        signer.seal(&tbs)
    }

    /// Signs the certificate by its own key, which is that of `signer`: a root. `public_key` of the template
    /// is not looked at.
    ///
    /// # Errors
    ///
    /// [`SignError`].
    pub fn self_sign(
        &self,
        crypto: &dyn Crypto,
        signer: &dyn Signer,
    ) -> Result<Vec<u8>, SignError> {
        let public_key = signer.public_key();
        let id = key_id(crypto, public_key).map_err(|error| SignError(error.to_string()))?;
        let issuer = Issuer { name: self.subject.to_vec(), key_id: id.to_vec() };
        Template { public_key, ..self.clone() }.sign(crypto, &issuer, signer)
    }

    fn extensions(&self, own_id: &[u8], issuer_id: &[u8]) -> Vec<u8> {
        let own_id = encode::octets(own_id);
        let issuer_id = encode::sequence(&[&encode::element(tag::context(0), &[issuer_id])]);
        let mut list = Vec::new();
        match self.profile {
            Profile::Authority { path_length } => {
                let authority = encode::boolean(true);
                let constraints = encode::sequence(&[&authority, &encode::integer(&[path_length])]);
                list.push(extension(oid::BASIC_CONSTRAINTS, true, &constraints));
                // Two bits of nine: keyCertSign (5) and cRLSign (6).
                list.push(extension(oid::KEY_USAGE, true, &[tag::BIT_STRING, 2, 1, 0x06]));
                list.push(extension(oid::SUBJECT_KEY_ID, false, &own_id));
                list.push(extension(oid::AUTHORITY_KEY_ID, false, &issuer_id));
            }
            Profile::Keep { dns_names, uris, claims } => {
                // `cA` is false by default and thus absent in DER.
                list.push(extension(oid::BASIC_CONSTRAINTS, true, &encode::sequence(&[])));
                // The first bit: digitalSignature (0).
                list.push(extension(oid::KEY_USAGE, true, &[tag::BIT_STRING, 2, 7, 0x80]));
                let usage = encode::sequence(&[
                    &encode::oid(oid::SERVER_AUTH),
                    &encode::oid(oid::CLIENT_AUTH),
                ]);
                list.push(extension(oid::EXT_KEY_USAGE, false, &usage));
                list.push(extension(oid::SUBJECT_KEY_ID, false, &own_id));
                list.push(extension(oid::AUTHORITY_KEY_ID, false, &issuer_id));
                // A sequence of names must not be empty (RFC 5280, 4.2.1.6).
                if !dns_names.is_empty() || !uris.is_empty() {
                    let dns = dns_names.iter().map(|name| (2, name));
                    let uri = uris.iter().map(|uri| (6, uri));
                    let names: Vec<Vec<u8>> = dns
                        .chain(uri)
                        .map(|(kind, name)| encode::element(tag::context(kind), &[name.as_bytes()]))
                        .collect();
                    let names = encode::sequence_of(&names);
                    list.push(extension(oid::SUBJECT_ALT_NAME, false, &names));
                }
                list.push(extension(steward_claims::OID, false, claims));
            }
            Profile::Server { dns_names, addresses } => {
                list.push(extension(oid::BASIC_CONSTRAINTS, true, &encode::sequence(&[])));
                // The first bit: digitalSignature (0).
                list.push(extension(oid::KEY_USAGE, true, &[tag::BIT_STRING, 2, 7, 0x80]));
                let usage = encode::sequence(&[&encode::oid(oid::SERVER_AUTH)]);
                list.push(extension(oid::EXT_KEY_USAGE, false, &usage));
                list.push(extension(oid::SUBJECT_KEY_ID, false, &own_id));
                list.push(extension(oid::AUTHORITY_KEY_ID, false, &issuer_id));
                let dns = dns_names
                    .iter()
                    .map(|name| encode::element(tag::context(2), &[name.as_bytes()]));
                let addresses = addresses.iter().map(|address| match address {
                    IpAddr::V4(address) => encode::element(tag::context(7), &[&address.octets()]),
                    IpAddr::V6(address) => encode::element(tag::context(7), &[&address.octets()]),
                });
                let names: Vec<Vec<u8>> = dns.chain(addresses).collect();
                if !names.is_empty() {
                    let names = encode::sequence_of(&names);
                    list.push(extension(oid::SUBJECT_ALT_NAME, false, &names));
                }
            }
        }
        encode::sequence_of(&list)
    }
}

/// The serial number that is made of 16 random bytes: positive, and always of 16 bytes, so that two of its
/// bits are not random (RFC 5280, 4.1.2.2, allows up to 20 bytes).
#[must_use]
pub fn serial(mut random: [u8; 16]) -> [u8; 16] {
    random[0] = random[0] & 0x7f | 0x40;
    random
}

/// A DER `Name` with an organization, if there is one, and a common name. Each is cut after 64 characters
/// (RFC 5280, appendix A.1).
#[must_use]
pub fn name(organization: Option<&str>, common_name: &str) -> Vec<u8> {
    let cut = |text: &str| text.chars().take(64).collect::<String>();
    let (organization, common_name) = (organization.map(cut), cut(common_name));
    let mut attributes = Vec::new();
    attributes.extend(organization.as_deref().map(|text| (oid::ORGANIZATION, text)));
    attributes.push((oid::COMMON_NAME, common_name.as_str()));
    encode::name(&attributes)
}

/// The identifier of a key: the first 20 bytes of the SHA-256 of its bits (RFC 7093, 2, method 1).
///
/// # Errors
///
/// [`PkiError::Malformed`] if this is no DER `SubjectPublicKeyInfo`.
pub fn key_id(crypto: &dyn Crypto, public_key: &[u8]) -> Result<[u8; KEY_ID_SIZE], PkiError> {
    let mut spki = Cursor::whole(public_key, tag::SEQUENCE, "public key")?;
    spki.expect(tag::SEQUENCE)?;
    let bits = spki.bits()?;
    spki.finish()?;
    let hash = crypto.sha256(&[bits]);
    hash.first_chunk().copied().ok_or(PkiError::Malformed("public key"))
}
