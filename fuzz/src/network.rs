// SPDX-License-Identifier: Apache-2.0

//! What comes over a network, or asks for one: answers of name servers, a module's view of sockets, signed
//! tags and tokens.
//!
//! What is signed stands in base64, which a fuzzer would have to learn first. So there are two ways in: the
//! input as it is, and its parts, from which what would be sent is made.

use std::sync::LazyLock;
use std::time::{Duration, UNIX_EPOCH};

use base64ct::{Base64UrlUnpadded, Encoding as _};
use drawbridge_signatures::{
    Identity, KeyKind, PublicKey, SignatureError, SigningKey, TrustedRoot, entry_of, verify_jws,
    verify_sigstore,
};
use keep_runtime::wire::{self, SUBSCRIPTION, Subscription, What};

/// A Keep's reader of DNS, which is private to its crate.
#[path = "../../crates/keep-net/src/dns/wire.rs"]
#[allow(dead_code, reason = "the rest is for other modules of its own crate")]
mod dns_wire;

/// For which the seeds were made.
const NOW: Duration = Duration::from_secs(1_800_000_000);

/// A name server, or somebody in its place: what it says is read again in the same way, and no address is
/// taken that the answer does not hold.
pub fn dns(input: &[u8]) {
    use dns_wire::{Answer, Kind, Name, answer, question};
    let name = Name::parse("a.example").expect("a name");
    for kind in [Kind::A, Kind::Aaaa] {
        let said = answer(input, 7, &name, kind);
        assert_eq!(said, answer(input, 7, &name, kind));
        if let Some(Answer::Addresses(addresses, _)) = &said {
            for address in addresses {
                let bytes = match address {
                    std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
                    std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
                };
                assert!(input.windows(bytes.len()).any(|window| window == bytes));
            }
        }
        // Behind our own question, whose bytes need not be found out.
        let mut message = question(7, &name, kind);
        if let Some((flags, records)) = input.split_at_checked(4) {
            message[2] = 0x80 | flags[0] & 0x07;
            message[3] = flags[1];
            message[6..8].copy_from_slice(&flags[2..4]);
            message.extend_from_slice(records);
            let said = answer(&message, 7, &name, kind);
            if let Some(Answer::Alias(other)) = said {
                assert_ne!(other, name);
            }
        }
    }
    if let Ok(text) = std::str::from_utf8(input) {
        if let Some(name) = Name::parse(text) {
            // What can be asked for can be answered.
            let mut message = question(1, &name, Kind::A);
            message[2] |= 0x80;
            let nothing = Some(Answer::Addresses(Vec::new(), 0));
            assert_eq!(answer(&message, 1, &name, Kind::A), nothing);
        }
    }
}

/// A module that waits and sends: its memory, and where in it the parts are.
pub fn poll(input: &[u8]) {
    let (head, memory) = input.split_at_checked(12).unwrap_or((&[0; 12], input));
    let word = |at: usize| i32::from_le_bytes(head[at..at + 4].try_into().expect("4 bytes"));
    let (pointer, n, len) = (word(0), word(4), word(8));
    for chunk in memory.as_chunks::<SUBSCRIPTION>().0 {
        if let Some(Subscription { userdata, what }) = Subscription::read(chunk) {
            assert_eq!(userdata.to_le_bytes(), chunk[..8]);
            assert_eq!(what.event_type(), chunk[8]);
            if let What::Clock { time, .. } = what {
                assert!(time <= Duration::from_nanos(u64::MAX));
            }
        }
    }
    let (n, len) = (n as u32 as usize, len as u32 as usize);
    if let Some((start, len)) = wire::part(memory, pointer, n) {
        assert!(memory.get(start..start + len).is_some());
    }
    for align in [1, 2, 4, 8] {
        if let Some(start) = wire::at(memory, pointer, len, align) {
            assert!(start.is_multiple_of(align) && memory.get(start..start + len).is_some());
        }
    }
    let mut written = memory.to_vec();
    let event = wire::Event { userdata: 1, error: 2, event_type: 1, nbytes: 3, hangup: true };
    match wire::store(&mut written, pointer, &event.to_bytes(), 8) {
        Some(()) => assert_eq!(written[pointer as u32 as usize..][..wire::EVENT], event.to_bytes()),
        None => assert_eq!(written, memory),
    }
}

/// Whoever publishes a signed tag. Without a key that counts, none is taken.
pub fn jws(input: &[u8]) {
    static KEYS: LazyLock<Vec<PublicKey>> = LazyLock::new(|| {
        let key = |kind| SigningKey::generate(kind).expect("a key").public_key().clone();
        vec![key(KeyKind::P256), key(KeyKind::Ed25519)]
    });
    let read = |jws: &[u8]| {
        let entry = entry_of(jws);
        assert!(verify_jws(jws, &KEYS).is_err());
        entry
    };
    let _ = read(input);
    if let Ok(text) = std::str::from_utf8(input) {
        if let Ok(key) = PublicKey::from_pem(text) {
            assert_eq!(PublicKey::from_pem(&key.to_pem()).map(|key| key.id()), Ok(key.id()));
        }
        let _ = SigningKey::from_pem(text);
    }
    if let Ok(key) = PublicKey::from_spki(input) {
        assert_eq!(PublicKey::from_spki(&key.to_spki()).map(|key| key.id()), Ok(key.id()));
    }
    let (header, payload) = halves(input);
    let [protected, payload, signature] =
        [header, payload, &[7; 64]].map(Base64UrlUnpadded::encode_string);
    let whole = serde_json::json!({
        "payload": payload,
        "protected": protected,
        "signature": signature,
    });
    let several = serde_json::json!({
        "payload": payload,
        "signatures": [{"protected": protected, "signature": signature}],
    });
    let [one, other] = [whole, several].map(|jws| read(jws.to_string().as_bytes()));
    // Which of the two forms it has makes no difference.
    assert_eq!(one, other);
}

/// Whoever publishes a sigstore bundle; whoever writes the trusted root.
pub fn sigstore(input: &[u8]) {
    static ROOT: LazyLock<TrustedRoot> = LazyLock::new(|| {
        let root =
            include_bytes!("../../crates/drawbridge-signatures/tests/data/trusted_root.json");
        TrustedRoot::from_json(root).expect("it is tested")
    });
    let nobody = Identity { issuer: "https://issuer.example".into(), subject: "nobody".into() };
    let verified = verify_sigstore(input, &[0; 32], std::slice::from_ref(&nobody), &ROOT);
    assert!(verified.is_err());
    if let Ok(root) = TrustedRoot::from_json(input) {
        let bundle =
            include_bytes!("../../crates/drawbridge-signatures/tests/data/public-bundle.json");
        let verified = verify_sigstore(bundle, &[0; 32], &[nobody], &root);
        assert_eq!(verified, Err(SignatureError::OtherContent));
    }
}

/// Whoever comes with a token; an issuer that publishes keys.
pub fn token(input: &[u8]) {
    use drawbridge_tokens::testing;
    const ISSUER: &str = "https://issuer.example";
    let read = |text: &str| testing::token(text, ISSUER, "drawbridge", UNIX_EPOCH + NOW);
    if let Ok(text) = std::str::from_utf8(input) {
        let _ = read(text);
    }
    let (header, claims) = halves(input);
    let [header, claims] = [header, claims].map(Base64UrlUnpadded::encode_string);
    if read(&format!("{header}.{claims}.AAAA")) {
        // What is taken says for whom it is, and by whom.
        let has = |text: &str| input.windows(text.len()).any(|part| part == text.as_bytes());
        assert!(input.contains(&b'\\') || (has(ISSUER) && has("drawbridge")));
    }
    testing::keys(input);
}

/// What stands before a zero, and what behind it.
fn halves(input: &[u8]) -> (&[u8], &[u8]) {
    let middle = input.iter().position(|byte| *byte == 0).unwrap_or(input.len());
    (&input[..middle], input.get(middle + 1..).unwrap_or_default())
}
