// SPDX-License-Identifier: Apache-2.0

//! Backends for hardware: what is said where it is missing, launches with signatures, and the self-test.
//!
//! Where there is no hardware, its stand-ins run the same image and hold signatures against it by the same code.

#![cfg(target_os = "linux")]

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::{Scratch, enarx_in, show, text, works};
use launch_keys::{IdBlock, SevKey, SevSignature, SgxKey, Signatures, id_auth, sign_id_key};
use serde_json::Value;

const HELLO: &str = include_str!("wat/hello.wat");

/// Hardware backends, their stand-ins, and whether this machine has the hardware.
const HARDWARE: [(&str, &str, &str); 2] =
    [("snp", "snp-sim", "/dev/sev"), ("sgx", "sgx-sim", "/dev/sgx_enclave")];

fn run(mut command: Command) -> Output {
    command.output().expect("enarx starts")
}

fn fails(out: &Output, code: i32, words: &[&str]) {
    assert_eq!(out.status.code(), Some(code), "{}", show(out));
    for word in words {
        assert!(text(&out.stderr).contains(word), "{word}: {}", show(out));
    }
}

#[test]
fn hardware_that_is_missing_is_said_and_nothing_else_runs() {
    let home = Scratch::new();
    let module = home.file("hello.wat", HELLO);
    for (backend, stand_in, device) in HARDWARE {
        if Path::new(device).exists() {
            println!("skipped: {device} is there, and {backend} may work");
            continue;
        }
        for command in ["run", "deploy"] {
            let mut enarx = enarx_in(home.path());
            enarx.args([command, "--backend", backend]).arg(&module);
            if command == "deploy" {
                enarx.args(["--digest", &format!("sha256:{}", "ab".repeat(32))]);
            }
            let out = run(enarx);
            let says = format!("the {backend} backend does not work on this machine");
            fails(&out, 123, &[&says, "Caused by:"]);
            assert!(out.stdout.is_empty(), "{}", show(&out));
            // Each cause says what to do.
            let causes = text(&out.stderr).lines().filter(|line| line.contains(": ")).count();
            assert!(causes >= 2, "{}", show(&out));
            if common::offers(stand_in) {
                assert!(
                    text(&out.stderr).contains(&format!("--backend {stand_in}")),
                    "{}",
                    show(&out)
                );
            }
        }
        let out = run({
            let mut enarx = enarx_in(home.path());
            enarx.args(["demo", "--backend", backend]);
            enarx
        });
        fails(&out, 123, &[]);
    }
}

/// What an image is measured as, for signatures over it.
fn measured(home: &Path, backend: &str, program: &str) -> Vec<u8> {
    let mut enarx = enarx_in(home);
    enarx.args(["measure", "--backend", backend, "--program", program, "--json"]);
    let out = run(enarx);
    assert!(out.status.success(), "{}", show(&out));
    let value: Value = serde_json::from_slice(&out.stdout).unwrap();
    let digest = value["measurements"][0]["digest"].as_str().unwrap().to_owned();
    let byte = |at: usize| u8::from_str_radix(&digest[at..at + 2], 16).unwrap();
    (0..digest.len()).step_by(2).map(byte).collect()
}

/// A policy of a Keep: see `docs/measuring.md`.
const POLICY: u64 = 0x3_0133;

/// Signatures for SEV-SNP over that measurement, by keys of the moment.
fn for_snp(measurement: &[u8], policy: u64) -> Signatures {
    let (author, id) = (SevKey::generate().unwrap(), SevKey::generate().unwrap());
    let (family, image) = ([1; 16], [2; 16]);
    let measurement = measurement.try_into().unwrap();
    let block = IdBlock { measurement, family, image, svn: 3, policy };
    let auth = id_auth(&block, &id, &sign_id_key(&author, &id).unwrap()).unwrap();
    let sev = SevSignature { id_block: block.to_bytes(), id_auth: auth };
    Signatures { version: env!("CARGO_PKG_VERSION").into(), sev, sgx: vec![0; 1808] }
}

fn with_signatures(home: &Scratch, backend: &str, signatures: &Signatures) -> Output {
    let module = home.file("hello.wat", HELLO);
    let file = home.file("enarx.sig", signatures.to_json());
    let mut enarx = enarx_in(home.path());
    enarx.args(["run", "--backend", backend, "--signatures"]).arg(file).arg(module);
    run(enarx)
}

/// A deployment from a file, whose Keep would find out that this is not its digest.
fn deployed(home: &Scratch, backend: &str, signatures: &Signatures) -> Output {
    let module = home.file("hello.wat", HELLO);
    let file = home.file("enarx.sig", signatures.to_json());
    let digest = format!("sha256:{}", "ab".repeat(32));
    let mut enarx = enarx_in(home.path());
    enarx.args(["deploy", "--backend", backend, "--digest", &digest, "--signatures"]);
    enarx.arg(file).arg(module);
    run(enarx)
}

#[test]
fn snp_launches_what_was_signed_and_nothing_else() {
    if !works("snp-sim") {
        return;
    }
    let home = Scratch::new();
    let runtime = measured(home.path(), "snp", "runtime");
    let good = for_snp(&runtime, POLICY);
    let out = with_signatures(&home, "snp-sim", &good);
    assert_eq!(
        (out.status.code(), text(&out.stdout).as_str()),
        (Some(42), "hello\n"),
        "{}",
        show(&out)
    );

    let refused = |signatures: &Signatures, words: &[&str]| {
        let out = with_signatures(&home, "snp-sim", signatures);
        fails(&out, 121, words);
        assert!(out.stdout.is_empty(), "{}", show(&out));
    };
    let compiler = measured(home.path(), "snp", "compiler");
    refused(&for_snp(&compiler, POLICY), &["another measurement", "enarx measure --signatures"]);
    refused(&for_snp(&runtime, POLICY | 1 << 19), &["lets the host debug the guest"]);
    let out = deployed(&home, "snp-sim", &for_snp(&compiler, POLICY));
    fails(&out, 121, &["another measurement"]);
    // With good signatures it is the Keep that refuses, because of the digest.
    fails(&deployed(&home, "snp-sim", &good), 122, &["not the workload that was asked for"]);
    refused(&for_snp(&runtime, POLICY | 1 << 18), &["migration agent"]);
    // Another author's signature over the ID key, and a block that was changed after it was signed.
    let mut other = good.clone();
    let stranger = for_snp(&runtime, POLICY);
    other.sev.id_auth[0x680..].copy_from_slice(&stranger.sev.id_auth[0x680..]);
    refused(&other, &["does not verify"]);
    let mut block = good.clone();
    block.sev.id_block[0x30] ^= 1;
    refused(&block, &["does not verify"]);
    refused(
        &Signatures { version: "0.0.1".into(), ..good.clone() },
        &["has signatures for Enarx 0.0.1"],
    );
    let mut cut = good;
    cut.sev.id_auth.pop();
    refused(&cut, &["is no file of signatures"]);
}

#[test]
fn sgx_launches_what_was_signed_and_nothing_else() {
    if !works("sgx-sim") {
        return;
    }
    let home = Scratch::new();
    let key = SgxKey::generate().unwrap();
    let image = |bytes| keep_image::Image::decode(bytes).unwrap();
    let signed = |bytes, change: &dyn Fn(&mut launch_keys::Enclave)| {
        let image = image(bytes);
        let enclave = sgx_launch::image::Enclave::new(&image);
        let plan = enclave.plan([0; 64]).unwrap();
        let date = launch_keys::sigstruct_date(2026, 1, 1).unwrap();
        let terms = sgx_launch::sign::Terms { date, ..Default::default() };
        let mut described = sgx_launch::sign::describe(&plan, &terms).unwrap();
        change(&mut described);
        let sev = SevSignature { id_block: vec![0; 96], id_auth: vec![0; 4096] };
        let version = env!("CARGO_PKG_VERSION").into();
        Signatures { version, sev, sgx: key.sign(&described).unwrap() }
    };
    let runtime = keep_programs::RUNTIME_IMAGE;
    let good = signed(runtime, &|_| {});
    let out = with_signatures(&home, "sgx-sim", &good);
    assert_eq!(
        (out.status.code(), text(&out.stdout).as_str()),
        (Some(42), "hello\n"),
        "{}",
        show(&out)
    );
    let refused = |signatures: &Signatures, words: &[&str]| {
        let out = with_signatures(&home, "sgx-sim", signatures);
        fails(&out, 121, words);
        assert!(out.stdout.is_empty(), "{}", show(&out));
    };
    let compiler = keep_programs::COMPILER_IMAGE;
    refused(&signed(compiler, &|_| {}), &["over another enclave"]);
    // DEBUG is bit 1 of the attributes (SDM, volume 3D).
    refused(&signed(runtime, &|enclave| enclave.attributes.0[0] |= 2), &["under debug"]);
    refused(
        &signed(runtime, &|enclave| enclave.attributes.1[0] &= !2),
        &["leaves attributes open"],
    );
    let mut changed = good;
    changed.sgx[1026] ^= 1;
    refused(&changed, &["does not verify"]);
}

#[test]
fn signatures_are_for_hardware() {
    if !works("nil") {
        return;
    }
    let home = Scratch::new();
    let out = with_signatures(&home, "nil", &for_snp(&[7; 48], POLICY));
    fails(&out, 2, &["the nil backend launches without signatures", "--backend"]);
    let out = deployed(&home, "nil", &for_snp(&[7; 48], POLICY));
    fails(&out, 2, &["the nil backend launches without signatures"]);
}

fn selftest(home: &Scratch, args: &[&str]) -> Output {
    let mut enarx = enarx_in(home.path());
    enarx.args(["platform", "selftest"]).args(args);
    run(enarx)
}

#[test]
fn the_self_test_tries_what_works_and_reports_it() {
    for backend in ["nil", "kvm", "snp-sim", "sgx-sim"] {
        if !works(backend) {
            continue;
        }
        let home = Scratch::new();
        let file = home.path().join("report.md");
        let path = file.to_str().unwrap();
        let out = selftest(&home, &["--backend", backend, "--json", "--output", path]);
        assert!(out.status.success(), "{backend}: {}", show(&out));
        let report: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(report["pass"], true);
        let tried = &report["backends"][0];
        assert_eq!((&tried["backend"], &tried["works"]), (&backend.into(), &true.into()));
        assert_eq!(tried["claims"]["platform"], "development");
        assert_eq!(tried["claims"]["debug"], false);
        let names: Vec<_> =
            tried["checks"].as_array().unwrap().iter().map(|check| &check["name"]).collect();
        let expected: &[&str] = match backend {
            "nil" | "kvm" => &["measurement", "deployment", "evidence", "sealing"],
            _ => &[
                "measurement",
                "deployment",
                "evidence",
                "sealing",
                "signature",
                "wrong signature",
                "signed launch",
            ],
        };
        assert_eq!(names, expected);
        // What it measures is what anybody measures.
        if backend != "nil" {
            let measured = measured(home.path(), backend, "runtime");
            let digits: String = measured.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(tried["claims"]["measurement"], digits.as_str());
        }
        // It can be shown to anybody.
        let markdown = std::fs::read_to_string(&file).unwrap();
        assert!(markdown.contains(&format!("## {backend}: passed")), "{markdown}");
        for text in [markdown.as_str(), &text(&out.stdout)] {
            assert!(!text.contains("PRIVATE KEY") && !text.contains("/tmp"), "{text}");
        }
        // It overwrites nothing.
        let out = selftest(&home, &["--backend", backend, "--output", path]);
        assert!(!out.status.success() && out.stdout.is_empty(), "{}", show(&out));
    }
}

#[test]
fn a_self_test_of_what_is_not_there_fails() {
    let home = Scratch::new();
    for (backend, _, device) in HARDWARE {
        if Path::new(device).exists() {
            println!("skipped: {device} is there, and {backend} may work");
            continue;
        }
        let out = selftest(&home, &["--backend", backend, "--json"]);
        fails(&out, 120, &["not everything is as it has to be"]);
        let report: Value = serde_json::from_slice(&out.stdout).unwrap();
        let tried = &report["backends"][0];
        assert_eq!((&tried["works"], &tried["pass"]), (&false.into(), &false.into()));
        let probe = tried["probe"].as_array().unwrap();
        assert!(probe.iter().any(|datum| datum["pass"] == false && datum["mesg"].is_string()));
        assert!(tried["checks"].as_array().unwrap().is_empty());
    }
}
