// SPDX-License-Identifier: Apache-2.0

//! The commands other than the service, as somebody types them.

mod common;

use std::fs;
use std::path::Path;

use common::{Home, good, run, show, steward, vector};
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn init_makes_an_authority_and_overwrites_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("new/ca");
    let args = ["init", "--dir", dir.to_str().unwrap(), "--name", "Example Corp."];
    let text = good(args);
    let der =
        evidence_pki::certificates(&fs::read(dir.join("root.crt")).unwrap()).unwrap()[0].to_vec();
    let hash = evidence_crypto::Crypto::sha256(&evidence_crypto::AwsLc, &[&der]);
    let fingerprint: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(text.contains(&fingerprint), "{text}");
    assert!(text.contains("steward serve --crt"), "{text}");
    let root = evidence_pki::Certificate::parse(&der).unwrap();
    assert_eq!(root.common_name(), Some("Example Corp. Root"));
    for name in ["root.key", "steward.key"] {
        let mode = fs::metadata(dir.join(name)).unwrap().permissions();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600, "{name}");
    }
    let before = fs::read(dir.join("root.key")).unwrap();
    let again = run(args);
    assert_eq!(again.status.code(), Some(3), "{}", show(&again));
    assert_eq!(fs::read(dir.join("root.key")).unwrap(), before);
    // One file of it is enough to refuse, and then nothing is written.
    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("policy.toml"), "").unwrap();
    assert_eq!(run(["init", "--dir", other.to_str().unwrap()]).status.code(), Some(3));
    assert_eq!(fs::read_dir(&other).unwrap().count(), 1);
}

#[test]
fn policies_are_explained_and_faults_have_a_place() {
    let home = Home::new();
    let strict = good(["policy", "check", &home.text("ca/policy.toml")]);
    assert!(strict.contains("refuses every Keep"), "{strict}");
    let dev = home.text("dev/policy.toml");
    assert!(good(["policy", "check", &dev]).contains("--development"));
    let told = json(&good(["policy", "check", "--json", &dev]));
    assert_eq!(told["development"], true);
    assert_eq!(told["platforms"], serde_json::json!(["development"]));
    assert_eq!(told["digest"].as_str().unwrap().len(), 64);

    let bad = home.text("bad.toml");
    fs::write(&bad, "[certificate]\nlifetime = \"1d\"\n\n[snp]\nhahs = []\n").unwrap();
    let out = run(["policy", "check", &bad]);
    assert_eq!(out.status.code(), Some(2), "{}", show(&out));
    assert!(show(&out).contains(&format!("{bad}:5:1")), "{}", show(&out));
    assert_eq!(run(["policy", "check", &home.text("none.toml")]).status.code(), Some(3));
    let schema = include_str!("../../../docs/steward-policy.schema.json");
    assert_eq!(good(["policy", "schema"]), schema);
}

#[test]
fn issued_certificates_are_checked() {
    let home = Home::new();
    let service = home.start(&[]);
    let csr = home.request("r", &[]);
    for (name, accept) in
        [("c.pem", "application/pem-certificate-chain"), ("c.der", "application/pkix-pkipath")]
    {
        fs::write(home.path(name), service.certify(&csr, accept).body).unwrap();
    }
    let root = home.text("ca/root.crt");
    for name in ["c.pem", "c.der"] {
        let cert = home.text(name);
        let text = good(["verify", &cert, "--ca", &root]);
        assert!(text.contains("pass  issued under the given root"), "{text}");
        let told = json(&good(["verify", &cert, "--ca", &root, "--json"]));
        assert_eq!(told["good"], true);
        assert_eq!(told["claims"]["platform"], "development");
        assert_eq!(told["checks"][1]["outcome"], "pass");
        // Another root, another time, no root.
        for args in [
            ["--ca", &home.text("dev/root.crt")],
            ["--at", "2020-01-01T00:00:00Z"],
            ["--at", "2999-01-01T00:00:00Z"],
        ] {
            let out = run([&["verify", &cert][..], &args].concat());
            assert_eq!(out.status.code(), Some(1), "{}", show(&out));
        }
        let alone = run(["verify", &cert]);
        assert!(
            alone.status.success() && show(&alone).contains("nobody vouches"),
            "{}",
            show(&alone)
        );
    }
    // A bit of the leaf is changed: it still reads, but nobody issued it.
    let mut path = fs::read(home.path("c.der")).unwrap();
    *path.last_mut().unwrap() ^= 1;
    fs::write(home.path("bad.der"), path).unwrap();
    let out = run(["verify", &home.text("bad.der"), "--ca", &root]);
    assert_eq!(out.status.code(), Some(1), "{}", show(&out));
    // A certificate of something else.
    assert_eq!(run(["verify", &root, "--ca", &root]).status.code(), Some(1));
    assert_eq!(run(["verify", &home.text("r"), "--ca", &root]).status.code(), Some(3));
}

#[test]
fn development_evidence_is_shown_and_examined() {
    let home = Home::new();
    let measurement = "ab".repeat(48);
    home.request("r", &["--measurement", &measurement]);
    let file = home.text("r");
    let text = good(["evidence", "inspect", &file]);
    assert!(text.contains("certificate request") && text.contains("MEASUREMENT"), "{text}");
    let told = json(&good(["evidence", "inspect", "--json", &file]));
    assert_eq!(told["request"]["signature_verifies"], true);
    let fields = told["fields"].as_array().unwrap();
    let field = fields.iter().find(|field| field["name"] == "MEASUREMENT").unwrap();
    assert_eq!((&field["offset"], &field["value"]), (&144.into(), &measurement.clone().into()));

    if common::has("openssl") {
        let args = ["req", "-inform", "DER", "-in", "r", "-out", "r.pem"];
        common::tool("openssl", &args, home.root());
        let same = json(&good(["evidence", "inspect", "--json", &home.text("r.pem")]));
        assert_eq!(same, told);
    }

    let root = home.text("dev/root.crt");
    let args = ["evidence", "verify", &file, "--development-root", &root];
    let told = json(&good([&args[..], &["--json"]].concat()));
    assert_eq!(
        (&told["genuine"], &told["claims"]["measurement"]),
        (&true.into(), &measurement.into())
    );
    let checks = told["checks"].as_array().unwrap();
    assert!(
        checks.len() > 10 && checks.iter().all(|check| check["outcome"] == "pass"),
        "{checks:?}"
    );
    // Later, under another root, and with a report that was changed.
    let out = run([&args[..], &["--at", "2999-01-01T00:00:00Z"]].concat());
    assert_eq!(out.status.code(), Some(1));
    assert!(show(&out).contains("FAIL") && show(&out).contains("what to do"), "{}", show(&out));
    good(["development", "root", "--dir", &home.text("dev2")]);
    let other = home.text("dev2/root.crt");
    let out = run(["evidence", "verify", &file, "--development-root", &other]);
    assert_eq!(out.status.code(), Some(1), "{}", show(&out));
    let out = run(["evidence", "verify", &file]);
    assert_eq!(out.status.code(), Some(1), "{}", show(&out));
}

#[test]
fn evidence_of_stand_ins_is_shown_examined_and_certified() {
    let home = Home::new();
    let service = home.start(&[]);
    let root = home.text("dev/root.crt");
    for (kind, digits, field, format) in [
        ("snp", 96, "MEASUREMENT", "development evidence"),
        ("sgx", 64, "mr_enclave", "development evidence in the format of Intel SGX"),
    ] {
        let measurement = "ab".repeat(digits / 2);
        let csr = home.request(kind, &["--stand-in", kind, "--measurement", &measurement]);
        let file = home.text(kind);
        let text = good(["evidence", "inspect", &file]);
        assert!(text.contains(field), "{text}");
        let args = ["evidence", "verify", &file, "--development-root", &root, "--json"];
        let told = json(&good(args));
        assert_eq!((&told["genuine"], &told["format"]), (&true.into(), &format.into()));
        assert_eq!(told["claims"]["platform"], "development");
        assert_eq!(told["claims"]["product"], format!("{kind}-sim"));
        assert_eq!(told["claims"]["measurement"], measurement);
        let checks = told["checks"].as_array().unwrap();
        assert!(checks.len() > 10, "{checks:?}");
        assert!(checks.iter().all(|check| check["outcome"] == "pass"), "{checks:?}");
        assert_eq!(run(["evidence", "verify", &file]).status.code(), Some(1));

        let name = home.path("c.pem");
        fs::write(&name, service.certify(&csr, "application/pem-certificate-chain").body).unwrap();
        let ca = home.text("ca/root.crt");
        let told = json(&good(["verify", &home.text("c.pem"), "--ca", &ca, "--json"]));
        assert_eq!(told["claims"]["platform"], "development");
        assert_eq!(told["claims"]["product"], format!("{kind}-sim"));
    }
}

#[test]
fn wrong_requests_are_not_made() {
    let home = Home::new();
    let dev = home.text("dev");
    let make = |args: &[&str]| {
        let (out, key) = (home.text("r"), home.text("k"));
        let start = ["development", "request", "--root", &dev, "--out", &out, "--key-out", &key];
        run([&start[..], args].concat()).status.code()
    };
    assert_eq!(make(&["--workload", "sha256:00"]), Some(2));
    assert_eq!(make(&["--slug", "a/b"]), Some(2));
    assert_eq!(make(&["--nonce", "x"]), Some(2));
    assert_eq!(make(&["--measurement", "00"]), Some(2));
    assert_eq!(make(&["--stand-in", "sgx", "--measurement", &"00".repeat(48)]), Some(2));
    assert_eq!(make(&["--stand-in", "tdx"]), Some(2));
    assert_eq!(make(&["--published", "--nonce", "00"]), Some(2));
    assert_eq!(make(&["--published", "--stand-in", "snp"]), Some(2));
    assert_eq!(make(&[]), Some(0));
    assert_eq!(make(&[]), Some(3));
    assert_eq!(run(["development", "root", "--dir", &dev]).status.code(), Some(3));
}

/// Recorded reports and quotes: read by themselves, and judged at the time of their collateral.
#[test]
fn recorded_evidence_is_examined_at_its_time() {
    let Some(report) = vector("snp/milan-v2-virtee/report.bin") else { return };
    let told = json(&good([Path::new("evidence"), "inspect".as_ref(), "--json".as_ref(), &report]));
    assert_eq!(told["fields"][0]["name"], "VERSION");

    let vectors = report.ancestors().nth(3).unwrap();
    let text = |name: &str| vectors.join(name).display().to_string();
    let crl = format!("crl={}", text("snp/_roots/milan/crl-2026-08-19.der"));
    let vek = text("snp/milan-v2-virtee/vek.der");
    let report = report.display().to_string();
    let at = ["--at", "2026-09-01T00:00:00Z"];
    let args = ["evidence", "verify", &report, "--collateral", &vek, "--collateral", &crl];
    let text_out = good([&args[..], &at].concat());
    assert!(text_out.contains("The evidence is genuine"), "{text_out}");
    // The revocation list is not optional, and not for ever.
    let out = run([&args[..5], &at].concat());
    assert_eq!(out.status.code(), Some(1), "{}", show(&out));
    let out = run([&args[..], &["--at", "2027-09-01T00:00:00Z"]].concat());
    assert_eq!(out.status.code(), Some(1), "{}", show(&out));

    let quote = text("sgx/sw-hardening-azure/quote.bin");
    let collateral = text("sgx/sw-hardening-azure/collateral-2023-05-15-native.json");
    let out = run([
        "evidence",
        "verify",
        &quote,
        "--collateral",
        &collateral,
        "--at",
        "2023-05-15T15:41:43Z",
        "--json",
    ]);
    assert!(out.status.success(), "{}", show(&out));
    let told = json(std::str::from_utf8(&out.stdout).unwrap());
    assert_eq!(told["claims"]["tcb_status"], "SWHardeningNeeded");
    assert_eq!(told["claims"]["platform"], "sgx");
}

#[test]
fn what_is_no_evidence_is_said_to_be_none() {
    let home = Home::new();
    let file = home.text("dev/root.crt");
    for command in ["inspect", "verify"] {
        let out = run(["evidence", command, &file]);
        assert_eq!(out.status.code(), Some(3), "{}", show(&out));
    }
    let out = run(["evidence", "verify", &home.text("none")]);
    assert_eq!(out.status.code(), Some(3));
    assert_eq!(run(["evidence", "verify", &file, "--at", "yesterday"]).status.code(), Some(2));
}

#[test]
fn manuals_and_completions_are_there() {
    assert!(good(["man"]).contains(".TH steward"));
    let folder = tempfile::tempdir().unwrap();
    good([Path::new("man"), folder.path()]);
    assert!(folder.path().join("steward-serve.1").exists());
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert!(good(["completions", shell]).contains("steward"));
    }
    let out = steward().output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    let out = run(["serve", "--log-filter", "a=b=c", "--crt", "c", "--key", "k", "--policy", "p"]);
    assert_eq!(out.status.code(), Some(2), "{}", show(&out));
}
