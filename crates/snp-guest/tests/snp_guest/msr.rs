// SPDX-License-Identifier: Apache-2.0

//! The protocol of one word.

use std::cell::Cell;

use proptest::prelude::*;
use snp_guest::host::{MsrAnswer, MsrRequest, Owner, SevInfo};
use snp_guest::msr::{Terminate, negotiate, register};

const C_BIT: u64 = 1 << 51;
const GHCB: u64 = 0x20_0000_3000;

/// What the guest says and how it ends, with these answers.
fn negotiation(answers: [u64; 2]) -> (Vec<u64>, Result<(), Terminate>) {
    let said = Cell::new(Vec::new());
    let result = negotiate(C_BIT, |word| {
        let mut words = said.take();
        words.push(word);
        let answer = answers[words.len() - 1];
        said.set(words);
        answer
    });
    (said.into_inner(), result)
}

const INFO: u64 = 0x0002_0001_3300_0001;
const FEATURES: u64 = 0x3081;

/// Words by hand from the specification's tables, so that two mistakes of ours cannot agree.
#[test]
fn requests_are_the_words_of_the_specification() {
    assert_eq!(negotiation([INFO, FEATURES]), (vec![0x002, 0x080], Ok(())));
    let registered = register(GHCB, |word| {
        assert_eq!(word, 0x20_0000_3012);
        0x20_0000_3013
    });
    assert_eq!(registered, Ok(()));
    assert_eq!(Terminate::GENERAL.word(), 0x100);
    assert_eq!(Terminate::VERSION.word(), 0x1_0100);
    assert_eq!(Terminate::SNP.word(), 0x2_0100);
    // What no Keep says, and a hypervisor understands.
    for (word, request) in [
        (0x8000_001f_8000_0004, MsrRequest::Cpuid { function: 0x8000_001f, register: 2 }),
        (0x006, MsrRequest::ResetHold),
        (0x010, MsrRequest::Preferred),
        (0x0010_0000_0000_7014, MsrRequest::ChangePage { address: 0x7000, to: Owner::Private }),
        (0x0020_0000_0000_7014, MsrRequest::ChangePage { address: 0x7000, to: Owner::Shared }),
    ] {
        assert_eq!(MsrRequest::read(word), Some(request));
    }
    assert_eq!(MsrRequest::read(0x0030_0000_0000_7014), None);
}

#[test]
fn answers_are_the_words_of_the_specification() {
    for (answer, word) in [
        (MsrAnswer::SevInfo(SevInfo { max: 2, min: 1, c_bit: 51 }), INFO),
        (MsrAnswer::Features(3), FEATURES),
        (MsrAnswer::Cpuid(7), 0x0007_0000_0005),
        (MsrAnswer::Preferred(None), 0xffff_ffff_ffff_f011),
        (MsrAnswer::Preferred(Some(0x5000)), 0x5011),
        (MsrAnswer::Woken(false), 0x007),
        (MsrAnswer::Woken(true), 0x1007),
        (MsrAnswer::PageChanged(0), 0x015),
        (MsrAnswer::PageChanged(3), 0x0003_0000_0015),
        (MsrAnswer::Registered(Some(0x5000)), 0x5013),
        (MsrAnswer::Registered(None), 0xffff_ffff_ffff_f013),
    ] {
        assert_eq!(answer.word(), word, "{answer:?}");
    }
}

#[test]
fn lies_are_refused() {
    // The answer to something else, and none.
    for word in [0x5011, 0, 0x002, u64::MAX] {
        assert_eq!(negotiation([word, FEATURES]), (vec![0x002], Err(Terminate::GENERAL)));
        assert_eq!(negotiation([INFO, word]), (vec![0x002, 0x080], Err(Terminate::GENERAL)));
    }
    // Another page, none, and the answer to something else.
    for word in [0x20_0000_4013, 0xffff_ffff_ffff_f013, 0x20_0000_3011, 0x20_0000_3012] {
        assert_eq!(register(GHCB, |_| word), Err(Terminate::GENERAL));
    }
}

#[test]
fn version_c_bit_and_features_are_settled_or_refused() {
    let info = |min, max, c_bit| {
        let info = MsrAnswer::SevInfo(SevInfo { max, min, c_bit });
        negotiation([info.word(), FEATURES]).1
    };
    assert_eq!(info(1, 2, 51), Ok(()));
    assert_eq!(info(2, 9, 51), Ok(()));
    assert_eq!(info(1, 1, 51), Err(Terminate::VERSION));
    assert_eq!(info(3, 4, 51), Err(Terminate::VERSION));
    assert_eq!(info(3, 1, 51), Err(Terminate::VERSION));
    assert_eq!(info(1, 2, 47), Err(Terminate::GENERAL));
    assert_eq!(info(1, 2, 64 + 51), Err(Terminate::GENERAL));
    let features = |features| negotiation([INFO, MsrAnswer::Features(features).word()]).1;
    assert_eq!(features(0xf), Ok(()));
    assert_eq!(features(1), Ok(()));
    assert_eq!(features(0), Err(Terminate::SNP));
    assert_eq!(features(2), Err(Terminate::SNP));
    // Page tables with a mask that is no bit are nobody's.
    let strange = negotiate(C_BIT | 1 << 47, |_| INFO);
    assert_eq!(strange, Err(Terminate::GENERAL));
}

proptest! {
    #[test]
    fn both_sides_agree(page in 0_u64..1 << 40, min: u16, max: u16, c_bit: u8, features: u32) {
        let address = page << 12;
        let registered = register(address, |word| {
            assert_eq!(MsrRequest::read(word), Some(MsrRequest::Register(address)));
            MsrAnswer::Registered(Some(address)).word()
        });
        prop_assert_eq!(registered, Ok(()));
        let refused = register(address, |_| MsrAnswer::Registered(None).word());
        prop_assert_eq!(refused, Err(Terminate::GENERAL));

        let result = negotiate(C_BIT, |word| match MsrRequest::read(word) {
            Some(MsrRequest::SevInfo) => MsrAnswer::SevInfo(SevInfo { max, min, c_bit }).word(),
            Some(MsrRequest::Features) => MsrAnswer::Features(features.into()).word(),
            other => panic!("{other:?}"),
        });
        let good = min <= 2 && max >= 2 && c_bit == 51 && features & 1 != 0;
        prop_assert_eq!(result.is_ok(), good);
    }

    /// Whatever the hypervisor writes, only an answer to the question is one.
    #[test]
    fn any_word_is_an_answer_to_at_most_one_question(word: u64) {
        let accepted = [
            negotiation([word, FEATURES]).1.is_ok(),
            negotiation([INFO, word]).1.is_ok(),
            register(0x5000, |_| word).is_ok(),
        ];
        prop_assert!(accepted.iter().filter(|yes| **yes).count() <= 1);
        let _ = MsrRequest::read(word);
    }
}
