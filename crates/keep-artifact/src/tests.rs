// SPDX-License-Identifier: Apache-2.0

//! Whoever holds the file between compiler and runtime is the enemy: each test plays that part.

use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

const SEED: [u8; 32] = [7; 32];

fn claims() -> Claims {
    Claims { kind: Kind::Module, module: [1; 32], engine: [2; 32], isa: Isa::X86_64, cpu: 0b1011 }
}

fn artifact(code: &[u8]) -> Vec<u8> {
    [&sign(&SEED, &claims(), code)[..], code].concat()
}

fn check(bytes: &[u8], change: impl FnOnce(&mut Expected<'_>)) -> Result<Kind, ArtifactError> {
    let keys = [[9; 32], public_key(&SEED)];
    let mut expected =
        Expected { keys: &keys, module: [1; 32], engine: [2; 32], isa: Isa::X86_64, cpu: 0b1111 };
    change(&mut expected);
    let verified = verify(bytes, &expected)?;
    assert_eq!(verified.code, &bytes[HEADER_LEN..]);
    assert_eq!(verified.signer, public_key(&SEED));
    Ok(verified.kind)
}

#[test]
fn a_signed_artifact_is_accepted() {
    assert_eq!(check(&artifact(b"code"), |_| ()), Ok(Kind::Module));
    assert_eq!(check(&artifact(b""), |_| ()), Ok(Kind::Module));
}

#[test]
fn every_mismatch_has_its_own_name() {
    let bytes = artifact(b"code");
    let other = public_key(&SEED);
    assert_eq!(check(&bytes, |e| e.keys = &[]), Err(ArtifactError::ForeignKey(other)));
    assert_eq!(check(&bytes, |e| e.module = [0; 32]), Err(ArtifactError::WrongModule));
    assert_eq!(check(&bytes, |e| e.engine = [0; 32]), Err(ArtifactError::WrongEngine));
    assert_eq!(check(&bytes, |e| e.isa = Isa::Aarch64), Err(ArtifactError::WrongIsa));
    assert_eq!(check(&bytes, |e| e.cpu = 0b0110), Err(ArtifactError::WrongCpu { missing: 0b1001 }));
}

#[test]
fn other_files_are_told_from_damaged_ones() {
    assert_eq!(check(b"\0asm\x01\0\0\0", |_| ()), Err(ArtifactError::NotAnArtifact));
    assert_eq!(check(&[0; 8192], |_| ()), Err(ArtifactError::NotAnArtifact));
    assert_eq!(check(b"", |_| ()), Err(ArtifactError::Truncated));
    let mut newer = artifact(b"code");
    newer[8] = 2;
    assert_eq!(check(&newer, |_| ()), Err(ArtifactError::Version(2)));
}

#[test]
fn every_bit_of_the_header_counts() {
    let bytes = artifact(b"code");
    for bit in 0..HEADER_LEN * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let error = check(&changed, |_| ()).expect_err("a changed header was accepted");
        assert!(!error.is_mismatch(), "bit {bit} was reported as {error:?}");
    }
}

#[test]
fn every_truncation_of_the_header_is_refused() {
    let bytes = artifact(b"code");
    for len in 0..bytes.len() {
        assert_eq!(check(&bytes[..len], |_| ()), Err(ArtifactError::Truncated), "{len} bytes");
    }
}

#[test]
fn a_signature_is_bound_to_this_format() {
    let code = b"code";
    let mut header = sign(&SEED, &claims(), code);
    let signature = SigningKey::from_bytes(&SEED).sign(&header[..SIGNED_LEN]);
    header[SIGNED_LEN..SIGNATURE_END].copy_from_slice(&signature.to_bytes());
    let bytes = [&header[..], code].concat();
    assert_eq!(check(&bytes, |_| ()), Err(ArtifactError::Changed));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_change_to_the_code_is_found(
        code in proptest::collection::vec(any::<u8>(), 1..9000),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let mut bytes = artifact(&code);
        let at = HEADER_LEN + at.index(code.len());
        bytes[at] ^= 1 << bit;
        prop_assert_eq!(check(&bytes, |_| ()), Err(ArtifactError::Changed));
    }

    #[test]
    fn any_other_length_is_refused(
        code in proptest::collection::vec(any::<u8>(), 1..9000),
        cut in any::<prop::sample::Index>(),
        more in proptest::collection::vec(any::<u8>(), 1..64),
    ) {
        let bytes = artifact(&code);
        let shorter = &bytes[..cut.index(bytes.len())];
        prop_assert_eq!(check(shorter, |_| ()), Err(ArtifactError::Truncated));
        let longer = [&bytes[..], &more].concat();
        prop_assert_eq!(check(&longer, |_| ()), Err(ArtifactError::TooLong));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..9000)) {
        prop_assert!(check(&bytes, |_| ()).is_err());
        let framed = [&MAGIC[..], &1u32.to_le_bytes(), &bytes].concat();
        prop_assert!(check(&framed, |_| ()).is_err());
    }
}
