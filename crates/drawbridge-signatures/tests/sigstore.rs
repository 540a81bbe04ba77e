// SPDX-License-Identifier: Apache-2.0

//! Sigstore bundles: one of the public instance, and ours by an authority and a log of our own, each part of
//! which is then made wrong.

use base64ct::{Base64, Encoding as _};
use drawbridge_signatures::{
    Identity, MAX_BUNDLE, SignatureError, TrustedRoot, Verified, verify_sigstore,
};
use evidence_pki::{PkiError, Time, encode, oid, tag, to_pem};
use evidence_testkit::certificate::{CertificateBuilder, extension, usage};
use evidence_testkit::keys::{Key, sha256};
use serde_json::{Value, json};

const ISSUER: &str = "1.3.6.1.4.1.57264.1.8";
const CODE_SIGNING: &str = "1.3.6.1.5.5.7.3.3";
const EXT_KEY_USAGE: &str = "2.5.29.37";
const SUBJECT_ALT_NAME: &str = "2.5.29.17";
/// When everything is signed: 2026-03-05T10:50:03Z.
const NOW: u64 = 1_772_707_803;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn base64(bytes: &[u8]) -> String {
    Base64::encode_string(bytes)
}

fn alice() -> Identity {
    Identity { issuer: "https://id.example.com".into(), subject: "alice@example.com".into() }
}

fn name(text: &str) -> Vec<u8> {
    encode::name(&[(oid::COMMON_NAME, text)])
}

/// Everything that makes a bundle; each part can be made wrong before it is signed.
struct World {
    root_key: Key,
    middle_key: Key,
    leaf_key: Key,
    log_key: Key,
    root: CertificateBuilder,
    middle: CertificateBuilder,
    leaf: CertificateBuilder,
    content: Vec<u8>,
    time: u64,
    kind: (&'static str, &'static str),
    /// What the entry is about, if it is not the bundle's.
    entry_digest: Option<[u8; 32]>,
    entry_signature: Option<Vec<u8>>,
    entry_certificate: Option<Vec<u8>>,
    /// Who signs the timestamp and the checkpoint.
    promise_key: Option<Key>,
    checkpoint_key: Option<Key>,
    checkpoint_name: &'static str,
    log_from: &'static str,
    log_until: Option<&'static str>,
    authority_until: Option<&'static str>,
}

impl World {
    fn new() -> Self {
        let (root_key, middle_key) = (Key::p384(), Key::p384());
        let (leaf_key, log_key) = (Key::p256(), Key::p256());
        let (top, mid) = (name("root"), name("intermediate"));
        let root = CertificateBuilder::new(&top, &top, root_key.spki())
            .basic_constraints(true, Some(1))
            .key_usage(usage::CERTIFICATES_AND_CRLS);
        let middle = CertificateBuilder::new(&top, &mid, middle_key.spki())
            .basic_constraints(true, Some(0))
            .key_usage(usage::CERTIFICATES_AND_CRLS);
        let leaf = CertificateBuilder::new(&mid, &encode::sequence(&[]), leaf_key.spki())
            .validity(Time::from_unix(NOW - 60), Time::from_unix(NOW + 540))
            .key_usage(0x80)
            .extension(EXT_KEY_USAGE, false, code_signing())
            .extension(SUBJECT_ALT_NAME, true, mail("alice@example.com"))
            .extension(ISSUER, false, encode::text("https://id.example.com"));
        Self {
            root_key,
            middle_key,
            leaf_key,
            log_key,
            root,
            middle,
            leaf,
            content: b"\0asm\x01\0\0\0".to_vec(),
            time: NOW,
            kind: ("hashedrekord", "0.0.1"),
            entry_digest: None,
            entry_signature: None,
            entry_certificate: None,
            promise_key: None,
            checkpoint_key: None,
            checkpoint_name: "log.example.com",
            log_from: "2026-01-01T00:00:00Z",
            log_until: None,
            authority_until: None,
        }
    }

    fn log_id(&self) -> [u8; 32] {
        sha256(&self.log_key.spki())
    }

    fn trusted(&self) -> Value {
        let chain = [self.middle.sign(&self.root_key), self.root.sign(&self.root_key)];
        let chain: Vec<Value> = chain.iter().map(|der| json!({"rawBytes": base64(der)})).collect();
        let mut log = json!({
            "baseUrl": "https://log.example.com",
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": base64(&self.log_key.spki()),
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": {"start": self.log_from},
            },
            "logId": {"keyId": base64(&self.log_id())},
        });
        if let Some(until) = self.log_until {
            log["publicKey"]["validFor"]["end"] = until.into();
        }
        let mut authority = json!({
            "subject": {"commonName": "intermediate"},
            "uri": "https://ca.example.com",
            "certChain": {"certificates": chain},
            "validFor": {"start": "2026-01-01T00:00:00.000Z"},
        });
        if let Some(until) = self.authority_until {
            authority["validFor"]["end"] = until.into();
        }
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log],
            "certificateAuthorities": [authority],
        })
    }

    fn bundle(&self) -> Value {
        let certificate = self.leaf.sign(&self.middle_key);
        let digest = sha256(&self.content);
        let signature = self.leaf_key.sign(&self.content);
        let logged = self.entry_certificate.as_ref().unwrap_or(&certificate);
        let body = json!({
            "apiVersion": self.kind.1,
            "kind": self.kind.0,
            "spec": {
                "data": {"hash": {
                    "algorithm": "sha256",
                    "value": hex(&self.entry_digest.unwrap_or(digest)),
                }},
                "signature": {
                    "content": base64(self.entry_signature.as_ref().unwrap_or(&signature)),
                    "publicKey": {"content": base64(to_pem("CERTIFICATE", logged).as_bytes())},
                },
            },
        });
        let body = serde_json::to_vec(&body).unwrap();
        let promise = format!(
            r#"{{"body":"{}","integratedTime":{},"logID":"{}","logIndex":1007}}"#,
            base64(&body),
            self.time,
            hex(&self.log_id()),
        );
        let promise = self.promise_key.as_ref().unwrap_or(&self.log_key).sign(promise.as_bytes());
        // The last leaf of three: leaf and root of the first two, from the left.
        let leaf = sha256(&[&[0], &body[..]].concat());
        let left = sha256(b"two others");
        let root = sha256(&[&[1], &left[..], &leaf[..]].concat());
        let note = format!("{} - 1\n3\n{}\n", self.checkpoint_name, base64(&root));
        let signed = self.checkpoint_key.as_ref().unwrap_or(&self.log_key).sign(note.as_bytes());
        let signed = base64(&[&self.log_id()[..4], &signed].concat());
        json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": {"rawBytes": base64(&certificate)},
                "tlogEntries": [{
                    "logIndex": "1007",
                    "logId": {"keyId": base64(&self.log_id())},
                    "kindVersion": {"kind": self.kind.0, "version": self.kind.1},
                    "integratedTime": self.time.to_string(),
                    "inclusionPromise": {"signedEntryTimestamp": base64(&promise)},
                    "inclusionProof": {
                        "logIndex": "2",
                        "treeSize": "3",
                        "rootHash": base64(&root),
                        "hashes": [base64(&left)],
                        "checkpoint": {
                            "envelope": format!("{note}\n\u{2014} {} {signed}\n", self.checkpoint_name),
                        },
                    },
                    "canonicalizedBody": base64(&body),
                }],
            },
            "messageSignature": {
                "messageDigest": {"algorithm": "SHA2_256", "digest": base64(&digest)},
                "signature": base64(&signature),
            },
        })
    }

    fn verify(&self) -> Result<Verified, SignatureError> {
        self.verify_as(&self.bundle())
    }

    fn verify_as(&self, bundle: &Value) -> Result<Verified, SignatureError> {
        let root = TrustedRoot::from_json(&serde_json::to_vec(&self.trusted()).unwrap())?;
        let bundle = serde_json::to_vec(bundle).unwrap();
        verify_sigstore(&bundle, &sha256(&self.content), &[bob(), alice()], &root)
    }

    /// With one thing changed before anything is signed.
    fn but(change: impl FnOnce(&mut Self)) -> Result<Verified, SignatureError> {
        let mut world = Self::new();
        change(&mut world);
        world.verify()
    }
}

fn bob() -> Identity {
    Identity { subject: "bob@example.com".into(), ..alice() }
}

fn code_signing() -> Vec<u8> {
    encode::sequence(&[&encode::oid(CODE_SIGNING.parse().unwrap())])
}

fn mail(address: &str) -> Vec<u8> {
    encode::sequence(&[&encode::element(tag::context(1), &[address.as_bytes()])])
}

fn log(found: Result<Verified, SignatureError>) -> &'static str {
    match found {
        Err(SignatureError::Log(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn chain(found: Result<Verified, SignatureError>) -> PkiError {
    match found {
        Err(SignatureError::Chain(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_bundle_of_the_public_instance_verifies() {
    let root = TrustedRoot::from_json(include_bytes!("data/trusted_root.json")).unwrap();
    let bundle = include_bytes!("data/public-bundle.json");
    let json: Value = serde_json::from_slice(bundle).unwrap();
    let digest = json["messageSignature"]["messageDigest"]["digest"].as_str().unwrap();
    let digest: [u8; 32] = Base64::decode_vec(digest).unwrap().try_into().unwrap();
    let identity = Identity {
        issuer: "https://token.actions.githubusercontent.com".into(),
        subject: "https://github.com/trailofbits/rfc8785.py/.github/workflows/release.yml\
                  @refs/tags/v0.1.2"
            .into(),
    };
    let verified = verify_sigstore(bundle, &digest, std::slice::from_ref(&identity), &root);
    assert_eq!(verified, Ok(Verified { identity: identity.clone(), time: 1_710_888_076 }));
    // By nobody else, not for other content, and not by an authority of ours.
    let found = verify_sigstore(bundle, &digest, &[alice()], &root);
    assert!(matches!(found, Err(SignatureError::OtherIdentity { .. })), "{found:?}");
    let found = verify_sigstore(bundle, &[0; 32], std::slice::from_ref(&identity), &root);
    assert_eq!(found, Err(SignatureError::OtherContent));
    let ours = TrustedRoot::from_json(&serde_json::to_vec(&World::new().trusted()).unwrap());
    assert!(verify_sigstore(bundle, &digest, &[identity], &ours.unwrap()).is_err());
}

#[test]
fn ours_verifies() {
    assert_eq!(World::new().verify(), Ok(Verified { identity: alice(), time: NOW }));
}

#[test]
fn a_uri_is_a_subject_too() {
    let uri = encode::element(tag::context(6), &[b"https://ci.example.com/job"]);
    let found = World::but(|world| {
        let value = encode::sequence(&[&uri]);
        world.leaf = world.leaf.clone().extension(SUBJECT_ALT_NAME, true, value);
    });
    let other = SignatureError::OtherIdentity {
        issuer: "https://id.example.com".into(),
        subject: "https://ci.example.com/job".into(),
    };
    assert_eq!(found, Err(other));
}

#[test]
fn the_log_has_to_be_trusted_at_that_time() {
    let unknown = "the log is not one of the trusted root's at that time";
    assert_eq!(log(World::but(|world| world.log_from = "2026-04-01T00:00:00Z")), unknown);
    assert_eq!(log(World::but(|world| world.log_until = Some("2026-02-01T00:00:00Z"))), unknown);
    let world = World::new();
    let mut bundle = world.bundle();
    bundle["verificationMaterial"]["tlogEntries"][0]["logId"]["keyId"] = base64(&[0; 32]).into();
    assert_eq!(log(world.verify_as(&bundle)), unknown);
}

#[test]
fn the_entry_has_to_be_about_this_bundle() {
    let other = "its entry is about something else";
    assert_eq!(log(World::but(|world| world.entry_digest = Some([1; 32]))), other);
    assert_eq!(log(World::but(|world| world.entry_signature = Some(vec![1; 70]))), other);
    assert_eq!(
        log(World::but(|world| {
            let key = Key::p256();
            world.entry_certificate =
                Some(world.leaf.clone().spki(key.spki()).sign(&world.middle_key));
        })),
        other
    );
    for kind in [("hashedrekord", "0.0.2"), ("dsse", "0.0.1"), ("intoto", "0.0.2")] {
        let found = World::but(|world| world.kind = kind);
        assert!(matches!(found, Err(SignatureError::Unsupported(_))), "{found:?}");
    }
    // What the bundle says beside the entry does not count.
    let mut world = World::new();
    world.kind = ("rekord", "0.0.1");
    let mut bundle = world.bundle();
    bundle["verificationMaterial"]["tlogEntries"][0]["kindVersion"]["kind"] = "hashedrekord".into();
    assert_eq!(log(world.verify_as(&bundle)), other);
}

#[test]
fn the_promise_has_to_be_the_logs() {
    let bad = "its signed timestamp does not verify";
    assert_eq!(log(World::but(|world| world.promise_key = Some(Key::p256()))), bad);
    let world = World::new();
    for (field, value) in [("integratedTime", NOW + 1), ("logIndex", 1008)] {
        let mut bundle = world.bundle();
        bundle["verificationMaterial"]["tlogEntries"][0][field] = value.to_string().into();
        assert_eq!(log(world.verify_as(&bundle)), bad, "{field}");
    }
}

#[test]
fn the_proof_has_to_lead_to_a_checkpoint_of_the_log() {
    let unsigned = "the checkpoint is not signed by the log";
    assert_eq!(log(World::but(|world| world.checkpoint_key = Some(Key::p256()))), unsigned);
    assert_eq!(log(World::but(|world| world.checkpoint_name = "other.example.com")), unsigned);
    let world = World::new();
    let proof = |change: &dyn Fn(&mut Value)| {
        let mut bundle = world.bundle();
        change(&mut bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]);
        log(world.verify_as(&bundle))
    };
    let other = "the proof does not lead to the checkpoint";
    assert_eq!(proof(&|proof| proof["hashes"][0] = base64(&[0; 32]).into()), other);
    assert_eq!(proof(&|proof| proof["hashes"] = json!([])), other);
    assert_eq!(proof(&|proof| proof["logIndex"] = "1".into()), other);
    assert_eq!(proof(&|proof| proof["logIndex"] = "3".into()), other);
    let trees = "proof and checkpoint are of different trees";
    assert_eq!(proof(&|proof| proof["treeSize"] = "4".into()), trees);
    assert_eq!(proof(&|proof| proof["rootHash"] = base64(&[0; 32]).into()), trees);
    let envelope = |text: &str| proof(&|proof| proof["checkpoint"]["envelope"] = text.into());
    assert_eq!(envelope("log.example.com\n3\nAAAA\n"), "the checkpoint is malformed");
    assert_eq!(envelope("log.example.com\n3\nAAAA\n\n"), unsigned);
    assert_eq!(envelope("log.example.com\n3\nAAAA\n\n\u{2014} log.example.com AA==\n"), unsigned);
}

#[test]
fn a_bundle_without_promise_proof_or_entry_is_refused() {
    let world = World::new();
    for (field, why) in [
        ("inclusionPromise", "the entry has no signed timestamp"),
        ("inclusionProof", "the entry has no proof"),
    ] {
        let mut bundle = world.bundle();
        let entry = &mut bundle["verificationMaterial"]["tlogEntries"][0];
        entry.as_object_mut().unwrap().remove(field);
        assert_eq!(log(world.verify_as(&bundle)), why);
    }
    let mut bundle = world.bundle();
    bundle["verificationMaterial"]["tlogEntries"] = json!([]);
    assert_eq!(log(world.verify_as(&bundle)), "there is no entry of a log");
    // A bad entry does not spoil a good one, and enough is enough.
    let mut bundle = world.bundle();
    let entries = &mut bundle["verificationMaterial"]["tlogEntries"];
    let good = entries[0].clone();
    let mut bad = good.clone();
    bad["integratedTime"] = "1".into();
    *entries = json!([bad.clone(), good]);
    assert!(world.verify_as(&bundle).is_ok());
    bundle["verificationMaterial"]["tlogEntries"] = json!([bad, bad, bad, bad, bad]);
    assert!(matches!(world.verify_as(&bundle), Err(SignatureError::Malformed { .. })));
}

#[test]
fn the_certificate_has_to_lead_to_the_authority_at_the_time_of_the_entry() {
    let spoiled = World::but(|world| world.leaf = world.leaf.clone().spoiled());
    assert_eq!(chain(spoiled), PkiError::BadSignature);
    let late = World::but(|world| world.time = NOW + 541);
    assert!(matches!(chain(late), PkiError::Expired(_)));
    let early = World::but(|world| world.time = NOW - 61);
    assert!(matches!(chain(early), PkiError::NotYetValid(_)));
    let issuer = World::but(|world| world.leaf = world.leaf.clone().issuer(&name("other")));
    assert_eq!(chain(issuer), PkiError::WrongIssuer);
    let ended = World::but(|world| world.authority_until = Some("2026-02-01T00:00:00.999Z"));
    assert_eq!(chain(ended), PkiError::WrongIssuer);
    let middle = World::but(|world| world.middle = world.middle.clone().spoiled());
    assert_eq!(chain(middle), PkiError::BadSignature);
    let expired = World::but(|world| {
        let until = Time::from_unix(NOW - 1);
        world.middle = world.middle.clone().validity(Time::from_unix(0), until);
    });
    assert!(matches!(chain(expired), PkiError::Expired(_)));
    let no_ca = World::but(|world| {
        world.middle = world.middle.clone().basic_constraints(false, None);
    });
    assert_eq!(chain(no_ca), PkiError::NotAnAuthority);
    let short = World::but(|world| {
        world.root = world.root.clone().basic_constraints(true, Some(0));
    });
    assert_eq!(chain(short), PkiError::NotAnAuthority);
    let unknown = World::but(|world| {
        world.leaf = world.leaf.clone().extension("1.2.3.4", true, vec![5, 0]);
    });
    assert!(matches!(chain(unknown), PkiError::UnknownCritical(_)));
}

#[test]
fn the_certificate_has_to_be_for_signing_code() {
    for leaf in [
        |leaf: CertificateBuilder| leaf.without(EXT_KEY_USAGE),
        |leaf: CertificateBuilder| {
            let client = encode::sequence(&[&encode::oid(oid::CLIENT_AUTH)]);
            leaf.extension(EXT_KEY_USAGE, false, client)
        },
        |leaf: CertificateBuilder| leaf.key_usage(usage::CERTIFICATES),
        |leaf: CertificateBuilder| leaf.without(extension::KEY_USAGE),
        |leaf: CertificateBuilder| leaf.basic_constraints(true, None),
    ] {
        let found = World::but(|world| world.leaf = leaf(world.leaf.clone()));
        assert_eq!(chain(found), PkiError::Malformed("leaf: not for signing code"));
    }
}

#[test]
fn the_certificate_has_to_name_one_who_counts() {
    let other = |subject: &str, issuer: &str| {
        let found = World::but(|world| {
            let leaf = world.leaf.clone().extension(SUBJECT_ALT_NAME, true, mail(subject));
            world.leaf = leaf.extension(ISSUER, false, encode::text(issuer));
        });
        assert!(matches!(found, Err(SignatureError::OtherIdentity { .. })), "{found:?}");
    };
    other("mallory@example.com", "https://id.example.com");
    other("alice@example.com", "https://id.example.org");
    let malformed = |leaf: &dyn Fn(CertificateBuilder) -> CertificateBuilder| {
        let found = World::but(|world| world.leaf = leaf(world.leaf.clone()));
        assert!(matches!(found, Err(SignatureError::Malformed { .. })), "{found:?}");
    };
    malformed(&|leaf| leaf.without(ISSUER));
    malformed(&|leaf| leaf.without(SUBJECT_ALT_NAME));
    malformed(&|leaf| leaf.extension(ISSUER, false, encode::text("")));
    malformed(&|leaf| leaf.extension(SUBJECT_ALT_NAME, true, mail("alice\n@example.com")));
    malformed(&|leaf| {
        let name = encode::element(tag::context(1), &[b"alice@example.com"]);
        leaf.extension(SUBJECT_ALT_NAME, true, encode::sequence(&[&name, &name]))
    });
    malformed(&|leaf| {
        let name = encode::element(tag::context(2), &[b"alice.example.com"]);
        leaf.extension(SUBJECT_ALT_NAME, true, encode::sequence(&[&name]))
    });
}

#[test]
fn the_key_has_to_have_signed_the_content() {
    // The entry is right in every way, and so is the certificate; another key signed.
    let found = World::but(|world| world.leaf_key = Key::p256());
    assert_eq!(found, Err(SignatureError::BadSignature("the bundle")));
    let found = World::but(|world| {
        let key = Key::p384();
        world.leaf = world.leaf.clone().spki(key.spki());
        world.leaf_key = key;
    });
    assert!(matches!(found, Err(SignatureError::Unsupported(_))), "{found:?}");
    let world = World::new();
    let root = TrustedRoot::from_json(&serde_json::to_vec(&world.trusted()).unwrap()).unwrap();
    let bundle = serde_json::to_vec(&world.bundle()).unwrap();
    let found = verify_sigstore(&bundle, &sha256(b"other"), &[alice()], &root);
    assert_eq!(found, Err(SignatureError::OtherContent));
}

#[test]
fn other_forms_are_refused() {
    let world = World::new();
    let change = |change: &dyn Fn(&mut Value)| {
        let mut bundle = world.bundle();
        change(&mut bundle);
        world.verify_as(&bundle)
    };
    let unsupported: [&dyn Fn(&mut Value); 4] = [
        &|bundle| {
            bundle["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1".into()
        },
        &|bundle| drop(bundle.as_object_mut().unwrap().remove("messageSignature")),
        &|bundle| bundle["messageSignature"]["messageDigest"]["algorithm"] = "SHA2_512".into(),
        &|bundle| {
            drop(bundle["verificationMaterial"].as_object_mut().unwrap().remove("certificate"));
        },
    ];
    for one in unsupported {
        let found = change(one);
        assert!(matches!(found, Err(SignatureError::Unsupported(_))), "{found:?}");
    }
    let malformed: [&dyn Fn(&mut Value); 4] = [
        &|bundle| bundle["verificationMaterial"]["certificate"]["rawBytes"] = "*".into(),
        &|bundle| bundle["verificationMaterial"]["certificate"] = json!({"rawBytes": "MAA="}),
        &|bundle| bundle["verificationMaterial"]["tlogEntries"][0]["logIndex"] = "-1".into(),
        &|bundle| *bundle = json!([]),
    ];
    for one in malformed {
        let found = change(one);
        assert!(
            matches!(found, Err(SignatureError::Malformed { .. } | SignatureError::Log(_))),
            "{found:?}"
        );
    }
    let root = TrustedRoot::from_json(&serde_json::to_vec(&world.trusted()).unwrap()).unwrap();
    let long = vec![b' '; MAX_BUNDLE + 1];
    let found = verify_sigstore(&long, &[0; 32], &[], &root);
    assert!(matches!(found, Err(SignatureError::TooLong { .. })));
}

#[test]
fn trusted_roots_are_read_strictly() {
    let world = World::new();
    let change = |change: &dyn Fn(&mut Value)| {
        let mut root = world.trusted();
        change(&mut root);
        TrustedRoot::from_json(&serde_json::to_vec(&root).unwrap()).map(drop)
    };
    assert_eq!(change(&|_| ()), Ok(()));
    let bad: [&dyn Fn(&mut Value); 8] = [
        &|root| root["mediaType"] = "application/json".into(),
        &|root| root["tlogs"][0]["publicKey"]["validFor"] = Value::Null,
        &|root| root["tlogs"][0]["publicKey"]["validFor"]["start"] = "yesterday".into(),
        &|root| {
            root["tlogs"][0]["publicKey"]["validFor"]["start"] = "2026-01-01T00:00:00+01:00".into()
        },
        &|root| root["tlogs"][0]["publicKey"]["rawBytes"] = base64(&Key::p384().spki()).into(),
        &|root| root["certificateAuthorities"][0]["certChain"]["certificates"] = json!([]),
        &|root| {
            root["certificateAuthorities"][0]["certChain"]["certificates"][0] =
                json!({"rawBytes": "MAA="})
        },
        &|root| {
            root["certificateAuthorities"][0]["validFor"]["end"] = "2026-01-01T00:00:00.x9Z".into()
        },
    ];
    for (number, one) in bad.into_iter().enumerate() {
        assert!(change(one).is_err(), "{number}");
    }
    // A log with a kind of key that is not understood is no fault; it does not count.
    let mut root = world.trusted();
    root["tlogs"][0]["publicKey"]["keyDetails"] = "PKIX_ED25519".into();
    let root = TrustedRoot::from_json(&serde_json::to_vec(&root).unwrap()).unwrap();
    let bundle = serde_json::to_vec(&world.bundle()).unwrap();
    assert!(verify_sigstore(&bundle, &sha256(&world.content), &[alice()], &root).is_err());
    assert!(TrustedRoot::from_json(&vec![b' '; (1 << 20) + 1]).is_err());
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, at in 0_usize..8000, byte: u8) {
        let root = TrustedRoot::from_json(include_bytes!("data/trusted_root.json")).unwrap();
        let _ = verify_sigstore(&bytes, &[0; 32], &[], &root);
        let mut bundle = include_bytes!("data/public-bundle.json").to_vec();
        if let Some(one) = bundle.get_mut(at) {
            *one = byte;
        }
        let _ = verify_sigstore(&bundle, &[0; 32], &[], &root);
        let _ = TrustedRoot::from_json(&bytes);
    }
}
