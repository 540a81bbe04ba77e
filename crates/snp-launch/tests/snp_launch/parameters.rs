// SPDX-License-Identifier: Apache-2.0

//! Policy, ID block and CPUID page of a launch.

use launch_keys::{
    IdBlock, IdSigners, KeyError, SevKey, SevSignature, check_id_auth, id_auth, sign_id_key,
};
use snp_guest::cpuid::{Answer, Entry, Table};
use snp_launch::{
    CpuidPageError, ParameterError, Parameters, Policy, PolicyError, SignedId, cpuid_page,
};

fn block() -> IdBlock {
    IdBlock {
        measurement: [7; 48],
        family: [1; 16],
        image: [2; 16],
        svn: 3,
        policy: Policy::KEEP.bits(),
    }
}

#[test]
fn the_policy_of_a_keep_is_the_published_one() {
    assert_eq!(Policy::KEEP.bits(), 0x30133);
    assert_eq!(Policy::KEEP.without_smt().bits(), 0x20133);
    let check = |bits| Policy::new(bits).check();
    assert_eq!(check(0x30133), Ok(()));
    assert_eq!(check(0x20133), Ok(()));
    assert_eq!(check(0x30200), Ok(()));
    // What is asked for beyond that: one socket, encryption with longer keys, no page swaps.
    assert_eq!(check(0x0250_0000 | 0x30137), Ok(()));
    assert_eq!(check(0xb0133), Err(PolicyError::Debug));
    assert_eq!(check(0x70133), Err(PolicyError::MigrationAgent));
    assert_eq!(check(0x10133), Err(PolicyError::Reserved(0x10133)));
    assert_eq!(check(0x0400_0000 | 0x30133), Err(PolicyError::Reserved(0x0403_0133)));
    assert_eq!(check(0x30132), Err(PolicyError::Abi(1, 50)));
    assert_eq!(check(0x300ff), Err(PolicyError::Abi(0, 255)));
}

#[test]
fn a_signed_image_is_launched_for_those_who_signed_it() {
    let (author, id) = (SevKey::generate().unwrap(), SevKey::generate().unwrap());
    let auth = id_auth(&block(), &id, &sign_id_key(&author, &id).unwrap()).unwrap();
    let signature = SevSignature { id_block: block().to_bytes(), id_auth: auth.clone() };
    let signed = SignedId::new(&signature).unwrap();
    assert_eq!(signed.block, block());
    let good = Parameters::signed([9; 32], signed.clone());
    assert_eq!((good.policy, good.host_data), (Policy::new(block().policy), [9; 32]));
    let signers = IdSigners { id_key: id.digest(), author_key: Some(author.digest()) };
    assert_eq!(good.check(&[7; 48]), Ok(Some(signers)));
    assert_eq!(Parameters::new([9; 32]).check(&[8; 48]), Ok(None));

    let refused = |parameters: &Parameters, measurement: u8, code: &str| {
        let error = parameters.check(&[measurement; 48]).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    };
    // Another image, another policy, a policy for nobody.
    refused(&good, 8, "snp-launch.measurement");
    let policy = Policy::KEEP.without_smt();
    refused(&Parameters { policy, ..good.clone() }, 7, "snp-launch.signed-policy");
    let policy = Policy::new(0xb0133);
    refused(&Parameters { policy, ..good.clone() }, 7, "snp-launch.policy-debug");
    // A block that was changed after it was signed.
    for change in [
        |block: &mut IdBlock| block.measurement[0] ^= 1,
        |block: &mut IdBlock| block.family[0] ^= 1,
        |block: &mut IdBlock| block.image[0] ^= 1,
        |block: &mut IdBlock| block.svn ^= 1,
        |block: &mut IdBlock| block.policy ^= 1 << 19,
    ] {
        let mut changed = signed.clone();
        change(&mut changed.block);
        let parameters = Parameters { id: Some(changed), ..good.clone() };
        refused(&parameters, 7, "snp-launch.signature");
    }
    // Each part of the authentication, the reserved ones too.
    for at in (0..4096).step_by(4).filter(|at| *at < 0x160 || at % 0x40 == 0) {
        let mut changed = auth.clone();
        changed[at] ^= 1;
        let found = check_id_auth(&block(), &changed);
        let refused = matches!(found, Err(KeyError::BadSignature | KeyError::Malformed(_)));
        assert!(refused, "{at:#x}: {found:?}");
    }
    for length in [0, 8, 4095] {
        assert!(matches!(check_id_auth(&block(), &auth[..length]), Err(KeyError::Malformed(_))));
    }
    // Another's ID key in the place of the author's, and the other way round.
    let other = SevKey::generate().unwrap();
    let theirs = id_auth(&block(), &other, &sign_id_key(&author, &other).unwrap()).unwrap();
    let mixed = [&auth[..0x680], &theirs[0x680..]].concat();
    assert_eq!(check_id_auth(&block(), &mixed), Err(KeyError::BadSignature));
}

#[test]
fn an_image_may_have_no_author() {
    let (author, id) = (SevKey::generate().unwrap(), SevKey::generate().unwrap());
    let mut auth = id_auth(&block(), &id, &sign_id_key(&author, &id).unwrap()).unwrap();
    auth[0x680..].fill(0);
    let signers = IdSigners { id_key: id.digest(), author_key: None };
    assert_eq!(check_id_auth(&block(), &auth), Ok(signers.clone()));
    auth[4] = 0;
    assert_eq!(check_id_auth(&block(), &auth), Ok(signers));
    auth[4] = 2;
    assert!(check_id_auth(&block(), &auth).is_err());
}

#[test]
fn an_id_block_is_read_as_it_is_written() {
    let bytes = block().to_bytes();
    assert_eq!(IdBlock::from_bytes(&bytes), Ok(block()));
    assert!(IdBlock::from_bytes(&bytes[..95]).is_err());
    let mut other = bytes;
    other[80] = 2;
    assert!(IdBlock::from_bytes(&other).is_err());
    let signature = SevSignature { id_block: other, id_auth: Vec::new() };
    let error = SignedId::new(&signature).unwrap_err();
    assert!(matches!(error, ParameterError::Signature(KeyError::Malformed(_))));
}

#[test]
fn a_cpuid_page_leaves_out_what_nobody_vouches_for() {
    let entry = |function, index, eax| Entry {
        function,
        index,
        answer: Answer { eax, ..Answer::default() },
        ..Entry::default()
    };
    let mixed = [
        entry(0x8000_0000, 0, 5),
        entry(0x4000_0000, 0, 9),
        entry(0x4fff_ffff, 0, 9),
        entry(7, 1, 2),
        entry(7, 0, 1),
        entry(0x14, 0, 0),
    ];
    let page = cpuid_page(mixed).unwrap();
    let table = Table::new(&page).unwrap();
    let expected = [entry(7, 0, 1), entry(7, 1, 2), entry(0x8000_0000, 0, 5)];
    assert_eq!(table.entries().collect::<Vec<_>>(), expected);
    let many = |count| (0..count).map(|number| entry(number, 0, 1));
    assert!(cpuid_page(many(64)).is_ok());
    assert_eq!(cpuid_page(many(65)).err(), Some(CpuidPageError::TooMany(65)));
    let twice = cpuid_page([entry(1, 0, 1), entry(1, 0, 2)]);
    assert!(matches!(twice, Err(CpuidPageError::Unreadable(_))));
    assert!(matches!(cpuid_page([]), Err(CpuidPageError::Unreadable(_))));
}
