// SPDX-License-Identifier: Apache-2.0

//! A Steward, Keeps with its certificates, and their networks.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime};

use enarx_config::{Listen, Peer, Root, Trust};
use evidence_pki::Time;
use evidence_testkit::DAY;
use evidence_testkit::certificate::{CertificateBuilder, usage};
use evidence_testkit::der_writer::Der;
use evidence_testkit::keys::Key;
use keep_launch::Network;
use keep_net::{IdentityHandle, Net};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use steward_relying_party::{CertificateClaims, Workload};

pub const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

pub fn now() -> Time {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Time::from_unix(since.as_secs())
}

/// A root and an intermediate.
pub struct Steward {
    pub root: Vec<u8>,
    pub certificate: Vec<u8>,
    pub key: Key,
    name: String,
}

impl Steward {
    pub fn new(name: &str) -> Self {
        let (root_key, key) = (Key::p256(), Key::p256());
        let root_name = name_of(&format!("{name} root"));
        let valid = |builder: CertificateBuilder| {
            builder
                .validity(now().minus(DAY), now().plus(28 * DAY))
                .key_usage(usage::CERTIFICATES_AND_CRLS)
        };
        let root = valid(CertificateBuilder::new(&root_name, &root_name, root_key.spki()))
            .basic_constraints(true, Some(1))
            .sign(&root_key);
        let certificate = valid(CertificateBuilder::new(&root_name, &name_of(name), key.spki()))
            .basic_constraints(true, Some(0))
            .sign(&root_key);
        Self { root, certificate, key, name: name.to_owned() }
    }

    /// A leaf, with claims if it is a Keep's.
    pub fn leaf(&self, key: &Key, claims: Option<&CertificateClaims>) -> Vec<u8> {
        let names = Der::build(|der| {
            der.sequence(|der| {
                der.implicit(2, b"localhost");
                der.implicit(2, b"keep.example.com");
                der.implicit(7, &[127, 0, 0, 1]);
            });
        });
        let usages = Der::build(|der| {
            der.sequence(|der| {
                der.oid("1.3.6.1.5.5.7.3.1").oid("1.3.6.1.5.5.7.3.2");
            });
        });
        let mut leaf = CertificateBuilder::new(&name_of(&self.name), &name_of("Keep"), key.spki())
            .validity(now().minus(DAY), now().plus(DAY))
            .basic_constraints(false, None)
            .key_usage(0x80)
            .extension("2.5.29.37", false, usages)
            .extension("2.5.29.17", false, names);
        if let Some(claims) = claims {
            let claims = claims.to_der().unwrap();
            leaf = leaf.extension("1.3.6.1.4.1.58270.2.1", false, claims);
        }
        leaf.sign(&self.key)
    }

    /// Chain and key of a Keep, or of somebody who is none.
    pub fn issue(
        &self,
        claims: Option<&CertificateClaims>,
    ) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = Key::p256();
        let chain = vec![self.leaf(&key, claims).into(), self.certificate.clone().into()];
        (chain, PrivateKeyDer::from_pem_slice(key.to_pem().as_bytes()).unwrap())
    }

    /// The network of a Keep with these claims.
    pub fn keep(&self, claims: &CertificateClaims) -> Net {
        let identity = IdentityHandle::new();
        let (chain, key) = self.issue(Some(claims));
        identity.install_chain(chain, key, false).unwrap();
        Net::new(&self.network(), identity, &[]).unwrap()
    }

    pub fn network(&self) -> Network {
        Network { steward_roots: vec![self.root.clone()], max_sockets: 900, ..Network::default() }
    }
}

pub fn name_of(common_name: &str) -> Vec<u8> {
    Der::build(|der| {
        der.sequence(|der| {
            der.set(|der| {
                der.sequence(|der| {
                    der.oid("2.5.4.3").utf8(common_name);
                });
            });
        });
    })
}

pub const WORKLOAD: &str =
    "sha256:4040404040404040404040404040404040404040404040404040404040404040";

/// Of a Keep on hardware whose measurement is that byte over and over.
pub fn claims(measurement: u8) -> CertificateClaims {
    CertificateClaims {
        platform: "snp".to_owned(),
        product: "Milan".to_owned(),
        measurement: vec![measurement; 48],
        signer: None,
        tcb_status: None,
        advisories: Vec::new(),
        svns: Vec::new(),
        debug: false,
        workload: Some(Workload::new(None, WORKLOAD).unwrap()),
        policy: [0x55; 32],
        policy_url: None,
        evaluation_number: None,
        verified_at: now().minus(60),
        fresh: true,
    }
}

pub fn development() -> CertificateClaims {
    CertificateClaims { platform: "development".to_owned(), ..claims(0xdd) }
}

/// What a Keep with that measurement has to meet.
pub fn measured(measurement: u8) -> Trust {
    Trust { measurements: vec![vec![measurement; 48]], ..Trust::new([Root::Steward]) }
}

/// Listens at a port that the system chooses.
pub fn listen() -> Listen {
    Listen::new("web", LOCAL, 0)
}

pub fn peer(port: u16) -> Peer {
    let mut peer = Peer::new("localhost", port);
    peer.timeouts.handshake = Duration::from_secs(5);
    peer.trust = Trust::new([Root::Steward]);
    peer
}
