// SPDX-License-Identifier: Apache-2.0

//! The PCS and the cache, with a synthetic Intel whose service runs on this machine, and with what the real
//! one answered once.

mod recorded;
mod service;
mod store;

use std::sync::Arc;
use std::time::Duration;

use evidence_crypto::AwsLc;
use evidence_dcap::PckCa;
use evidence_testkit::intel::{Authority, Intel, PckBuilder, QuoteKind};
use evidence_testkit::replay::{Replay, Reply};
use vendor_fetch::{Cache, Fetcher, Patience, Url};
use vendor_pcs::{Pcs, Piece, PlatformId, Store};

/// Short, since nobody is really far away.
const PATIENCE: Patience = Patience {
    attempts: 3,
    pause: Duration::from_millis(1),
    longest_pause: Duration::from_secs(1),
    timeout: Duration::from_secs(20),
};

const KIND: QuoteKind = QuoteKind::SgxV3;

/// A cache in a folder of its own, under the root of the synthetic Intel.
fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::new(folder.path().join("intel-sgx"));
    let store = Store::with_root(cache, Arc::new(AwsLc), &Intel::get().root_der()).unwrap();
    (folder, store)
}

/// Intel's service at that server, with the root's list beside it.
fn pcs(server: &Replay) -> Pcs {
    pcs_within(server, PATIENCE.timeout)
}

fn pcs_within(server: &Replay, timeout: Duration) -> Pcs {
    let base = Url::parse(&server.url()).unwrap();
    let fetcher = Fetcher::new(&base, &[], Patience { timeout, ..PATIENCE }).unwrap();
    let root = base.join("IntelSGXRootCA.der").unwrap();
    Pcs::intel(fetcher.clone(), base, (fetcher, root))
}

/// The synthetic platform, as the retrieval tool would name it.
fn platform() -> PlatformId {
    PlatformId {
        encrypted_ppid: vec![0x11; 384],
        pce_id: [0, 0],
        cpu_svn: PckBuilder::COMPONENTS,
        pce_svn: PckBuilder::PCE_SVN,
        qe_id: [0x22; 16],
        manifest: vec![],
    }
}

fn ca(authority: Authority) -> PckCa {
    match authority {
        Authority::Platform => PckCa::Platform,
        Authority::Processor => PckCa::Processor,
    }
}

/// Everything there is about the synthetic platform.
fn pieces() -> Vec<Piece> {
    let intel = Intel::get();
    let collateral = intel.collateral(KIND);
    let authority = KIND.authority();
    vec![
        Piece::TcbInfo {
            fmspc: PckBuilder::FMSPC,
            body: collateral.tcb_info_response().into_bytes(),
            chain: collateral.tcb_info_issuer_chain.clone().into_bytes(),
        },
        Piece::QeIdentity {
            body: collateral.qe_identity_response().into_bytes(),
            chain: collateral.qe_identity_issuer_chain.clone().into_bytes(),
        },
        Piece::Pck {
            platform: Some(platform()),
            chain: intel.pck_chain(authority, &intel.pck(authority)).into_bytes(),
        },
        Piece::PckList {
            ca: ca(authority),
            list: collateral.pck_crl.clone(),
            chain: collateral.pck_crl_issuer_chain.clone().into_bytes(),
        },
        Piece::RootList(collateral.root_ca_crl.clone()),
    ]
}

/// Percent-encoded as Intel does it.
fn encoded(pem: &str) -> String {
    let byte = |byte: u8| match byte {
        b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    pem.bytes().map(byte).collect()
}

/// The synthetic Intel's service. A caching one answers with lists in hexadecimal digits.
fn service(caching: bool) -> Replay {
    Replay::start(move |asked| {
        let intel = Intel::get();
        let collateral = intel.collateral(KIND);
        let list = |der: Vec<u8>| match caching {
            true => Reply::ok(der.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
            false => Reply::ok(der),
        };
        let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
        let fmspc: String = PckBuilder::FMSPC.iter().map(|byte| format!("{byte:02x}")).collect();
        match path.trim_start_matches("/sgx/certification/v4/") {
            "/IntelSGXRootCA.der" if !caching => list(collateral.root_ca_crl),
            "rootcacrl" if caching => list(collateral.root_ca_crl),
            "pckcrl" => {
                let authority = match query.contains("ca=platform") {
                    true => Authority::Platform,
                    false => Authority::Processor,
                };
                list(intel.pck_crl_der(authority))
                    .header("SGX-PCK-CRL-Issuer-Chain", encoded(&intel.pck_ca_chain(authority)))
            }
            "tcb" if query == format!("fmspc={fmspc}") => Reply::ok(collateral.tcb_info_response())
                .header("TCB-Info-Issuer-Chain", encoded(&collateral.tcb_info_issuer_chain)),
            "qe/identity" => Reply::ok(collateral.qe_identity_response()).header(
                "SGX-Enclave-Identity-Issuer-Chain",
                encoded(&collateral.qe_identity_issuer_chain),
            ),
            "pckcert" if query.contains("qeid=") == caching => {
                let authority = KIND.authority();
                let chain = intel.pck_chain(authority, &intel.pck(authority));
                let end = chain.find("-----END").unwrap() + "-----END CERTIFICATE-----\n".len();
                let (leaf, issuers) = chain.split_at(end);
                Reply::ok(leaf).header("SGX-PCK-Certificate-Issuer-Chain", encoded(issuers))
            }
            "/sgx/registration/v1/platform" if asked.method == "POST" => {
                let mut reply = Reply::ok("0f".repeat(16));
                reply.status = 201;
                reply
            }
            _ => Reply::status(404).header("Error-Message", "no cache data"),
        }
    })
}
