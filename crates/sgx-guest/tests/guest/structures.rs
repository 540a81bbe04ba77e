// SPDX-License-Identifier: Apache-2.0

//! Layouts: each field at the offset in the manual, everything else zero, and back.

use proptest::prelude::*;
use sgx_guest::LayoutError;
use sgx_guest::attributes::{Attributes, FORBIDDEN_FLAGS, KEEP_MISC, flag, misc, xfrm};
use sgx_guest::enclu::{Encls, Enclu, ErrorCode};
use sgx_guest::page::{PageType, Rights, SecInfo, Tcs};
use sgx_guest::report::{ReportBody, TargetInfo};
use sgx_guest::ssa::{self, ExInfo, ExitInfo, ExitType, Frame, Gprs, offset};
use sgx_guest::{Align64, Align128, Align512};

/// Where bytes are not zero.
fn set(bytes: &[u8]) -> Vec<(usize, u8)> {
    bytes.iter().copied().enumerate().filter(|(_, byte)| *byte != 0).collect()
}

/// All places from `from` for as many bytes, each with this byte.
fn filled(from: usize, length: usize, byte: u8) -> Vec<(usize, u8)> {
    (from..from + length).map(|at| (at, byte)).collect()
}

#[test]
fn what_the_processor_wants_aligned_is() {
    assert_eq!(align_of::<Align64<[u8; 64]>>(), 64);
    assert_eq!(align_of::<Align128<[u8; 64]>>(), 128);
    assert_eq!(align_of::<Align512<[u8; 432]>>(), 512);
}

#[test]
fn a_target_is_where_the_manual_says() {
    let target = TargetInfo {
        measurement: [1; 32],
        attributes: Attributes { flags: 0x0202_0202_0202_0202, xfrm: 0x0303_0303_0303_0303 },
        cet: 4,
        config_svn: 0x0505,
        misc_select: 0x0606_0606,
        config_id: [7; 64],
    };
    let expected = [
        filled(0, 32, 1),
        filled(32, 8, 2),
        filled(40, 8, 3),
        filled(48, 1, 4),
        filled(50, 2, 5),
        filled(52, 4, 6),
        filled(64, 64, 7),
    ];
    assert_eq!(set(&target.to_bytes()), expected.concat());
    for reserved in [49, 56, 63, 128, 511] {
        let mut bytes = target.to_bytes();
        bytes[reserved] = 1;
        assert_eq!(TargetInfo::from_bytes(&bytes), Err(LayoutError::Reserved("TARGETINFO")));
    }
}

#[test]
fn a_report_is_where_the_manual_says() {
    let body = ReportBody {
        cpu_svn: [1; 16],
        misc_select: 0x0202_0202,
        cet: 3,
        ext_product: [4; 16],
        attributes: Attributes { flags: 0x0505_0505_0505_0505, xfrm: 0x0606_0606_0606_0606 },
        measurement: [7; 32],
        signer: [8; 32],
        config_id: [9; 64],
        product: 0x0a0a,
        svn: 0x0b0b,
        config_svn: 0x0c0c,
        family: [13; 16],
        data: [14; 64],
    };
    let expected = [
        filled(0, 16, 1),
        filled(16, 4, 2),
        filled(20, 1, 3),
        filled(32, 16, 4),
        filled(48, 8, 5),
        filled(56, 8, 6),
        filled(64, 32, 7),
        filled(128, 32, 8),
        filled(192, 64, 9),
        filled(256, 2, 10),
        filled(258, 2, 11),
        filled(260, 2, 12),
        filled(304, 16, 13),
        filled(320, 64, 14),
    ];
    assert_eq!(set(&body.to_bytes()), expected.concat());
    assert_eq!(ReportBody::from_bytes(&body.to_bytes()), Ok(body));
    for reserved in [21, 31, 96, 127, 160, 191, 262, 303] {
        let mut bytes = body.to_bytes();
        bytes[reserved] = 1;
        assert_eq!(ReportBody::from_bytes(&bytes), Err(LayoutError::Reserved("REPORT")));
    }
}

#[test]
fn a_thread_is_where_the_manual_says() {
    let tcs = Tcs {
        flags: Tcs::AEX_NOTIFY,
        ssa: 0x0101_0101_0101_1000,
        ssa_count: 0x0202_0202,
        entry: 0x0303_0303_0303_0303,
        fs: 0x0404_0404_0404_0404,
        gs: 0x0505_0505_0505_0505,
    };
    let mut expected = filled(8, 1, 2);
    expected.push((17, 0x10));
    expected.extend(filled(18, 6, 1));
    expected.extend(filled(28, 4, 2));
    expected.extend(filled(32, 8, 3));
    expected.extend(filled(48, 8, 4));
    expected.extend(filled(56, 8, 5));
    expected.extend(filled(64, 8, 0xff));
    assert_eq!(set(&tcs.to_bytes()), expected);
    assert_eq!(Tcs::from_bytes(&tcs.to_bytes()), Ok(tcs));
    // STATE, CSSA, AEP, PREVSSP, the end.
    for reserved in [0, 24, 40, 80, 4095] {
        let mut bytes = tcs.to_bytes();
        bytes[reserved] = 1;
        assert_eq!(Tcs::from_bytes(&bytes), Err(LayoutError::Reserved("TCS")));
    }
    let debugged = Tcs { flags: Tcs::DEBUG_OPT_IN, ..tcs };
    assert_eq!(Tcs::from_bytes(&debugged.to_bytes()), Err(LayoutError::Field("TCS.FLAGS")));
    let crooked = Tcs { ssa: 8, ..tcs };
    assert_eq!(Tcs::from_bytes(&crooked.to_bytes()), Err(LayoutError::Field("TCS.OSSA")));
    let mut limited = tcs.to_bytes();
    limited[64] = 0;
    assert!(Tcs::from_bytes(&limited).is_err());
}

#[test]
fn security_information_has_the_published_bits() {
    for (info, flags) in [
        (SecInfo::reg(Rights::RX), 0x205),
        (SecInfo::reg(Rights::RW), 0x203),
        (SecInfo::tcs(), 0x100),
        (SecInfo::added(), 0x20b),
        (SecInfo::restricted(Rights::R), 0x221),
        (SecInfo::modified(PageType::Trim), 0x410),
        (SecInfo::modified(PageType::Tcs), 0x110),
    ] {
        assert_eq!(info.flags(), flags);
        assert_eq!(set(&info.to_bytes()).iter().filter(|(at, _)| *at > 1).count(), 0);
        assert_eq!(SecInfo::from_bytes(&info.to_bytes()), Ok(info));
    }
    let mut bytes = SecInfo::tcs().to_bytes();
    bytes[1] = 7;
    assert_eq!(SecInfo::from_bytes(&bytes), Err(LayoutError::Field("PAGE_TYPE")));
    for (at, bit) in [(0, 0x40), (0, 0x80), (2, 1), (7, 0x80), (8, 1), (63, 1)] {
        let mut bytes = SecInfo::tcs().to_bytes();
        bytes[at] |= bit;
        assert_eq!(SecInfo::from_bytes(&bytes), Err(LayoutError::Reserved("SECINFO")));
    }
}

#[test]
fn no_keep_is_under_debug() {
    let keep = Attributes::KEEP;
    assert_eq!(keep.check_keep(), Ok(()));
    assert_eq!(Attributes { flags: keep.flags | flag::INIT, ..keep }.check_keep(), Ok(()));
    for bit in 0..64 {
        let other = Attributes { flags: keep.flags ^ 1 << bit, ..keep };
        assert_eq!(other.check_keep().is_ok(), bit == 0, "flag {bit}");
        let other = Attributes { xfrm: keep.xfrm ^ 1 << bit, ..keep };
        assert!(other.check_keep().is_err(), "component {bit}");
    }
    let debug = Attributes { flags: keep.flags | flag::DEBUG, ..keep };
    assert_eq!(debug.check_keep(), Err(LayoutError::Field("ATTRIBUTES.DEBUG")));
    assert_eq!(FORBIDDEN_FLAGS, 0b11_0010);
    assert_eq!(Attributes::ALL.and(debug), debug);
}

#[test]
fn state_save_areas_have_the_published_layout() {
    for (components, size) in [
        (0b11, Some(576)),
        (0b111, Some(832)),
        (0b111 | xfrm::AVX_512, Some(2688)),
        (0b111 | xfrm::PKRU, Some(2696)),
        (0b111 | xfrm::AVX_512 | xfrm::AMX, Some(11008)),
        (0, None),
        (0b101, None),
        (0b11 | 1 << 62, None),
    ] {
        assert_eq!(ssa::xsave_size(components), size, "{components:#x}");
    }
    assert_eq!(ssa::misc_size(0), Some(0));
    assert_eq!(ssa::misc_size(misc::EXINFO), Some(16));
    assert_eq!(ssa::misc_size(misc::CPINFO), Some(32));
    assert_eq!(ssa::misc_size(4), None);
    let keep = Frame::smallest(Attributes::KEEP.xfrm, KEEP_MISC).unwrap();
    assert_eq!((keep.pages, keep.gprs(), keep.exinfo()), (1, 3912, 3896));
    assert_eq!(Frame::smallest(0b111 | xfrm::AMX, 1).unwrap().pages, 3);
    assert_eq!(keep.at(0x1000, 1), Some(0x2000));
    assert_eq!(keep.at(u64::MAX, 1), None);
}

#[test]
fn registers_lie_where_the_manual_says() {
    let registers = std::array::from_fn(|at| 0x1000 + at as u64);
    let gprs = Gprs {
        registers,
        rflags: 1,
        rip: 2,
        outer_rsp: 3,
        outer_rbp: 4,
        exit_info: 5,
        aex_notify: 6,
        fs_base: 7,
        gs_base: 8,
    };
    let bytes = gprs.to_bytes();
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    for (number, at) in [
        (0, offset::RAX),
        (1, offset::RCX),
        (2, offset::RDX),
        (3, offset::RBX),
        (4, offset::RSP),
        (5, offset::RBP),
        (6, offset::RSI),
        (7, offset::RDI),
        (8, offset::R8),
        (15, 120),
    ] {
        assert_eq!((word(at), at), (0x1000 + number, number as usize * 8));
    }
    assert_eq!((word(128), word(136), word(144), word(152)), (1, 2, 3, 4));
    assert_eq!(word(160), 5 | 6 << 56);
    assert_eq!((word(168), word(176), bytes.len()), (7, 8, 184));
    assert_eq!(Gprs::from_bytes(&bytes), gprs);
}

#[test]
fn exits_have_the_published_bits() {
    let undefined = ExitInfo { vector: 6, kind: ExitType::Hardware };
    assert_eq!(undefined.to_bits(), 0x8000_0306);
    let breakpoint = ExitInfo { vector: 3, kind: ExitType::Software };
    assert_eq!(breakpoint.to_bits(), 0x8000_0603);
    for info in [undefined, breakpoint] {
        assert_eq!(ExitInfo::from_bits(info.to_bits()), Ok(Some(info)));
    }
    assert_eq!(ExitInfo::from_bits(0), Ok(None));
    assert_eq!(ExitInfo::from_bits(0x8000_0000), Err(LayoutError::Field("EXITINFO.EXIT_TYPE")));
    assert_eq!(ExitInfo::from_bits(0x8000_0b06), Err(LayoutError::Reserved("EXITINFO")));
    let more = ExInfo { address: 0x1234_5678_9abc_def0, error: 0x8007 };
    let bytes = more.to_bytes();
    assert_eq!((bytes[0], bytes[7], bytes[8], bytes[9]), (0xf0, 0x12, 7, 0x80));
    assert_eq!(ExInfo::from_bytes(&bytes), more);
}

#[test]
fn numbers_are_the_published_ones() {
    assert_eq!(Enclu::Eaccept.number(), 5);
    assert_eq!(Enclu::ALL.len(), 10);
    assert_eq!(Encls::Eaug.number(), 13);
    assert_eq!(ErrorCode::PageAttributesMismatch.number(), 19);
    assert_eq!(ErrorCode::InvalidKeyName.number(), 256);
    for code in ErrorCode::ALL {
        assert_eq!(ErrorCode::from_number(code.number()), Some(*code));
    }
    assert_eq!(ErrorCode::from_number(0), None);
    assert_eq!(Enclu::from_number(10), None);
}

proptest! {
    #[test]
    fn security_information_is_read_as_it_was_written(flags: u64) {
        let mut bytes = [0; 64];
        bytes[..8].copy_from_slice(&flags.to_le_bytes());
        if let Ok(info) = SecInfo::from_bytes(&bytes) {
            prop_assert_eq!(info.to_bytes(), bytes);
        }
        // The same with nothing but known bits.
        bytes[..8].copy_from_slice(&(flags & 0x3f | ((flags >> 8) % 7) << 8).to_le_bytes());
        prop_assert_eq!(SecInfo::from_bytes(&bytes).unwrap().to_bytes(), bytes);
    }

    #[test]
    fn registers_are_read_as_they_were_written(bytes: [u8; 32], word: u64, bits: u32) {
        let mut whole = [0; 184];
        whole.as_chunks_mut::<32>().0.iter_mut().for_each(|chunk| *chunk = bytes);
        whole[160..164].copy_from_slice(&bits.to_le_bytes());
        whole[164..167].fill(0);
        whole[168..176].copy_from_slice(&word.to_le_bytes());
        prop_assert_eq!(Gprs::from_bytes(&whole).to_bytes(), whole);
        if let Ok(Some(info)) = ExitInfo::from_bits(bits) {
            prop_assert_eq!(info.to_bits(), bits);
        }
    }
}
