// SPDX-License-Identifier: Apache-2.0

//! The protocol of one word.

use proptest::prelude::*;
use snp_guest::host::{MsrAnswer, MsrRequest};
use snp_guest::msr::{
    AskCpuid, AskFeatures, AskPreferred, AskSevInfo, Call as _, ChangePage, Features, MsrError,
    Owner, Register, RegisterGhcb, ResetHold, SevInfo, Terminate,
};

/// Words by hand from the specification's tables, so that two mistakes of ours cannot agree.
#[test]
fn requests_are_the_words_of_the_specification() {
    assert_eq!(AskSevInfo.word(), 0x002);
    let cpuid = AskCpuid { function: 0x8000_001f, register: Register::Ecx };
    assert_eq!(cpuid.word(), 0x8000_001f_8000_0004);
    assert_eq!(ResetHold.word(), 0x006);
    assert_eq!(AskPreferred.word(), 0x010);
    assert_eq!(RegisterGhcb::new(0x20_0000_3000).unwrap().word(), 0x20_0000_3012);
    assert_eq!(ChangePage::new(0x7000, Owner::Private).unwrap().word(), 0x0010_0000_0000_7014);
    assert_eq!(ChangePage::new(0x7000, Owner::Shared).unwrap().word(), 0x0020_0000_0000_7014);
    assert_eq!(AskFeatures.word(), 0x080);
    assert_eq!(Terminate::GENERAL.word(), 0x100);
    assert_eq!(Terminate::SNP.word(), 0x2_0100);
}

#[test]
fn answers_are_read() {
    assert_eq!(AskSevInfo.answer(0x0002_0001_3300_0001), Ok(SevInfo { max: 2, min: 1, c_bit: 51 }));
    assert_eq!(AskFeatures.answer(0x3081), Ok(Features(3)));
    assert_eq!(AskPreferred.answer(0xffff_ffff_ffff_f011), Ok(None));
    assert_eq!(AskPreferred.answer(0x5011), Ok(Some(0x5000)));
    assert_eq!(ResetHold.answer(0x007), Ok(false));
    assert_eq!(ResetHold.answer(0x1007), Ok(true));
    assert_eq!(ChangePage::new(0, Owner::Shared).unwrap().answer(0x015), Ok(()));
    assert_eq!(RegisterGhcb::new(0x5000).unwrap().answer(0x5013), Ok(()));
}

#[test]
fn lies_are_refused() {
    let word = 0x5011;
    assert_eq!(AskSevInfo.answer(word), Err(MsrError::Unrelated(word)));
    assert_eq!(AskFeatures.answer(word), Err(MsrError::Unrelated(word)));
    let register = RegisterGhcb::new(0x5000).unwrap();
    assert_eq!(register.answer(0x6013), Err(MsrError::Refused(6)));
    assert_eq!(register.answer(0xffff_ffff_ffff_f013), Err(MsrError::Refused(u64::MAX >> 12)));
    let change = ChangePage::new(0x5000, Owner::Private).unwrap();
    assert_eq!(change.answer(0x0000_0003_0000_0015), Err(MsrError::Refused(3)));
    assert_eq!(change.answer(0x1015), Err(MsrError::Unrelated(0x1015)));
    for address in [1, 0x5001, 1 << 52, u64::MAX - 0xfff, u64::MAX] {
        assert_eq!(RegisterGhcb::new(address), Err(MsrError::Address(address)));
        assert_eq!(ChangePage::new(address, Owner::Private), Err(MsrError::Address(address)));
    }
}

#[test]
fn version_and_c_bit_are_settled_or_refused() {
    let info = |min, max, c_bit| SevInfo { max, min, c_bit }.negotiate(51);
    assert_eq!(info(1, 2, 51), Ok(()));
    assert_eq!(info(2, 9, 51), Ok(()));
    assert_eq!(info(1, 1, 51), Err(MsrError::Version(1, 1)));
    assert_eq!(info(3, 4, 51), Err(MsrError::Version(3, 4)));
    assert_eq!(info(3, 1, 51), Err(MsrError::Version(3, 1)));
    assert_eq!(info(1, 2, 47), Err(MsrError::CBit(47, 51)));
    let all = Features::SNP | Features::AP_CREATION;
    assert_eq!(Features(0xf).require(all), Ok(()));
    assert_eq!(Features(1).require(all), Err(MsrError::Features(1)));
}

proptest! {
    #[test]
    fn both_sides_agree(page in 0_u64..1 << 40, number: u32, min: u16, max: u16, c_bit: u8) {
        let address = page << 12;
        let change = ChangePage::new(address, Owner::Shared).unwrap();
        let seen = MsrRequest::read(change.word());
        prop_assert_eq!(seen, Some(MsrRequest::ChangePage { address, to: Owner::Shared }));
        let error = change.answer(MsrAnswer::PageChanged(number).word());
        let refused = MsrError::Refused(number.into());
        prop_assert_eq!(error, if number == 0 { Ok(()) } else { Err(refused) });

        let register = RegisterGhcb::new(address).unwrap();
        prop_assert_eq!(MsrRequest::read(register.word()), Some(MsrRequest::Register(address)));
        prop_assert_eq!(register.answer(MsrAnswer::Registered(Some(address)).word()), Ok(()));
        prop_assert!(register.answer(MsrAnswer::Registered(None).word()).is_err());

        let info = SevInfo { max, min, c_bit };
        prop_assert_eq!(AskSevInfo.answer(MsrAnswer::SevInfo(info).word()), Ok(info));
        let cpuid = AskCpuid { function: number, register: Register::Edx };
        let seen = MsrRequest::read(cpuid.word());
        prop_assert_eq!(seen, Some(MsrRequest::Cpuid { function: number, register: 3 }));
        prop_assert_eq!(cpuid.answer(MsrAnswer::Cpuid(number).word()), Ok(number));
        let features = u64::from(number);
        let answer = AskFeatures.answer(MsrAnswer::Features(features).word());
        prop_assert_eq!(answer, Ok(Features(features)));
        let place = AskPreferred.answer(MsrAnswer::Preferred(Some(address)).word());
        prop_assert_eq!(place, Ok(Some(address)));
    }

    /// Whatever the hypervisor writes, only an answer to the question is one.
    #[test]
    fn any_word_is_an_answer_to_at_most_one_question(word: u64) {
        let change = ChangePage::new(0x5000, Owner::Private).unwrap();
        let accepted = [
            AskSevInfo.answer(word).is_ok(),
            AskCpuid { function: 0, register: Register::Eax }.answer(word).is_ok(),
            ResetHold.answer(word).is_ok(),
            AskPreferred.answer(word).is_ok(),
            RegisterGhcb::new(0x5000).unwrap().answer(word).is_ok(),
            change.answer(word).is_ok(),
            AskFeatures.answer(word).is_ok(),
        ];
        prop_assert!(accepted.iter().filter(|yes| **yes).count() <= 1);
        let _ = MsrRequest::read(word);
    }
}
