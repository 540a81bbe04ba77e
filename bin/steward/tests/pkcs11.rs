// SPDX-License-Identifier: Apache-2.0

//! A Steward whose key is in a token that does not give it away: SoftHSM2 stands for the device.

#![cfg(feature = "pkcs11")]

mod common;

use std::fs;
use std::path::Path;

use common::{Home, Service, good, run, show, tool};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;

const MODULES: [&str; 4] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
];
const PIN: &str = "624813";
const P256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: &[u8] = &[6, 5, 0x2b, 0x81, 4, 0, 0x22];

/// The module; `None`, with a word, if there is none and none can be installed.
fn module() -> Option<&'static str> {
    let find = || MODULES.into_iter().find(|path| Path::new(path).exists());
    if let Some(module) = find() {
        return Some(module);
    }
    let installed = std::process::Command::new("apt-get")
        .args(["install", "-y", "-qq", "softhsm2"])
        .output()
        .is_ok_and(|out| out.status.success());
    let found = find().filter(|_| installed);
    if found.is_none() {
        eprintln!("skipped: there is no SoftHSM2, and it could not be installed");
    }
    found
}

/// One test, because what a token is made of is set for the whole process.
#[test]
fn a_key_in_a_token_signs_certificates() {
    let Some(module) = module() else { return };
    let home = Home::new();
    let tokens = home.path("tokens");
    fs::create_dir(&tokens).unwrap();
    let config = home.text("softhsm2.conf");
    fs::write(&config, format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display()))
        .unwrap();
    // SAFETY: this test is the only one of its program, and no other thread runs yet that would look at
    // the environment.
    unsafe { std::env::set_var("SOFTHSM2_CONF", &config) };
    tool(
        "softhsm2-util",
        &["--init-token", "--free", "--label", "steward", "--so-pin", "12345678", "--pin", PIN],
        home.root(),
    );
    make_keys(module);

    fs::write(home.path("pin"), format!("{PIN}\n")).unwrap();
    let pin = home.text("pin");
    for label in ["p256", "p384"] {
        let options = |label: &str, token: &str| -> Vec<String> {
            ["--pkcs11-module", module, "--pkcs11-token", token, "--pkcs11-key-label", label]
                .into_iter()
                .map(Into::into)
                .collect()
        };
        let dir = home.text(label);
        let mut args: Vec<String> = ["init", "--dir", &dir, "--pkcs11-pin-file", &pin]
            .into_iter()
            .map(Into::into)
            .collect();
        args.extend(options(label, "steward"));
        let text = good(&args);
        assert!(text.contains("--pkcs11-module"), "{text}");
        assert!(!home.path(label).join("steward.key").exists());

        let crt = format!("{dir}/steward.crt");
        let policy = home.text("dev/policy.toml");
        let serve = |label: &str, token: &str| -> Vec<String> {
            let args = ["--crt", &crt, "--policy", &policy, "--development"];
            args.into_iter().map(Into::into).chain(options(label, token)).collect()
        };
        // The PIN from the environment this time.
        let environment = [("STEWARD_PKCS11_PIN", PIN)];
        let service = Service::start(&home, &serve(label, "steward"), &environment);
        let csr = home.request(&format!("{label}-request"), &[]);
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| assert_eq!(service.certify(&csr, "").status, 200));
            }
        });
        let pem = service.certify(&csr, "application/pem-certificate-chain");
        fs::write(home.path("chain.pem"), &pem.body).unwrap();
        let root = format!("{dir}/root.crt");
        tool(
            "openssl",
            &["verify", "-CAfile", &root, "-untrusted", "chain.pem", "chain.pem"],
            home.root(),
        );
        // Each process makes its own key of nonces, which is good as long as it lives.
        let nonce = service.get("/v1/nonce").json()["nonce"].as_str().unwrap().to_owned();
        let fresh = home.request(&format!("{label}-fresh"), &["--nonce", &nonce]);
        assert_eq!(service.certify(&fresh, "").json()["claims"]["fresh"], true);
        service.stop();

        let fails = |args: Vec<String>, pin: &str, code: i32| {
            fs::write(home.path("pin"), pin).unwrap();
            let tail = ["--port", "0", "--pkcs11-pin-file", &home.text("pin")].map(String::from);
            let out = run(["serve".to_owned()].into_iter().chain(args).chain(tail));
            fs::write(home.path("pin"), PIN).unwrap();
            assert_eq!(out.status.code(), Some(code), "{}", show(&out));
            assert!(!show(&out).contains(PIN), "{}", show(&out));
        };
        fails(serve(label, "steward"), "000000", 5);
        fails(serve(label, "other"), PIN, 5);
        fails(serve("other", "steward"), PIN, 5);
        // The other key is a key, but not that of the certificate.
        fails(serve(if label == "p256" { "p384" } else { "p256" }, "steward"), PIN, 4);
    }
    let out = run([
        "serve",
        "--crt",
        "x",
        "--policy",
        &home.text("dev/policy.toml"),
        "--pkcs11-module",
        module,
    ]);
    assert_eq!(out.status.code(), Some(2), "{}", show(&out));
}

/// Two key pairs that never leave the token.
fn make_keys(module: &str) {
    let context = Pkcs11::new(module).unwrap();
    context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slots = context.get_slots_with_token().unwrap();
    let slot = slots
        .into_iter()
        .find(|slot| context.get_token_info(*slot).unwrap().label() == "steward")
        .unwrap();
    let session = context.open_rw_session(slot).unwrap();
    session.login(UserType::User, Some(&AuthPin::from(PIN))).unwrap();
    for (label, curve) in [("p256", P256), ("p384", P384)] {
        let label = Attribute::Label(label.into());
        let public = [Attribute::Token(true), label.clone(), Attribute::EcParams(curve.to_vec())];
        let private = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
            label,
        ];
        session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).unwrap();
    }
}
