// SPDX-License-Identifier: Apache-2.0

//! What AMD's own service answered once, under AMD's own roots. The recordings are looked for in the folder
//! that `ENARX_VECTORS` names; without it there is nothing to test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use evidence_claims::{SigningKey, SnpProduct, Time, kind};
use evidence_crypto::AwsLc;
use evidence_snp::Snp;
use evidence_testkit::replay::{Replay, Reply};
use vendor_fetch::Cache;
use vendor_kds::{Identity, Piece, Store};

use crate::kds;

fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("ENARX_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    if folder.join("snp").is_dir() {
        return Some(folder);
    }
    println!("skipped: no recorded evidence in {}; set ENARX_VECTORS", folder.display());
    None
}

/// When all of them count.
const NOW: &str = "2026-09-01T00:00:00Z";

#[tokio::test]
async fn recorded_certificates_and_lists_serve() {
    let Some(folder) = folder() else { return };
    let now: Time = NOW.parse().unwrap();
    let recorded = folder.clone();
    let server = Replay::start(move |asked| {
        let read = |path: String| std::fs::read(recorded.join("snp").join(path)).map(Reply::ok);
        let parts: Vec<String> =
            asked.target.split(['/', '?']).map(|part| part.to_lowercase()).collect();
        let [_, _, _, product, what, ..] = &parts[..] else { return Reply::status(404) };
        let answer = match what.as_str() {
            "crl" => read(format!("_roots/{product}/crl-2026-08-19.der")),
            "cert_chain" => {
                let pem = |name: &str| {
                    let der =
                        std::fs::read(recorded.join(format!("snp/_roots/{product}/{name}.der")));
                    evidence_pki::to_pem("CERTIFICATE", &der.unwrap_or_default())
                };
                Ok(Reply::ok(pem("ask") + &pem("ark")))
            }
            chip => [
                "milan-v2-trustee",
                "milan-v3-oak-oc-staging",
                "genoa-v5-lunal",
                "genoa-v3-microsoft",
                "turin-v5-microsoft",
            ]
            .into_iter()
            .find(|case| {
                let report = std::fs::read(recorded.join(format!("snp/{case}/report.bin")));
                let id = report.unwrap_or_default();
                let id: String = id
                    .get(0x1a0..0x1e0)
                    .unwrap_or_default()
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect();
                id.starts_with(chip)
            })
            .map_or_else(|| Ok(Reply::status(404)), |case| read(format!("{case}/vek.der"))),
        };
        answer.unwrap_or_else(|_| Reply::status(500))
    });
    let kds = kds(&server);
    let snp = Snp::new(Arc::new(AwsLc));
    for case in [
        "milan-v2-trustee",
        "milan-v3-oak-oc-staging",
        "genoa-v5-lunal",
        "genoa-v3-microsoft",
        "turin-v5-microsoft",
    ] {
        let report = std::fs::read(folder.join(format!("snp/{case}/report.bin"))).unwrap();
        let identity = Identity::of_report(&report, Some(SnpProduct::Milan)).unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::new(Cache::new(scratch.path()), Arc::new(AwsLc));
        let chain = kds.chain(identity.product, identity.key).await.unwrap();
        let pieces = [
            Piece::Vek(identity.clone(), kds.vcek(&identity).await.unwrap()),
            store.check_chain(identity.product, chain).unwrap(),
            Piece::List(identity.product, kds.list(identity.product).await.unwrap()),
        ];
        for held in store.put(&pieces, now).unwrap() {
            assert!(held.problem.is_none(), "{case}: {held:?}");
        }
        let all = store.endorsements(&identity, now).unwrap();
        assert_eq!(all.iter().count(), 3, "{case}");
        snp.verify_report(&report, &all, now).unwrap();
    }
}

#[test]
fn a_recorded_vlek_serves_while_it_is_valid() {
    let Some(folder) = folder() else { return };
    let case = folder.join("snp/milan-v3-vlek-aws");
    let report = std::fs::read(case.join("report.bin")).unwrap();
    let identity = Identity::of_report(&report, None).unwrap();
    assert_eq!((identity.product, identity.key), (SnpProduct::Milan, SigningKey::Vlek));
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::new(Cache::new(scratch.path()), Arc::new(AwsLc));
    let vek = Piece::Vek(identity.clone(), std::fs::read(case.join("vek.der")).unwrap());
    assert!(store.put(std::slice::from_ref(&vek), NOW.parse().unwrap()).is_err());
    let then: Time = "2025-06-01T00:00:00Z".parse().unwrap();
    store.put(&[vek], then).unwrap();
    assert!(store.endorsements(&identity, then).unwrap().first(kind::VEK).is_some());
}
