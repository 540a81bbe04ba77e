// SPDX-License-Identifier: Apache-2.0

//! `enarx package`, `repo`, `key` and `sign` as a person types them, against the services of `enarx dev up`.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use common::{Scratch, enarx_in, show, text};
use evidence_pki::hex;
use launch_keys::{IdBlock, SevKey, SevSignature, SgxKey, Signatures, Sigstruct, id_auth};
use serde_json::Value;

/// A person with a home, and services of their own.
struct Person {
    folder: Scratch,
    variables: Vec<(String, String)>,
    /// Whether the services are this person's.
    owns: bool,
}

impl Person {
    /// Without services.
    fn new() -> Self {
        Self { folder: Scratch::new(), variables: Vec::new(), owns: false }
    }

    /// With services, logged in, as the user alice.
    fn with_services() -> Self {
        let mut person = Self::new();
        person.owns = true;
        person.ok(&["dev", "init"]);
        let script = person.ok(&["dev", "up"]);
        for line in script.lines() {
            if let Some((name, value)) =
                line.strip_prefix("export ").and_then(|l| l.split_once('='))
            {
                person.variables.push((name.into(), value.trim_matches('\'').into()));
            }
        }
        person.ok(&["user", "login"]);
        person.ok(&["user", "register", "alice"]);
        person
    }

    /// Somebody else at the same services.
    fn new_at(other: &Self) -> Self {
        Self { folder: Scratch::new(), variables: other.variables.clone(), owns: false }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = enarx_in(&self.folder.path().join("home"));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.args(arguments).current_dir(self.folder.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let out = self.run(arguments);
        assert!(out.status.success(), "{arguments:?}\n{}", show(&out));
        text(&out.stdout)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        serde_json::from_str(&self.ok(&arguments)).unwrap()
    }

    /// Fails with that code, and says so.
    fn fails(&self, code: i32, arguments: &[&str], says: &str) {
        let out = self.run(arguments);
        assert_eq!(out.status.code(), Some(code), "{arguments:?}\n{}", show(&out));
        let said = text(&out.stderr);
        // A warning may stand above it.
        let is_error = said.lines().any(|line| line.starts_with("Error: "));
        assert!(is_error && said.contains(says), "{arguments:?}\n{said}");
    }

    fn package(&self, name: &str) {
        let folder = self.path(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("main.wasm"), b"\0asm\x01\0\0\0").unwrap();
        fs::write(folder.join("Enarx.toml"), format!("args = [{name:?}]\n")).unwrap();
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        if self.owns {
            let _ = self.run(&["dev", "down"]);
        }
    }
}

fn same(one: &Path, other: &Path) {
    for name in ["main.wasm", "Enarx.toml"] {
        assert_eq!(fs::read(one.join(name)).unwrap(), fs::read(other.join(name)).unwrap());
    }
}

#[test]
fn a_workload_is_published_looked_at_and_withdrawn() {
    let alice = Person::with_services();
    alice.package("shop");
    let digest = alice.ok(&["package", "digest", "shop"]).trim().to_owned();
    let created = alice.json(&["repo", "register", "alice/shop", "--public", "--dry-run"]);
    assert_eq!((&created["access"], &created["dry_run"]), (&"public".into(), &true.into()));
    alice.fails(120, &["repo", "info", "alice/shop"], "cannot show");
    alice.ok(&["repo", "register", "alice/shop", "--public"]);
    alice.fails(120, &["repo", "register", "alice/shop", "--public"], "cannot create");

    let would = alice.ok(&["package", "publish", "alice/shop:1.0.0", "shop", "--dry-run"]);
    assert!(would.starts_with("would publish ") && would.contains(&digest), "{would}");
    alice.fails(120, &["package", "info", "alice/shop:1.0.0"], "cannot show");
    let done = alice.json(&["package", "publish", "alice/shop:1.0.0", "shop"]);
    assert_eq!((&done["digest"], &done["existed"]), (&digest.clone().into(), &false.into()));
    let done = alice.json(&["package", "publish", "alice/shop:1.0.0", "shop"]);
    assert_eq!(done["existed"], true);
    alice.package("other");
    let publish = ["package", "publish", "alice/shop:1.0.0", "other"];
    alice.fails(120, &publish, "tags never change");

    let info = alice.json(&["package", "info", "alice/shop"]);
    assert_eq!((&info["tag"], &info["workload"]), (&"1.0.0".into(), &digest.clone().into()));
    assert!(alice.ok(&["repo", "info", "alice/shop"]).contains(&digest));
    assert!(alice.ok(&["repo", "search", "sho"]).contains("alice/shop public"));
    assert!(alice.ok(&["repo", "list", "alice"]).contains("alice/shop public"));

    // Nobody is logged in here.
    let stranger = Person::new_at(&alice);
    let pinned = format!("alice/shop:^1@{digest}");
    stranger.ok(&["package", "fetch", &pinned, "fetched"]);
    same(&stranger.path("fetched"), &alice.path("shop"));
    stranger.fails(121, &["package", "fetch", &pinned, "fetched"], "cannot create fetched");
    let wrong = format!("alice/shop:1.0.0@sha256:{}", "0".repeat(64));
    stranger.fails(120, &["package", "fetch", &wrong, "wrong"], "has the digest");
    assert!(!stranger.path("wrong").exists());
    stranger.fails(120, &["package", "yank", "alice/shop:1.0.0"], "cannot withdraw");

    alice.ok(&["package", "yank", "alice/shop:1.0.0", "--dry-run"]);
    assert_eq!(alice.json(&["package", "info", "alice/shop:1.0.0"])["yanked"], false);
    alice.ok(&["package", "yank", "alice/shop:1.0.0"]);
    assert_eq!(alice.json(&["package", "info", "alice/shop:1.0.0"])["yanked"], true);
    alice.fails(120, &["package", "info", "alice/shop"], "cannot show");
    alice.ok(&["package", "yank", "alice/shop:1.0.0", "--undo"]);
    alice.ok(&["package", "info", "alice/shop"]);
    alice.ok(&["repo", "change", "alice/shop"]);
    assert_eq!(alice.json(&["repo", "info", "alice/shop"])["access"], "owner");
    alice.ok(&["package", "delete", "alice/shop:1.0.0"]);
    alice.fails(120, &["package", "publish", "alice/shop:1.0.0", "shop"], "cannot publish");
    alice.ok(&["repo", "delete", "alice/shop", "--dry-run"]);
    alice.ok(&["repo", "delete", "alice/shop"]);
    alice.fails(120, &["repo", "info", "alice/shop"], "cannot show");
}

#[test]
fn signatures_are_demanded_and_checked() {
    let alice = Person::with_services();
    alice.package("shop");
    for key in ["good", "bad"] {
        alice.ok(&["key", "tag", "create", "--out", key]);
        alice.ok(&["key", "tag", "public", key, "--out", &format!("{key}.pub")]);
    }
    alice.ok(&["repo", "register", "alice/shop", "--public", "--signer", "good.pub"]);
    let publish = ["package", "publish", "alice/shop:1.0.0", "shop"];
    alice.fails(120, &publish, "cannot publish");
    alice.fails(120, &[&publish[..], &["--sign", "bad"]].concat(), "cannot publish");
    alice.ok(&[&publish[..], &["--sign", "good"]].concat());
    assert_eq!(alice.json(&["package", "info", "alice/shop"])["signature"], "jws");
    let fetch = ["package", "fetch", "alice/shop", "to", "--signer"];
    alice.fails(120, &[&fetch[..], &["bad.pub"]].concat(), "signature");
    alice.ok(&[&fetch[..], &["good.pub"]].concat());
    same(&alice.path("to"), &alice.path("shop"));
}

#[test]
fn what_cannot_be_published_is_refused_before_anything_is_sent() {
    let person = Person::new();
    person.package("shop");
    let at = "localhost:1/alice/shop:1.0.0";
    fs::write(person.path("shop/Enarx.toml"), "arguments = []\n").unwrap();
    person.fails(121, &["package", "publish", at, "shop"], "Enarx.toml");
    fs::write(person.path("shop/Enarx.toml"), "args = []\n").unwrap();
    fs::write(person.path("shop/.env"), "SECRET=1\n").unwrap();
    person.fails(121, &["package", "publish", at, "shop"], "does not belong into a package");
    fs::remove_file(person.path("shop/.env")).unwrap();
    person.fails(121, &["package", "publish", at, "nothing"], "cannot read nothing");
    let latest = "localhost:1/alice/shop:latest";
    person.fails(2, &["package", "publish", latest, "shop"], "names no single version");
    person.fails(2, &["package", "info", "alice/shop"], "no Drawbridge is named");
    person.fails(121, &["package", "publish", at, "shop", "--sign", "shop/main.wasm"], "");
    person.ok(&["package", "publish", at, "shop", "--dry-run"]);
    person.fails(120, &["package", "info", at], "no answer");
}

#[test]
fn keys_have_the_published_forms() {
    let person = Person::new();
    person.ok(&["key", "sgx", "create", "--out", "sgx.key"]);
    let pem = fs::read_to_string(person.path("sgx.key")).unwrap();
    assert!(pem.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"), "PKCS#1");
    assert_eq!(person.ok(&["key", "sgx", "digest", "sgx.key"]).trim().len(), 64);
    for name in ["author.key", "id.key"] {
        person.ok(&["key", "sev", "create", "--out", name]);
        assert_eq!(person.ok(&["key", "sev", "digest", name]).trim().len(), 96);
    }
    let sign = ["key", "sev", "sign", "--author-key", "author.key", "--id-key", "id.key"];
    person.ok(&[&sign[..], &["--out", "id.sig"]].concat());
    assert_eq!(fs::metadata(person.path("id.sig")).unwrap().len(), 1540);
    // Nobody else can read a key, and none is overwritten.
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(person.path("id.key")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o077, 0);
    person.fails(121, &["key", "sev", "create", "--out", "id.key"], "id.key");
    person.fails(121, &["key", "sgx", "digest", "id.key"], "no key for SGX");
}

/// Somebody with the keys that sign images.
fn signer() -> Person {
    let person = Person::new();
    person.ok(&["key", "sgx", "create", "--out", "sgx.key"]);
    for name in ["author.key", "id.key"] {
        person.ok(&["key", "sev", "create", "--out", name]);
    }
    let sign = ["key", "sev", "sign", "--author-key", "author.key", "--id-key", "id.key"];
    person.ok(&[&sign[..], &["--out", "id.sig"]].concat());
    person
}

const SIGN: [&str; 7] =
    ["sign", "--sgx-key", "sgx.key", "--sev-id-key", "id.key", "--sev-id-key-signature", "id.sig"];

/// The line of a program in what is measured for a kind of hardware.
fn measured(person: &Person, hardware: &str, program: &str, more: &[&str]) -> Value {
    let command = ["measure", "--backend", hardware, "--program", program];
    let line = person.json(&[&command[..], more].concat())["measurements"].take();
    let [line] = line.as_array().unwrap().as_slice() else { panic!("{line}") };
    line.clone()
}

fn signatures(person: &Person, name: &str) -> Signatures {
    Signatures::from_json(&fs::read(person.path(name)).unwrap()).unwrap()
}

#[test]
fn images_are_signed_in_the_published_form() {
    let person = signer();
    let terms = ["--svn", "3", "--product-id", "7", "--date", "2026-03-31"];
    let (family, image) = ("0f".repeat(16), "1e".repeat(16));
    let ids = ["--family-id", &family, "--image-id", &image];
    person.ok(&[&SIGN[..], &terms, &ids, &["--out", "enarx.sig"]].concat());
    let file: Value = serde_json::from_slice(&fs::read(person.path("enarx.sig")).unwrap()).unwrap();
    assert_eq!(file["version"], env!("CARGO_PKG_VERSION"));
    let Signatures { sev: SevSignature { id_block, id_auth }, sgx, .. } =
        signatures(&person, "enarx.sig");
    assert_eq!((id_block.len(), id_auth.len(), sgx.len()), (96, 4096, 1808));

    // What is signed is what is measured, at the places where AMD's firmware and Intel's processors look.
    let snp = measured(&person, "snp", "runtime", &["--signatures", "enarx.sig"]);
    let enclave = measured(&person, "sgx", "runtime", &["--signatures", "enarx.sig"]);
    let digest = |bytes: &[u8]| Value::from(hex(bytes));
    assert_eq!(snp["digest"], digest(&id_block[..48]));
    assert_eq!(id_block[48..80], [[0x0f; 16], [0x1e; 16]].concat());
    assert_eq!(id_block[80..], [1, 0, 0, 0, 3, 0, 0, 0, 0x33, 1, 3, 0, 0, 0, 0, 0]);
    assert_eq!(enclave["digest"], digest(&sgx[960..992]));
    assert_eq!(sgx[20..24], 0x2026_0331_u32.to_le_bytes());
    assert_eq!((&sgx[912..928], &sgx[1008..1024]), (&[0x0f; 16][..], &[0x1e; 16][..]));
    assert_eq!(sgx[1024..1028], [7, 0, 3, 0]);
    // No attribute is left to the host.
    assert_eq!(
        (&sgx[928..936], &sgx[944..960]),
        (&[0x84, 0, 0, 0, 0, 0, 0, 0][..], &[255; 16][..])
    );

    // Signers have the names that `enarx key` gives them.
    let name = |kind: &str, key: &str| person.ok(&["key", kind, "digest", key]).trim().to_owned();
    assert_eq!(enclave["signed"]["mrsigner"], name("sgx", "sgx.key"));
    assert_eq!(snp["signed"]["id_key_digest"], name("sev", "id.key"));
    assert_eq!(snp["signed"]["author_key_digest"], name("sev", "author.key"));
    assert_eq!((&snp["policy"], &snp["signed"]["guest_svn"]), (&"0x30133".into(), &3.into()));
    assert_eq!(snp["image"], enclave["image"], "one image for all");
    assert_eq!(snp["signed"]["image_id"], image);
    assert_eq!(enclave["signed"]["ext_prod_id"], image);

    // OpenSSL verifies both; SIGSTRUCT's signature is over both ends of what is signed.
    let message = [&sgx[..128], &sgx[900..1028]].concat();
    let number: Vec<u8> = sgx[516..900].iter().rev().copied().collect();
    openssl_verifies(&person, "sgx.key", "-sha256", &message, &number);
    let author = &id_auth[0x680..];
    for (key, message, signature) in [
        ("id.key", &id_block[..], &id_auth[0x40..]),
        ("author.key", &id_auth[0x240..0x240 + 1028], author),
    ] {
        let der = [&signature[..72], &signature[72..144]].map(der_number).concat();
        let der = [&[0x30, der.len() as u8][..], &der].concat();
        openssl_verifies(&person, key, "-sha384", message, &der);
    }

    // Without a file the same goes to stdout, and none is overwritten.
    let printed = person.run(&[&SIGN[..], &terms, &ids].concat());
    assert_eq!(Signatures::from_json(&printed.stdout).unwrap().sgx, sgx);
    person.fails(121, &[&SIGN[..], &["--out", "enarx.sig"]].concat(), "is there already");
}

/// DER `INTEGER` of a number that is little-endian.
fn der_number(number: &[u8]) -> Vec<u8> {
    let mut digits: Vec<u8> = number.iter().rev().copied().skip_while(|byte| *byte == 0).collect();
    if digits[0] & 0x80 != 0 {
        digits.insert(0, 0);
    }
    [&[2, digits.len() as u8][..], &digits].concat()
}

fn openssl_verifies(person: &Person, key: &str, hash: &str, message: &[u8], signature: &[u8]) {
    fs::write(person.path("message"), message).unwrap();
    fs::write(person.path("signature"), signature).unwrap();
    let key = ["pkey", "-in", key, "-pubout", "-out", "public.pem"];
    let verify = ["dgst", hash, "-verify", "public.pem", "-signature", "signature", "message"];
    for arguments in [&key[..], &verify] {
        match Command::new("openssl").args(arguments).current_dir(person.folder.path()).output() {
            Ok(out) => assert!(out.status.success(), "{arguments:?}\n{}", show(&out)),
            Err(error) => eprintln!("skipped: there is no openssl: {error}"),
        }
    }
}

#[test]
fn signatures_of_another_image_or_that_let_the_host_in_are_refused() {
    let person = signer();
    person.ok(&[&SIGN[..], &["--out", "good"]].concat());
    let check = |hardware: &str, file: &str, more: &[&str]| {
        let command = ["measure", "--backend", hardware, "--program", "runtime"];
        person.run(&[&command[..], &["--signatures", file], more].concat())
    };
    let refuses = |hardware: &str, file: &str, says: &str| {
        let out = check(hardware, file, &[]);
        assert_eq!(out.status.code(), Some(121), "{hardware} {file}: {}", show(&out));
        let said = text(&out.stderr);
        assert!(said.contains(says), "{hardware} {file}: {said}");
    };

    // Signatures are for a program, a number of processors and a C-bit.
    person.ok(&[&SIGN[..], &["--program", "compiler", "--out", "compiler"]].concat());
    refuses("snp", "compiler", "for an image with another measurement");
    refuses("sgx", "compiler", "over another enclave");
    measured(&person, "snp", "compiler", &["--signatures", "compiler"]);
    person.ok(&[&SIGN[..], &["--processors", "2", "--c-bit", "47", "--out", "two"]].concat());
    refuses("snp", "two", "one number of processors");
    let two = measured(
        &person,
        "snp",
        "runtime",
        &["--signatures", "two", "--processors", "2", "--c-bit", "47"],
    );
    assert_eq!((&two["processors"], &two["c_bit"]), (&2.into(), &47.into()));
    assert!(check("sgx", "two", &[]).status.success(), "SGX knows neither");

    // A policy that asks for more is launched as it was signed.
    person.ok(&[&SIGN[..], &["--sev-policy", "0x120133", "--out", "strict"]].concat());
    let strict = measured(&person, "snp", "runtime", &["--signatures", "strict"]);
    assert_eq!(strict["policy"], "0x120133");

    // What `enarx sign` does not make: signed all the same, and let in by the hardware.
    let good = signatures(&person, "good");
    let id_key = SevKey::from_pem(&fs::read_to_string(person.path("id.key")).unwrap()).unwrap();
    let id_sig = fs::read(person.path("id.sig")).unwrap();
    let sgx_key = SgxKey::from_pem(&fs::read_to_string(person.path("sgx.key")).unwrap()).unwrap();
    let with_policy = |policy: u64| {
        let block = IdBlock { policy, ..IdBlock::from_bytes(&good.sev.id_block).unwrap() };
        let auth = id_auth(&block, &id_key, &id_sig).unwrap();
        let sev = SevSignature { id_block: block.to_bytes(), id_auth: auth };
        Signatures { sev, ..good.clone() }
    };
    let with_attribute = |change: fn(&mut ([u8; 16], [u8; 16]))| {
        let mut enclave = Sigstruct::from_bytes(&good.sgx).unwrap().enclave();
        change(&mut enclave.attributes);
        Signatures { sgx: sgx_key.sign(&enclave).unwrap(), ..good.clone() }
    };
    let changed = |change: &dyn Fn(&mut Signatures)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed
    };
    let other = SgxKey::generate().unwrap();
    let enclave = Sigstruct::from_bytes(&good.sgx).unwrap().enclave();
    let other = other.sign(&enclave).unwrap();
    let cases: [(&str, &str, Signatures, &str); 12] = [
        ("debug-snp", "snp", with_policy(0xb0133), "lets the host debug the guest"),
        ("migration", "snp", with_policy(0x70133), "migration agent"),
        ("old", "snp", with_policy(0x30100), "a Keep needs 1.51"),
        ("debug-sgx", "sgx", with_attribute(|(value, _)| value[0] |= 2), "under debug"),
        ("open", "sgx", with_attribute(|(_, mask)| mask[0] &= !2), "leaves attributes open"),
        ("provisioning", "sgx", with_attribute(|(value, _)| value[0] |= 16), "other attributes"),
        // Another key's modulus, another block, another ID key, another author.
        ("key", "sgx", changed(&|all| all.sgx[128..512].copy_from_slice(&other[128..512])), VERIFY),
        ("hash", "sgx", changed(&|all| all.sgx[960] ^= 1), VERIFY),
        ("block", "snp", changed(&|all| all.sev.id_block[84] ^= 1), VERIFY),
        ("id", "snp", changed(&|all| all.sev.id_auth[0x40] ^= 1), VERIFY),
        ("author", "snp", changed(&|all| all.sev.id_auth[0x680] ^= 1), VERIFY),
        ("version", "sgx", changed(&|all| all.version = "0.7.1".into()), "for Enarx 0.7.1"),
    ];
    for (name, hardware, signatures, says) in cases {
        fs::write(person.path(name), signatures.to_json()).unwrap();
        refuses(hardware, name, says);
    }
    // The author is not a must for the hardware; a report then names none.
    let alone = changed(&|all| all.sev.id_auth[0x680..].fill(0));
    fs::write(person.path("alone"), alone.to_json()).unwrap();
    let alone = measured(&person, "snp", "runtime", &["--signatures", "alone"]);
    assert_eq!(alone["signed"]["author_key_digest"], Value::Null);
    refuses("sgx", "id.sig", "is no file of signatures");
}

/// A signature that is not over what is there.
const VERIFY: &str = "the signature does not verify";

#[test]
fn nothing_is_signed_that_would_be_refused() {
    let person = signer();
    let fails = |code, more: &[&str], says: &str| {
        person.fails(code, &[&SIGN[..], &["--out", "new"], more].concat(), says);
        assert!(!person.path("new").exists(), "{more:?}");
    };
    for (policy, says) in [
        ("0xb0133", "debug"),
        ("0x70133", "migration agent"),
        ("0x10133", "reserved"),
        ("0x30132", "1.51"),
    ] {
        fails(2, &["--sev-policy", policy], says);
    }
    fails(2, &["--processors", "0"], "1 to 7 processors");
    fails(2, &["--c-bit", "52"], "cannot be the C-bit");
    // Keys of another kind, and a signature over another ID key.
    let with = |place: usize, file: &'static str| {
        let mut arguments = SIGN;
        arguments[place] = file;
        arguments
    };
    person.fails(121, &with(2, "id.key"), "no key for SGX");
    person.fails(121, &with(4, "sgx.key"), "no key for SEV-SNP");
    person.fails(121, &with(4, "author.key"), "does not fit the ID key");
    person.fails(121, &with(6, "id.key"), "does not fit the ID key");
    person.fails(2, &["measure", "--processors", "2"], "SEV-SNP alone");
    person.fails(2, &["measure", "--backend", "sgx", "--c-bit", "51"], "SEV-SNP alone");
    let signatures = ["measure", "--program", "runtime", "--signatures", "id.sig"];
    person.fails(2, &signatures, "for hardware");
}
