// SPDX-License-Identifier: Apache-2.0

//! The KDS and the cache, with a synthetic AMD whose service runs on this machine, and with what the real
//! one answered once.

mod recorded;
mod service;
mod store;

use std::sync::Arc;
use std::time::Duration;

use evidence_claims::{SigningKey, SnpProduct};
use evidence_crypto::AwsLc;
use evidence_snp::ProductRoots;
use evidence_testkit::amd::{Amd, Product, Tcb};
use evidence_testkit::replay::Replay;
use vendor_fetch::{Cache, Fetcher, Patience, Url};
use vendor_kds::{Identity, Kds, Store};

/// Short, since nobody is really far away.
const PATIENCE: Patience = Patience {
    attempts: 3,
    pause: Duration::from_millis(1),
    longest_pause: Duration::from_secs(1),
    timeout: Duration::from_secs(20),
};

fn product(product: Product) -> SnpProduct {
    match product {
        Product::Milan => SnpProduct::Milan,
        Product::Genoa => SnpProduct::Genoa,
        Product::Turin => SnpProduct::Turin,
    }
}

/// A cache in a folder of its own, under the roots of the synthetic AMD.
fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let roots = Product::ALL.map(|one| ProductRoots {
        product: product(one),
        ark: Amd::get().ark_der(one),
        ask: Amd::get().ask_der(one),
        asvk: Amd::get().asvk_der(one),
    });
    let cache = Cache::new(folder.path().join("amd-sev"));
    let store = Store::with_roots(cache, Arc::new(AwsLc), roots.into());
    (folder, store)
}

/// The key that signs the synthetic reports of a product.
fn identity(of: Product, key: SigningKey) -> Identity {
    let report = match key {
        SigningKey::Vcek => Amd::get().sample(of, 3).report,
        SigningKey::Vlek => Amd::get().sample_vlek(of, 3).report,
    };
    let identity = Identity::of_report(&report, None).unwrap();
    assert_eq!(identity.product, product(of));
    assert_eq!(identity.tcb.snp, Tcb::of(of).snp);
    identity
}

fn kds(server: &Replay) -> Kds {
    // Its keys take longer to make than anybody waits for an answer.
    let _ = Amd::get();
    kds_within(server, PATIENCE.timeout)
}

fn kds_within(server: &Replay, timeout: Duration) -> Kds {
    let base = Url::parse(&server.url()).unwrap();
    Kds::new(Fetcher::new(&base, &[], Patience { timeout, ..PATIENCE }).unwrap(), base)
}
