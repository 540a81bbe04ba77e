// SPDX-License-Identifier: Apache-2.0

//! What Intel's own service answered once, under Intel's own root. The recordings are looked for in the folder
//! that `ENARX_VECTORS` names; without it there is nothing to test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use evidence_claims::{Time, kind};
use evidence_crypto::AwsLc;
use evidence_dcap::{Certification, PckCa, Quote, Sgx, collateral_json};
use vendor_fetch::Cache;
use vendor_pcs::{Piece, Store};

fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("ENARX_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    if folder.join("sgx").is_dir() {
        return Some(folder);
    }
    println!("skipped: no recorded evidence in {}; set ENARX_VECTORS", folder.display());
    None
}

#[test]
fn recorded_collateral_serves_at_its_time() {
    let Some(folder) = folder() else { return };
    for (case, collateral, ca) in [
        ("sw-hardening-azure", "collateral-2025-08-30.json", PckCa::Platform),
        ("enarx-xeon", "collateral-2025-08-30.json", PckCa::Platform),
        ("configuration-and-sw-hardening", "collateral-2025-07-04-native.json", PckCa::Processor),
    ] {
        let case = folder.join("sgx").join(case);
        let read = |name: &str| std::fs::read(case.join(name)).unwrap();
        let states: serde_json::Value = serde_json::from_slice(&read("case.json")).unwrap();
        let evaluations = states["evaluations"].as_array().unwrap();
        let this = |one: &&serde_json::Value| {
            one["collateral"].as_str().is_some_and(|name| name.ends_with(collateral))
        };
        let now = evaluations.iter().find(this).unwrap()["now"].as_u64().unwrap();
        let now = Time::from_unix(now);
        let json: serde_json::Value = serde_json::from_slice(&read(collateral)).unwrap();
        let all = collateral_json(&read(collateral)).unwrap();
        let quote = read("quote.bin");
        let Certification::Chain(chain) = Quote::parse(&quote).unwrap().certification else {
            panic!("a quote without a chain")
        };
        let text = |name: &str| json[name].as_str().unwrap().as_bytes().to_vec();
        let of = |kind| all.first(kind).unwrap().to_vec();
        let mut lists = all.all(kind::CRL);
        let (root, list) = (lists.next().unwrap().to_vec(), lists.next().unwrap().to_vec());
        let fmspc = states["fmspc"].as_str().unwrap();
        let fmspc = u64::from_str_radix(fmspc, 16).unwrap().to_be_bytes();
        let fmspc: [u8; 6] = fmspc[2..].try_into().unwrap();
        let pieces = [
            Piece::RootList(root),
            Piece::PckList { ca, list, chain: text("pck_crl_issuer_chain") },
            Piece::Pck { platform: None, chain: chain.to_vec() },
            Piece::TcbInfo { fmspc, body: of(kind::TCB_INFO), chain: of(kind::TCB_INFO_CHAIN) },
            Piece::QeIdentity { body: of(kind::QE_IDENTITY), chain: of(kind::QE_IDENTITY_CHAIN) },
        ];
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::new(Cache::new(scratch.path()), Arc::new(AwsLc));
        // Today all of it has ended.
        let today: Time = "2026-11-22T00:00:00Z".parse().unwrap();
        assert!(store.put(&pieces, today).is_err());
        for held in store.put(&pieces, now).unwrap() {
            assert!(held.problem.is_none(), "{held:?}");
        }
        let sgx = Sgx::new(Arc::new(AwsLc));
        let kept = sgx.verify_quote(&quote, &store.endorsements(now).unwrap(), now).unwrap();
        let given = sgx.verify_quote(&quote, &all, now).unwrap();
        assert_eq!(kept.tcb_status, given.tcb_status);
        assert!(store.status(now).unwrap().is_some());
    }
}
