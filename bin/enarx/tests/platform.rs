// SPDX-License-Identifier: Apache-2.0

//! `enarx platform snp` and `enarx platform sgx`, against services on this machine.
//!
//! What services answered once is looked for in the folder that `ENARX_VECTORS` names; without it those
//! tests are skipped with that reason. Recorded certificates are still valid, recorded lists and TCB
//! information are not, so that here only the former are taken; the libraries' own tests turn back the
//! clock. A synthetic vendor is nothing to this program, which is a test as well.

#![cfg(target_os = "linux")]

mod common;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use common::{Scratch, enarx_in, show, text};
use evidence_testkit::amd::{Amd, Product};
use evidence_testkit::intel::{Intel, QuoteKind};
use evidence_testkit::replay::{Fault, Replay, Reply};
use serde_json::Value;

/// Cases whose certificates AMD's service answers with, and their chips' ids in a report.
const CASES: [&str; 3] = ["milan-v3-oak-oc-staging", "genoa-v5-lunal", "turin-v5-microsoft"];

fn vectors() -> Option<PathBuf> {
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

/// What an AMD of recordings answers to a target.
fn recorded(folder: &Path, target: &str) -> Reply {
    let file = |path: String| {
        std::fs::read(folder.join("snp").join(path)).map_or(Reply::status(500), Reply::ok)
    };
    let parts: Vec<String> = target.split(['/', '?']).map(str::to_lowercase).collect();
    let [_, _, _, product, what, ..] = &parts[..] else { return Reply::status(404) };
    if what == "crl" {
        return file(format!("_roots/{product}/crl-2026-08-19.der"));
    }
    let is_chip = |case: &&&str| {
        let report = std::fs::read(folder.join(format!("snp/{case}/report.bin"))).unwrap();
        let id: String = report[0x1a0..0x1e0].iter().map(|byte| format!("{byte:02x}")).collect();
        id.starts_with(what.as_str())
    };
    let found = CASES.iter().find(is_chip);
    found.map_or(Reply::status(404), |case| file(format!("{case}/vek.der")))
}

fn service(folder: &Path) -> Replay {
    let folder = folder.to_owned();
    Replay::start(move |asked| recorded(&folder, &asked.target))
}

/// The program with a home of its own, that gives up soon.
fn platform(home: &Path, args: &[&str]) -> Command {
    let mut command = enarx_in(home);
    command.arg("platform").args(args);
    command
}

fn vcek(home: &Path, folder: &Path, case: &str, server: &Replay) -> Command {
    let report = folder.join(format!("snp/{case}/report.bin"));
    let mut command = platform(home, &["snp", "vcek", "--attempts", "2", "--kds-url"]);
    command.arg(server.url()).arg("--report").arg(report);
    command
}

fn run(mut command: Command) -> Output {
    command.output().expect("enarx starts")
}

/// The files of the user's cache, with what is wrong with them.
fn held(home: &Path, vendor: &str) -> Vec<(String, Option<String>)> {
    let out = run(platform(home, &[vendor, "info", "--json"]));
    assert!(out.status.success(), "{}", show(&out));
    let info: Value = serde_json::from_slice(&out.stdout).unwrap();
    let files = info["caches"][0]["files"].as_array().unwrap();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    files.iter().map(|one| (text(&one["name"]).unwrap(), text(&one["problem"]))).collect()
}

fn fails(out: &Output, code: i32, words: &[&str]) {
    assert_eq!(out.status.code(), Some(code), "{}", show(out));
    for word in words {
        assert!(text(&out.stderr).contains(word), "{word}: {}", show(out));
    }
}

#[test]
fn certificates_are_fetched_once_for_each_product() {
    let Some(folder) = vectors() else { return };
    let (home, server) = (Scratch::new(), service(&folder));
    for (number, case) in CASES.iter().enumerate() {
        let good = std::fs::read(folder.join(format!("snp/{case}/vek.der"))).unwrap();
        for _ in 0..2 {
            let out = run(vcek(home.path(), &folder, case, &server));
            assert!(out.status.success(), "{}", show(&out));
            assert_eq!(out.stdout, good, "{case}");
            assert_eq!(server.asked().len(), number + 1);
        }
    }
    let held = held(home.path(), "snp");
    assert_eq!(held.len(), 3);
    assert!(held.iter().all(|(_, problem)| problem.is_none()), "{held:?}");
    // Into a new file, and as text.
    let file = home.path().join("vcek.pem");
    let mut command = vcek(home.path(), &folder, CASES[0], &server);
    command.args(["--pem", "--file"]).arg(&file);
    assert!(run(command).status.success());
    assert!(std::fs::read_to_string(file).unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    let table = text(&run(platform(home.path(), &["snp", "info"])).stdout);
    assert!(table.contains("fetched") && table.contains("good until 20"), "{table}");
    // By chip and TCB in place of a report.
    let report = std::fs::read(folder.join("snp").join(CASES[2]).join("report.bin")).unwrap();
    let digits = |range: std::ops::Range<usize>| -> String {
        report[range].iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let (chip, tcb) = (digits(0x1a0..0x1a8), digits(0x180..0x188));
    let mut command = platform(home.path(), &["snp", "vcek", "--product", "Turin", "--pem"]);
    command.args(["--chip-id", &chip, "--tcb", &tcb]).args(["--kds-url", "http://127.0.0.1:1/"]);
    assert!(run(command).status.success());
}

#[test]
fn lies_and_failures_leave_the_cache_as_it_was() {
    let Some(folder) = vectors() else { return };
    let home = Scratch::new();
    let good = service(&folder);
    assert!(run(vcek(home.path(), &folder, CASES[0], &good)).status.success());
    let before = held(home.path(), "snp");
    let genoa = std::fs::read(folder.join("snp/genoa-v3-microsoft/vek.der")).unwrap();
    let milan = std::fs::read(folder.join("snp/milan-v2-virtee/vek.der")).unwrap();
    let half = genoa[..700].to_vec();
    let later = Reply::status(429).header("Retry-After", "86400");
    let away = Reply::status(302).header("Location", "http://127.0.0.1:1/");
    for (reply, words) in [
        (Reply::ok(genoa.clone()), &["another chip", "cache is as it was"][..]),
        (Reply::ok(milan), &["another product"]),
        (Reply::ok(half), &["is refused"]),
        (Reply::ok("<html>busy</html>"), &["is refused"]),
        (Reply::ok(genoa).fault(Fault::HalfBody), &["whole and in time"]),
        (Reply::ok(vec![0; 100_000]), &["more than 65536 bytes"]),
        (later, &["asked again in 86400 seconds", "limits how often"]),
        (Reply::status(404), &["no such chip"]),
        (away, &["not followed"]),
    ] {
        let server = Replay::start(move |_| reply.clone());
        let out = run(vcek(home.path(), &folder, CASES[1], &server));
        fails(&out, 120, words);
        assert!(out.stdout.is_empty());
    }
    // A list that has ended.
    let mut command = platform(home.path(), &["snp", "cache-crl", "--product", "Milan"]);
    command.args(["--kds-url", &good.url()]);
    fails(&run(command), 120, &["revocation list of Milan is refused", "not valid after"]);
    // One who says nothing.
    let late = Fault::Late(Duration::from_secs(60));
    let silent = Replay::start(move |_| Reply::ok("").fault(late));
    let mut command = vcek(home.path(), &folder, CASES[1], &silent);
    command.args(["--timeout", "300ms"]);
    fails(&run(command), 120, &[]);
    assert_eq!(held(home.path(), "snp"), before);
}

#[test]
fn who_is_killed_or_has_no_room_leaves_a_whole_cache() {
    let Some(folder) = vectors() else { return };
    let (home, server) = (Scratch::new(), service(&folder));
    assert!(run(vcek(home.path(), &folder, CASES[0], &server)).status.success());
    let before = held(home.path(), "snp");
    // No file may have more than 64 bytes.
    let mut full = vcek(home.path(), &folder, CASES[1], &server);
    // SAFETY: both may be called between `fork` and `exec`, and change nothing but limits and signals of
    // the child.
    unsafe {
        full.pre_exec(|| {
            let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
            libc::setrlimit(libc::RLIMIT_FSIZE, &limit);
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            Ok(())
        });
    }
    fails(&run(full), 120, &["cannot write", "cache is as it was"]);
    assert_eq!(held(home.path(), "snp"), before);
    // Killed at one moment after the other, from the question to the end.
    let mut asked = server.asked().len();
    for pause in 0..12_u64 {
        let mut child = vcek(home.path(), &folder, CASES[1], &server)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while server.asked().len() == asked && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        asked = server.asked().len();
        std::thread::sleep(Duration::from_millis(pause * 2));
        child.kill().unwrap();
        child.wait().unwrap();
        let now = held(home.path(), "snp");
        assert!(now.iter().all(|(_, problem)| problem.is_none()), "{now:?}");
        assert!(now.contains(&before[0]));
        // It may have been in time; then the next one shall ask again.
        let current = home.path().join("cache/enarx/amd-sev/current/vek");
        for (name, _) in now.iter().filter(|file| **file != before[0]) {
            std::fs::remove_file(current.join(name.trim_start_matches("vek/"))).unwrap();
        }
    }
    let out = run(vcek(home.path(), &folder, CASES[1], &server));
    assert!(out.status.success(), "{}", show(&out));
    // What the killed ones left behind is gone.
    let left = std::fs::read_dir(home.path().join("cache/enarx/amd-sev")).unwrap().count();
    assert_eq!(left, 3);
}

#[test]
fn a_synthetic_vendor_is_refused() {
    let home = Scratch::new();
    let amd = Amd::get();
    let server = Replay::start(|asked| {
        let amd = Amd::get();
        let pem = |der: &[u8]| evidence_pki::to_pem("CERTIFICATE", der);
        match asked.target.rsplit('/').next() {
            Some("crl") => Reply::ok(amd.crl_der(Product::Milan)),
            Some("cert_chain") => {
                Reply::ok(pem(&amd.ask_der(Product::Milan)) + &pem(&amd.ark_der(Product::Milan)))
            }
            _ => Reply::ok(amd.vcek(Product::Milan).sign(amd.ask_key())),
        }
    });
    let report = home.file("report.bin", amd.sample(Product::Milan, 3).report);
    let mut command = platform(home.path(), &["snp", "update", "--kds-url", &server.url()]);
    command.arg("--report").arg(&report);
    fails(&run(command), 120, &["root that is built in"]);
    let mut command = platform(home.path(), &["snp", "vcek", "--kds-url", &server.url()]);
    command.arg("--report").arg(&report);
    fails(&run(command), 120, &["is refused", "not AMD"]);
    // A table of its certificates is no better.
    let vek = amd.vcek(Product::Milan).sign(amd.ask_key());
    let table = vendor_kds::Table { entries: vec![(vendor_kds::Entry::Vcek, &vek)], unknown: 0 };
    let table = home.file("table.bin", table.to_bytes());
    let mut command = platform(home.path(), &["snp", "update", "--kds-url", &server.url()]);
    command.arg("--report").arg(&report).arg("--certificates").arg(&table);
    fails(&run(command), 120, &["root that is built in"]);

    let quote = home.file("quote.bin", Intel::get().sample(QuoteKind::SgxV3).quote);
    let mut command = platform(home.path(), &["sgx", "cache-pck", "--quote"]);
    command.arg(&quote);
    fails(&run(command), 120, &["is refused", "not Intel"]);
    let intel = Replay::start(|asked| {
        let collateral = Intel::get().collateral(QuoteKind::SgxV3);
        let encoded = |pem: &str| pem.replace('\n', "%0A").replace(' ', "%20");
        match asked.target.split('?').next().and_then(|path| path.rsplit('/').next()) {
            Some("rootcacrl") => Reply::ok(collateral.root_ca_crl),
            Some("pckcrl") => Reply::ok(collateral.pck_crl)
                .header("SGX-PCK-CRL-Issuer-Chain", encoded(&collateral.pck_crl_issuer_chain)),
            Some("tcb") => Reply::ok(collateral.tcb_info_response())
                .header("TCB-Info-Issuer-Chain", encoded(&collateral.tcb_info_issuer_chain)),
            _ => Reply::ok(collateral.qe_identity_response()).header(
                "SGX-Enclave-Identity-Issuer-Chain",
                encoded(&collateral.qe_identity_issuer_chain),
            ),
        }
    });
    for args in [&["sgx", "cache-crl"][..], &["sgx", "cache-tcb", "--fmspc", "00706e470000"]] {
        let mut command = platform(home.path(), args);
        command.args(["--pccs-url", &intel.url()]);
        fails(&run(command), 120, &["is refused", "not Intel"]);
    }
    assert!(held(home.path(), "snp").is_empty() && held(home.path(), "sgx").is_empty());
}

#[test]
fn a_platform_of_intel_is_known_by_its_quote() {
    let Some(folder) = vectors() else { return };
    let home = Scratch::new();
    let mut command = platform(home.path(), &["sgx", "cache-tcb"]);
    command.args(["--pcs-url", "http://127.0.0.1:1/"]);
    fails(&run(command), 121, &["cache-pck"]);
    let mut command = platform(home.path(), &["sgx", "cache-pck", "--json", "--quote"]);
    command.arg(folder.join("sgx/sw-hardening-azure/quote.bin"));
    let out = run(command);
    assert!(out.status.success(), "{}", show(&out));
    let out = run(platform(home.path(), &["sgx", "info", "--json"]));
    let info: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&info["fmspc"], &info["ca"]), (&"00606a000000".into(), &"platform".into()));
    assert_eq!(info["tcb_status"], Value::Null);
    // From now on TCB information is asked for this kind; what was recorded has ended.
    let path = folder.join("sgx/sw-hardening-azure/collateral-2025-08-30.json");
    let collateral: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let server = Replay::start(move |asked| {
        let part = |name: &str| collateral[name].as_str().unwrap().to_owned();
        let encoded = |pem: String| pem.replace('\n', "%0A").replace(' ', "%20");
        let chain = encoded(part("tcb_info_issuer_chain"));
        match asked.target.ends_with("/tcb?fmspc=00606a000000") {
            true => Reply::ok(format!(
                r#"{{"tcbInfo":{},"signature":"{}"}}"#,
                part("tcb_info"),
                part("tcb_info_signature")
            ))
            .header("TCB-Info-Issuer-Chain", chain),
            false => Reply::ok(format!(
                r#"{{"enclaveIdentity":{},"signature":"{}"}}"#,
                part("qe_identity"),
                part("qe_identity_signature")
            ))
            .header("SGX-Enclave-Identity-Issuer-Chain", chain),
        }
    });
    let mut command = platform(home.path(), &["sgx", "cache-tcb", "--pcs-url", &server.url()]);
    command.args(["--root-crl-url", &server.url()]);
    fails(&run(command), 120, &["TCB information is refused", "2025-09-14"]);
    assert_eq!(held(home.path(), "sgx"), [("pck/pck-chain.pem".to_owned(), None)]);
}

#[test]
fn registration_sends_what_the_firmware_left() {
    let home = Scratch::new();
    let mut manifest = 0x178e874b_49e4_4aa5_99bb_3057170925b4_u128.to_be_bytes().to_vec();
    manifest.extend([7; 500]);
    let sent = manifest.clone();
    let server = Replay::start(move |asked| match asked.method == "POST" && asked.body == sent {
        true => Reply { status: 201, ..Reply::ok("0f".repeat(16)) },
        false => Reply::status(400).header("Error-Message", "InvalidPlatformManifest"),
    });
    let file = home.file("manifest.bin", &manifest);
    let register = |file: &Path| {
        let mut command = platform(home.path(), &["sgx", "register", "--pcs-url", &server.url()]);
        command.args(["--root-crl-url", &server.url()]).arg("--manifest").arg(file);
        run(command)
    };
    let out = register(&file);
    assert_eq!(
        text(&out.stdout),
        format!("registered; PPID {}\n", "0f".repeat(16)),
        "{}",
        show(&out)
    );
    manifest.push(0);
    let file = home.file("other.bin", &manifest);
    fails(&register(&file), 120, &["InvalidPlatformManifest", "nothing was registered"]);
    let file = home.file("none.bin", "something else");
    fails(&register(&file), 121, &["no request for registration"]);
}

#[test]
fn without_hardware_it_is_said_what_is_missing() {
    let home = Scratch::new();
    if Path::new("/dev/sev").exists() {
        println!("skipped: this machine has /dev/sev");
        return;
    }
    fails(&run(platform(home.path(), &["snp", "vcek"])), 123, &["which key it has", "--report"]);
    let out = run(platform(home.path(), &["snp", "info"]));
    assert!(out.status.success() && text(&out.stdout).contains("no SEV-SNP platform"));
    assert!(run(platform(home.path(), &["sgx", "info"])).status.success());
    // Services have to be reached in a way that nobody can listen in on or change.
    let mut command = platform(home.path(), &["snp", "cache-crl", "--product", "Milan"]);
    command.args(["--kds-url", "http://kds.example.com/"]);
    fails(&run(command), 2, &["must be https"]);
}
