// SPDX-License-Identifier: Apache-2.0

//! Signed tags: by our own hand, by OpenSSL's keys, and with everything that can be wrong with them.

use std::process::Command;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use drawbridge_signatures::{
    KeyKind, MAX_JWS, PublicKey, SignatureError, SigningKey, entry_of, sign_jws, verify_jws,
};
use drawbridge_types::{Entry, Meta, media};
use serde_json::{Value, json};

fn entry() -> Entry {
    let mut entry = Entry::new(Meta::of(b"\0asm\x01\0\0\0", media::WASM));
    entry.custom.insert("note".into(), Value::from("kept"));
    entry
}

fn key(kind: KeyKind) -> SigningKey {
    SigningKey::generate(kind).unwrap()
}

const KINDS: [KeyKind; 2] = [KeyKind::P256, KeyKind::Ed25519];

#[test]
fn what_is_signed_is_verified_by_the_right_key_alone() {
    for kind in KINDS {
        let (mine, other) = (key(kind), key(kind));
        let jws = sign_jws(&entry(), &mine).unwrap();
        let keys = [other.public_key().clone(), mine.public_key().clone()];
        assert_eq!(verify_jws(&jws, &keys), Ok(entry()));
        assert_eq!(verify_jws(&jws, &keys[..1]), Err(SignatureError::NoTrustedKey(1)));
        assert_eq!(verify_jws(&jws, &[]), Err(SignatureError::NoTrustedKey(0)));
        assert_eq!(entry_of(&jws), Ok(entry()));
    }
}

#[test]
fn no_bit_can_be_changed() {
    for kind in KINDS {
        let key = key(kind);
        let keys = [key.public_key().clone()];
        let jws: Value = serde_json::from_slice(&sign_jws(&entry(), &key).unwrap()).unwrap();
        for field in ["payload", "protected", "signature"] {
            let bytes = Base64UrlUnpadded::decode_vec(jws[field].as_str().unwrap()).unwrap();
            for at in 0..bytes.len() {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1;
                let mut changed = jws.clone();
                changed[field] = Base64UrlUnpadded::encode_string(&bytes).into();
                let changed = serde_json::to_vec(&changed).unwrap();
                assert!(verify_jws(&changed, &keys).is_err(), "{kind:?} {field} {at}");
            }
        }
    }
}

/// A JWS around the entry with that header, truly signed.
fn with_header(key: &SigningKey, header: &Value) -> Vec<u8> {
    // There is one way only to make a signature here, so a good one is taken apart for its key.
    let template: Value = serde_json::from_slice(&sign_jws(&entry(), key).unwrap()).unwrap();
    let protected = Base64UrlUnpadded::encode_string(&serde_json::to_vec(header).unwrap());
    let message = format!("{protected}.{}", template["payload"].as_str().unwrap());
    let dir = tempfile(key);
    let signature = openssl_sign(&dir.join("key.pem"), &dir, message.as_bytes());
    std::fs::remove_dir_all(&dir).unwrap();
    let jws = json!({
        "payload": template["payload"],
        "protected": protected,
        "signature": Base64UrlUnpadded::encode_string(&signature),
    });
    serde_json::to_vec(&jws).unwrap()
}

fn tempfile(key: &SigningKey) -> std::path::PathBuf {
    let name = format!("jws-{}-{}", std::process::id(), &key.public_key().id()[7..23]);
    let dir = std::env::temp_dir().join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("key.pem"), key.to_pem().unwrap().as_bytes()).unwrap();
    dir
}

/// Ed25519 by OpenSSL.
fn openssl_sign(key: &std::path::Path, dir: &std::path::Path, message: &[u8]) -> Vec<u8> {
    std::fs::write(dir.join("message"), message).unwrap();
    let out = Command::new("openssl")
        .args(["pkeyutl", "-sign", "-rawin", "-inkey"])
        .arg(key)
        .arg("-in")
        .arg(dir.join("message"))
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

fn has_openssl() -> bool {
    let found = Command::new("openssl").arg("version").output().is_ok();
    if !found {
        eprintln!("skipped: openssl is not installed");
    }
    found
}

#[test]
fn the_header_cannot_choose_the_algorithm_and_extensions_are_refused() {
    if !has_openssl() {
        return;
    }
    let key = key(KeyKind::Ed25519);
    let keys = [key.public_key().clone()];
    for name in ["EdDSA", "Ed25519"] {
        assert_eq!(verify_jws(&with_header(&key, &json!({"alg": name})), &keys), Ok(entry()));
    }
    for name in ["none", "HS256", "ES256", "eddsa", ""] {
        let jws = with_header(&key, &json!({"alg": name}));
        assert_eq!(verify_jws(&jws, &keys), Err(SignatureError::NoTrustedKey(1)), "{name}");
    }
    let jws = with_header(&key, &json!({"alg": "EdDSA", "crit": ["b64"], "b64": false}));
    assert!(matches!(verify_jws(&jws, &keys), Err(SignatureError::Unsupported(_))));
    // A key that the message brings along does not count.
    let jws = with_header(&key, &json!({"alg": "EdDSA", "jwk": {"kty": "OKP"}}));
    assert_eq!(verify_jws(&jws, &[]), Err(SignatureError::NoTrustedKey(0)));
}

#[test]
fn several_signatures_need_one_that_counts() {
    let (a, b) = (key(KeyKind::P256), key(KeyKind::Ed25519));
    let one = |key| -> Value { serde_json::from_slice(&sign_jws(&entry(), key).unwrap()).unwrap() };
    let (first, second) = (one(&a), one(&b));
    let part = |jws: &Value| json!({"protected": jws["protected"], "signature": jws["signature"]});
    let general = json!({"payload": first["payload"], "signatures": [part(&first), part(&second)]});
    let general = serde_json::to_vec(&general).unwrap();
    assert_eq!(verify_jws(&general, &[b.public_key().clone()]), Ok(entry()));
    let many: Vec<Value> = (0..17).map(|_| part(&first)).collect();
    let many = json!({"payload": first["payload"], "signatures": many});
    let many = serde_json::to_vec(&many).unwrap();
    assert!(matches!(verify_jws(&many, &[]), Err(SignatureError::Malformed { .. })));
}

#[test]
fn what_is_no_signed_tag_is_refused() {
    let keys = [key(KeyKind::P256).public_key().clone()];
    for text in [
        "",
        "{}",
        "[]",
        r#"{"payload":"e30"}"#,
        r#"{"payload":"e30","signatures":[]}"#,
        r#"{"payload":"e30","protected":"e30","signature":"AA","signatures":[]}"#,
        r#"{"payload":"e30","protected":"e30","signature":"AA"}"#,
        r#"{"payload":"e30","payload":"e30","protected":"e30","signature":"AA"}"#,
    ] {
        let found = verify_jws(text.as_bytes(), &keys);
        assert!(matches!(found, Err(SignatureError::Malformed { .. })), "{text}: {found:?}");
        assert!(entry_of(text.as_bytes()).is_err(), "{text}");
    }
    let long = vec![b' '; MAX_JWS + 1];
    assert!(matches!(verify_jws(&long, &keys), Err(SignatureError::TooLong { .. })));
}

#[test]
fn keys_survive_the_trip_and_are_those_of_openssl() {
    for kind in KINDS {
        let key = key(kind);
        let again = SigningKey::from_pem(&key.to_pem().unwrap()).unwrap();
        assert_eq!(again.public_key(), key.public_key());
        let public = PublicKey::from_pem(&key.public_key().to_pem()).unwrap();
        assert_eq!(&public, key.public_key());
        assert!(public.id().starts_with("sha256:") && public.id().len() == 71);
    }
    if !has_openssl() {
        return;
    }
    for (algorithm, kind) in [("ed25519", KeyKind::Ed25519), ("EC", KeyKind::P256)] {
        let mut command = Command::new("openssl");
        command.args(["genpkey", "-algorithm", algorithm]);
        if kind == KeyKind::P256 {
            command.args(["-pkeyopt", "ec_paramgen_curve:P-256"]);
        }
        let pem = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let key = SigningKey::from_pem(&pem).unwrap();
        assert_eq!(key.public_key().kind(), kind);
        let dir = tempfile(&key);
        std::fs::write(dir.join("theirs.pem"), &pem).unwrap();
        for file in ["key.pem", "theirs.pem"] {
            let out = Command::new("openssl")
                .args(["pkey", "-pubout", "-in"])
                .arg(dir.join(file))
                .output()
                .unwrap();
            let public = String::from_utf8(out.stdout).unwrap();
            assert_eq!(public, key.public_key().to_pem(), "{file}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}

#[test]
fn other_keys_are_refused() {
    assert!(matches!(PublicKey::from_pem(""), Err(SignatureError::Malformed { .. })));
    let two = key(KeyKind::P256).public_key().to_pem().repeat(2);
    assert!(matches!(PublicKey::from_pem(&two), Err(SignatureError::Malformed { .. })));
    let p384 = evidence_testkit::keys::Key::p384();
    assert!(matches!(PublicKey::from_spki(&p384.spki()), Err(SignatureError::Unsupported(_))));
    assert!(matches!(SigningKey::from_pem(&p384.to_pem()), Err(SignatureError::Unsupported(_))));
    // A private key is no public one, and the other way round.
    let key = key(KeyKind::Ed25519);
    assert!(SigningKey::from_pem(&key.public_key().to_pem()).is_err());
    assert!(PublicKey::from_pem(&key.to_pem().unwrap()).is_err());
    assert!(!format!("{key:?}").contains("pair"));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let _ = entry_of(&bytes);
        let _ = PublicKey::from_spki(&bytes);
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let _ = PublicKey::from_pem(text);
            let _ = SigningKey::from_pem(text);
        }
    }
}
