// SPDX-License-Identifier: Apache-2.0

//! Handshakes between two Keeps, and with peers that are none.

#[allow(dead_code, reason = "other tests use the rest")]
mod common;

use std::io::{self, Read, Write};
use std::sync::Arc;

use common::{Steward, claims, leaf};
use evidence_crypto::AwsLc;
use evidence_pki::PkiError;
use evidence_testkit::NOW;
use evidence_testkit::certificate::CertificateBuilder;
use evidence_testkit::keys::Key;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use steward_relying_party::{CertificateClaims, Demands, KeepVerifier, Names, PartyRefusal};

/// The time at which the certificates are valid.
#[derive(Debug)]
struct Clock;

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(NOW.unix())))
    }
}

/// A Keep's chain and key.
struct Keep {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Keep {
    fn of(leaf: &CertificateBuilder, steward: &Steward, key: &Key) -> Self {
        let chain = vec![leaf.sign(&steward.key).into(), steward.certificate.clone().into()];
        Self { chain, key: PrivateKeyDer::from_pem_slice(key.to_pem().as_bytes()).unwrap() }
    }

    fn new(steward: &Steward, claims: &CertificateClaims) -> Self {
        let key = Key::p384();
        Self::of(&leaf(steward, &key, claims), steward, &key)
    }

    fn server(&self, verifier: &KeepVerifier, version: Version) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ServerConfig::builder_with_details(provider, Arc::new(Clock))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_client_cert_verifier(Arc::new(verifier.clone()))
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .unwrap()
    }

    fn client(&self, verifier: &KeepVerifier, version: Version) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ClientConfig::builder_with_details(provider, Arc::new(Clock))
            .with_protocol_versions(&[version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier.clone()))
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
            .unwrap()
    }
}

type Version = &'static rustls::SupportedProtocolVersion;
const TLS13: Version = &rustls::version::TLS13;

/// Shakes hands and sends one message; the first error of either side.
fn talk(server: ServerConfig, client: ClientConfig, name: &str) -> Result<Vec<u8>, rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    client.writer().write_all(b"hello").unwrap();
    for _ in 0..9 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        feed(&mut wire.as_slice(), |wire| server.read_tls(wire));
        server.process_new_packets()?;
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        feed(&mut wire.as_slice(), |wire| client.read_tls(wire));
        client.process_new_packets()?;
    }
    assert!(!server.is_handshaking() && !client.is_handshaking());
    let mut message = [0; 5];
    server.reader().read_exact(&mut message).unwrap();
    assert_eq!(client.peer_certificates().unwrap().len(), 2);
    Ok(message.to_vec())
}

fn feed(wire: &mut &[u8], mut read: impl FnMut(&mut &[u8]) -> io::Result<usize>) {
    while !wire.is_empty() {
        read(wire).unwrap();
    }
}

fn verify_with(
    roots: impl IntoIterator<Item = Vec<u8>>,
    demands: Demands,
) -> Result<KeepVerifier, PkiError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    KeepVerifier::new(roots, demands, Arc::new(AwsLc), provider)
}

fn verifier(steward: &Steward, demands: Demands) -> KeepVerifier {
    verify_with([steward.root.clone()], demands).unwrap()
}

/// What a verifier said, if it was one of ours.
fn refusal(error: rustls::Error) -> PartyRefusal {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
            other.0.downcast_ref::<PartyRefusal>().unwrap().clone()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_keeps_trust_each_other() {
    let steward = Steward::new();
    let (one, two) = (Keep::new(&steward, &claims()), Keep::new(&steward, &claims()));
    let demands = verifier(&steward, Demands::new().measurements([[0xaa; 48]]));
    for version in [TLS13, &rustls::version::TLS12] {
        let (server, client) = (one.server(&demands, version), two.client(&demands, version));
        assert_eq!(talk(server, client, "keep.example.com").unwrap(), b"hello");
    }
    // What the peer is can be asked after the handshake too.
    assert_eq!(demands.claims(&one.chain, NOW).unwrap(), claims());
    assert!(demands.claims(&[], NOW).is_err());
}

#[test]
fn a_server_with_another_measurement_is_refused() {
    let steward = Steward::new();
    let keep = Keep::new(&steward, &claims());
    let lax = verifier(&steward, Demands::new());
    let strict = verifier(&steward, Demands::new().measurements([[0xbb; 48]]));
    let error = talk(keep.server(&lax, TLS13), keep.client(&strict, TLS13), "keep.example.com");
    let found = "aa".repeat(48);
    assert_eq!(refusal(error.unwrap_err()), PartyRefusal::Measurement { found });
}

#[test]
fn a_client_with_another_measurement_is_refused() {
    let steward = Steward::new();
    let keep = Keep::new(&steward, &claims());
    let lax = verifier(&steward, Demands::new());
    let strict = verifier(&steward, Demands::new().measurements([[0xbb; 48]]));
    let error = talk(keep.server(&strict, TLS13), keep.client(&lax, TLS13), "keep.example.com");
    assert!(matches!(refusal(error.unwrap_err()), PartyRefusal::Measurement { .. }));
}

#[test]
fn development_keeps_are_refused_without_a_word() {
    let steward = Steward::new();
    let weak = CertificateClaims { platform: "development".to_owned(), ..claims() };
    let (keep, weak) = (Keep::new(&steward, &claims()), Keep::new(&steward, &weak));
    let default = verifier(&steward, Demands::new());
    let error =
        talk(weak.server(&default, TLS13), keep.client(&default, TLS13), "keep.example.com");
    assert_eq!(refusal(error.unwrap_err()), PartyRefusal::Development);
    let trial = verifier(&steward, Demands::new().allow_development());
    let (server, client) = (weak.server(&trial, TLS13), keep.client(&trial, TLS13));
    assert!(talk(server, client, "keep.example.com").is_ok());
}

#[test]
fn names_are_looked_at_unless_told_otherwise() {
    let steward = Steward::new();
    let keep = Keep::new(&steward, &claims());
    let named = verifier(&steward, Demands::new());
    let error = talk(keep.server(&named, TLS13), keep.client(&named, TLS13), "other.example.com");
    assert!(matches!(
        error.unwrap_err(),
        rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. })
    ));
    let unnamed = named.clone().names(Names::Ignored);
    let (server, client) = (keep.server(&named, TLS13), keep.client(&unnamed, TLS13));
    assert!(talk(server, client, "other.example.com").is_ok());
}

#[test]
fn another_stewards_keep_is_refused() {
    let (steward, other) = (Steward::new(), Steward::new());
    let (keep, stranger) = (Keep::new(&steward, &claims()), Keep::new(&other, &claims()));
    let (ours, theirs) = (verifier(&steward, Demands::new()), verifier(&other, Demands::new()));
    // All names are the same, so the signature gives it away.
    let error = talk(stranger.server(&ours, TLS13), keep.client(&ours, TLS13), "keep.example.com");
    assert_eq!(
        error.unwrap_err(),
        rustls::Error::InvalidCertificate(CertificateError::BadSignature)
    );
    let error = talk(keep.server(&ours, TLS13), stranger.client(&ours, TLS13), "keep.example.com");
    assert!(error.is_err());
    let (server, client) = (keep.server(&theirs, TLS13), stranger.client(&ours, TLS13));
    assert!(talk(server, client, "keep.example.com").is_ok(), "each trusts the other's Steward");
}

/// Who holds a Keep's certificate and not its key proves nothing.
#[test]
fn a_stolen_certificate_is_of_no_use() {
    let steward = Steward::new();
    let keep = Keep::new(&steward, &claims());
    let (real, thief) = (Key::p384(), Key::p384());
    let stolen = Keep::of(&leaf(&steward, &real, &claims()), &steward, &thief);
    let default = verifier(&steward, Demands::new());
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    // rustls itself notices on the thief's side, which a thief would not let stop him.
    let key = provider.key_provider.load_private_key(stolen.key.clone_key()).unwrap();
    let certified = rustls::sign::CertifiedKey::new(stolen.chain.clone(), key);
    assert!(certified.keys_match().is_err());
    let mut server = keep.server(&default, TLS13);
    server.cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(certified));
    let error = talk(server, keep.client(&default, TLS13), "keep.example.com");
    assert_eq!(
        error.unwrap_err(),
        rustls::Error::InvalidCertificate(CertificateError::BadSignature)
    );
}

#[test]
fn a_root_is_a_certificate() {
    assert!(verify_with([b"root".to_vec()], Demands::new()).is_err());
}
