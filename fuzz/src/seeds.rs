// SPDX-License-Identifier: Apache-2.0

//! Writes `seeds/`: evidence of the synthetic vendors, from which the fuzzer starts.
//! `cargo run --release --features seeds --bin seeds`

use std::fs;
use std::path::Path;

use evidence_testkit::amd::{Amd, Product, amd_name};
use evidence_testkit::certificate::{CertificateBuilder, usage};
use evidence_testkit::csr::RequestBuilder;
use evidence_testkit::intel::{Authority, Intel, QuoteKind};
use evidence_testkit::keys::Key;
use evidence_testkit::statement::{self, Binding, oid};

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, bytes).expect("a seed");
    };
    let (amd, intel) = (Amd::get(), Intel::get());
    write("key.pem", Key::p256().to_pem().as_bytes());
    write("root-intel.der", &intel.root_der());
    let (name, root) = (amd_name("Enarx development root"), Key::p384());
    let root = CertificateBuilder::new(&name, &name, root.spki())
        .basic_constraints(true, None)
        .key_usage(usage::CERTIFICATES)
        .sign(&root);
    write("root.der", &root);
    let crl = |product: Product| amd.crl_der(product);
    for product in [Product::Milan, Product::Genoa, Product::Turin] {
        let lower = product.name().to_lowercase();
        write(&format!("crl/{lower}"), &crl(product));
        for version in 2..=5 {
            let sample = amd.sample(product, version);
            let both = [&sample.report[..], &sample.vek].concat();
            write(&format!("report/{lower}-v{version}"), &both);
        }
        let vlek = amd.sample_vlek(product, 3);
        write(&format!("report/{lower}-vlek"), &[&vlek.report[..], &vlek.vek].concat());
        write(&format!("crl/{lower}-ask"), &amd.ask_der(product));
    }
    write("crl/intel-root", &intel.root_crl_der());
    write("crl/intel-platform", &intel.pck_crl_der(Authority::Platform));
    for kind in QuoteKind::ALL {
        let sample = intel.sample(kind);
        let name = match kind {
            QuoteKind::SgxV3 => "sgx-v3",
            QuoteKind::SgxV4 => "sgx-v4",
            QuoteKind::SgxV5 => "sgx-v5",
            QuoteKind::TdxV4 => "tdx-v4",
            QuoteKind::Tdx10V5 => "tdx10-v5",
            QuoteKind::Tdx15V5 => "tdx15-v5",
        };
        write(&format!("quote/{name}"), &sample.quote);
        match kind {
            QuoteKind::SgxV3 => write("collateral/sgx", sample.collateral.to_json().as_bytes()),
            QuoteKind::Tdx15V5 => write("collateral/tdx", sample.collateral.to_json().as_bytes()),
            _ => {}
        }
    }

    // Requests: published form, attestation attribute, and bound form; with the right report data each.
    let key = Key::p384();
    let spki = key.spki();
    let sample = amd.sample(Product::Milan, 3);
    let list: &[(&str, &[u8])] = &[("https://kdsintf.amd.com/vcek/v1/Milan/crl", &sample.crl)];
    let report = amd.report(Product::Milan, 3);
    let signed = |data: [u8; 64]| report.clone().report_data(&data).sign(amd.vek_key());
    let published = statement::snp(&sample.vek, list, &signed(statement::snp_report_data(&spki)));
    let request = RequestBuilder::new().extension(oid::SNP, false, &published);
    write("csr/snp-published", &request.sign(&key));
    let request = RequestBuilder::new().attestation(oid::SNP, &published);
    write("csr/snp-attribute", &request.sign(&key));
    let binding = Binding {
        slug: Some("examples/hello:0.1.0"),
        workload: Some("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        nonce: None,
    };
    let bound = statement::bound(
        oid::SNP,
        &signed(binding.report_data(&spki)),
        &[("vek", &sample.vek), ("crl", &sample.crl)],
        binding,
    );
    write("csr/snp-bound", &RequestBuilder::new().attestation(oid::BOUND, &bound).sign(&key));

    write("policy/example", include_bytes!("../../crates/evidence-vectors/src/any-code.toml"));
    write("policy/none", b"");
}
