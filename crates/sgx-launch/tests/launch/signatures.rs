// SPDX-License-Identifier: Apache-2.0

//! Signatures over Keeps: made, held against the enclave as the processor does, and refused.

use std::sync::LazyLock;

use launch_keys::{Enclave, SgxKey, Sigstruct, sigstruct_date};
use sgx_guest::attributes::{Attributes, flag};
use sgx_guest::enclu::ErrorCode;
use sgx_launch::sign::{SignError, Terms, check, describe};
use sgx_launch::{Content, Plan, Region, Secs, einit};

use crate::{THREAD, keep};

static KEY: LazyLock<SgxKey> = LazyLock::new(|| SgxKey::generate().unwrap());

fn terms() -> Terms {
    let date = sigstruct_date(2026, 11, 22).unwrap();
    Terms { date, product: 1, svn: 2, family: [3; 16], ext_product: [4; 16] }
}

fn sign(enclave: &Enclave) -> Sigstruct {
    Sigstruct::from_bytes(&KEY.sign(enclave).unwrap()).unwrap()
}

/// A signature with bytes changed after it was made.
fn changed(signature: &Sigstruct, change: impl Fn(&mut [u8; 1808])) -> Sigstruct {
    let mut bytes = *signature.as_bytes();
    change(&mut bytes);
    Sigstruct::from_bytes(&bytes).unwrap()
}

#[test]
fn dates_are_days() {
    assert_eq!(sigstruct_date(2026, 11, 22), Some(0x2026_1122));
    assert_eq!(sigstruct_date(2024, 2, 29), Some(0x2024_0229));
    assert_eq!(sigstruct_date(2000, 2, 29), Some(0x2000_0229));
    for (year, month, day) in [
        (2026, 2, 29),
        (1900, 2, 29),
        (2026, 0, 1),
        (2026, 13, 1),
        (2026, 4, 31),
        (2026, 1, 0),
        (10000, 1, 1),
    ] {
        assert_eq!(sigstruct_date(year, month, day), None);
    }
}

#[test]
fn a_signed_keep_is_who_it_is_signed_as() {
    let thread = THREAD.to_bytes();
    let plan = keep(&thread);
    let signature = sign(&describe(&plan, &terms()).unwrap());
    let identity = check(&plan, &signature).unwrap();
    assert_eq!(identity.signer, KEY.mrsigner());
    assert_eq!(identity.measurement, plan.measure());
    let report = identity.report([9; 16], [8; 64]);
    assert_eq!(report.attributes.flags, Attributes::KEEP.flags | flag::INIT);
    assert_eq!(report.attributes.check_keep(), Ok(()));
    assert_eq!((report.config_id, report.data, report.cpu_svn), ([0x77; 64], [8; 64], [9; 16]));
    assert_eq!((report.product, report.svn), (1, 2));
    assert_eq!((report.family, report.ext_product), ([3; 16], [4; 16]));
    // The workload is not signed: one signature is for all of them, and the report tells them apart.
    let mut other = Plan::new(Secs { config_id: [1; 64], ..*plan.secs() });
    plan.regions().iter().for_each(|region| other.push(*region).unwrap());
    assert_eq!(check(&other, &signature).unwrap().secs.config_id, [1; 64]);
}

#[test]
fn what_is_no_keep_is_not_signed() {
    let thread = THREAD.to_bytes();
    let mut debug = *keep(&thread).secs();
    debug.attributes.flags |= flag::DEBUG;
    assert_eq!(describe(&Plan::new(debug), &terms()), Err(SignError::NotAKeep));
    let mut open = keep(&thread);
    let region = open.regions()[0];
    let content = Content::Zeros(0x1000);
    open.push(Region { offset: 0x8000, content, measured: false, ..region }).unwrap();
    assert_eq!(describe(&open, &terms()), Err(SignError::NotAKeep));
    for date in [0, 1, 0x2026_1322, 0x2026_1132, 0x2026_0230, 0x2026_1a01, 0xffff_ffff] {
        let terms = Terms { date, ..terms() };
        assert_eq!(describe(&keep(&thread), &terms), Err(SignError::Date), "{date:#x}");
    }
}

#[test]
fn a_keep_is_launched_with_its_own_signature_only() {
    let thread = THREAD.to_bytes();
    let plan = keep(&thread);
    let good = describe(&plan, &terms()).unwrap();
    let all = Attributes::ALL;
    let without_debug = Attributes { flags: !flag::DEBUG, ..all };
    let debug = Attributes { flags: Attributes::KEEP.flags | flag::DEBUG, ..Attributes::KEEP };
    let other = Attributes { flags: flag::MODE64BIT, ..Attributes::KEEP };
    let wide = Attributes { xfrm: 0xe7, ..Attributes::KEEP };
    let keep = Attributes::KEEP.to_bytes();
    for (signed, error) in [
        (Enclave { measurement: [1; 32], ..good.clone() }, SignError::Measurement),
        (Enclave { attributes: (keep, without_debug.to_bytes()), ..good.clone() }, SignError::Open),
        (Enclave { attributes: (keep, [0; 16]), ..good.clone() }, SignError::Open),
        (Enclave { misc: (1, 1), ..good.clone() }, SignError::Open),
        (
            Enclave { attributes: (debug.to_bytes(), all.to_bytes()), ..good.clone() },
            SignError::Debug,
        ),
        (
            Enclave { attributes: (other.to_bytes(), all.to_bytes()), ..good.clone() },
            SignError::Attributes,
        ),
        (
            Enclave { attributes: (wide.to_bytes(), all.to_bytes()), ..good.clone() },
            SignError::Attributes,
        ),
        (Enclave { misc: (0, !0), ..good.clone() }, SignError::Attributes),
        (Enclave { cet: (1, 1), ..good.clone() }, SignError::Attributes),
        (Enclave { date: 0, ..good.clone() }, SignError::Date),
    ] {
        assert_eq!(check(&plan, &sign(&signed)), Err(error), "{signed:?}");
        assert!(error.code().starts_with("sgx."));
    }
    let mut under_debug = Plan::new(Secs { attributes: debug, ..*plan.secs() });
    plan.regions().iter().for_each(|region| under_debug.push(*region).unwrap());
    assert_eq!(check(&under_debug, &sign(&good)), Err(SignError::NotAKeep));
}

#[test]
fn bytes_that_were_changed_are_refused() {
    let thread = THREAD.to_bytes();
    let plan = keep(&thread);
    let good = sign(&describe(&plan, &terms()).unwrap());
    assert_eq!(good.verify(), Ok(()));
    let vendor = changed(&good, |bytes| bytes[16..18].copy_from_slice(&[0x86, 0x80]));
    assert_eq!(check(&plan, &vendor), Err(SignError::Vendor));
    let measurement = plan.measure();
    let by_the_processor =
        |signature: &Sigstruct| einit(plan.secs(), &measurement, signature, None).err();
    assert_eq!(by_the_processor(&vendor), Some(ErrorCode::InvalidSignature));
    assert_eq!(by_the_processor(&good), None);
    // Fixed fields and reserved ones.
    for at in [0, 4, 17, 24, 39, 44, 127, 512, 515, 910, 992, 1007, 1028, 1039] {
        let bad = changed(&good, |bytes| bytes[at] ^= 1);
        assert_eq!(by_the_processor(&bad), Some(ErrorCode::InvalidSigStruct), "{at}");
    }
    // What is signed, the modulus, the signature, both quotients.
    for at in [
        20, 40, 128, 300, 511, 516, 700, 899, 900, 904, 908, 909, 912, 928, 944, 960, 991, 1008,
        1024, 1026, 1040, 1423, 1424, 1807,
    ] {
        let bad = changed(&good, |bytes| bytes[at] ^= 1);
        assert_eq!(by_the_processor(&bad), Some(ErrorCode::InvalidSignature), "{at}");
    }
    // Numbers at their bounds do not panic and do not verify.
    for range in [128..512, 516..900, 1040..1424, 1424..1808, 516..1808] {
        for byte in [0, 0xff] {
            let bad = changed(&good, |bytes| bytes[range.clone()].fill(byte));
            assert!(by_the_processor(&bad).is_some(), "{range:?} {byte}");
        }
    }
    assert!(Sigstruct::from_bytes(&[0; 1807]).is_err());
}

/// Quotients that are one too low, with all that follows from that: rests are above the modulus, though the
/// last one is right again.
#[test]
fn quotients_are_the_only_ones() {
    let thread = THREAD.to_bytes();
    let described = describe(&keep(&thread), &terms()).unwrap();
    // The second quotient grows by the signature, for which there is room in half of the cases.
    for version in 0..40 {
        let good = sign(&Enclave { version, ..described.clone() });
        let mut bytes = *good.as_bytes();
        let low = bytes[1040..1424].iter().position(|byte| *byte != 0).unwrap();
        bytes[1040..1040 + low].fill(0xff);
        bytes[1040 + low] -= 1;
        let mut carry = 0;
        for at in 0..384 {
            let sum = u16::from(bytes[1424 + at]) + u16::from(bytes[516 + at]) + carry;
            bytes[1424 + at] = sum as u8;
            carry = sum >> 8;
        }
        if carry == 0 {
            assert_eq!(good.verify(), Ok(()));
            assert!(Sigstruct::from_bytes(&bytes).unwrap().verify().is_err());
            return;
        }
    }
    panic!("forty signatures are all large");
}

#[test]
fn the_processors_other_rules_hold() {
    let thread = THREAD.to_bytes();
    let plan = keep(&thread);
    let measurement = plan.measure();
    let described = describe(&plan, &terms()).unwrap();
    let good = sign(&described);
    let signer = KEY.mrsigner();
    let run = |secs: &Secs, signature: &Sigstruct, allowed: Option<&[u8; 32]>| {
        einit(secs, &measurement, signature, allowed).map(|identity| identity.signer)
    };
    assert_eq!(run(plan.secs(), &good, Some(&signer)), Ok(signer));
    assert_eq!(run(plan.secs(), &good, Some(&[0; 32])), Err(ErrorCode::InvalidEinitToken));
    // A family needs KSS; without one, an enclave without KSS is fine.
    let plain = Attributes { flags: flag::MODE64BIT, ..Attributes::KEEP };
    let secs = Secs { attributes: plain, config_id: [0; 64], ..*plan.secs() };
    let attributes = (plain.to_bytes(), Attributes::ALL.to_bytes());
    let family = Enclave { attributes, ..described.clone() };
    assert_eq!(run(&secs, &sign(&family), None), Err(ErrorCode::InvalidSigStruct));
    let none = sign(&Enclave { family: [0; 16], ..family });
    assert_eq!(run(&secs, &none, None), Ok(signer));
    // Without the mask's bit, the processor lets a signed enclave be one under debug. Policy does not.
    let debug = Attributes { flags: Attributes::KEEP.flags | flag::DEBUG, ..Attributes::KEEP };
    let secs = Secs { attributes: debug, ..*plan.secs() };
    assert_eq!(run(&secs, &good, None), Err(ErrorCode::InvalidAttribute));
    let mask = Attributes { flags: !flag::DEBUG, xfrm: !0 };
    let attributes = (Attributes::KEEP.to_bytes(), mask.to_bytes());
    assert_eq!(run(&secs, &sign(&Enclave { attributes, ..described }), None), Ok(signer));
    // The launch key is for the signer that the registers name.
    let launch = Attributes { flags: Attributes::KEEP.flags | flag::EINITTOKEN_KEY, xfrm: 7 };
    let secs = Secs { attributes: launch, ..*plan.secs() };
    assert_eq!(run(&secs, &good, Some(&[0; 32])), Err(ErrorCode::InvalidAttribute));
}
