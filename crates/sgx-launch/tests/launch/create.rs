// SPDX-License-Identifier: Apache-2.0

//! Control structures, and which a processor takes.

use proptest::prelude::*;
use sgx_guest::attributes::{Attributes, flag, misc, xfrm};
use sgx_guest::ssa::Frame;
use sgx_launch::cpuid::{Capabilities, Section};
use sgx_launch::{CreateError, PlanError, Secs, image};

/// A server processor as its leaves say: SGX2, flexible launch control, AVX-512, KSS, 2^56 bytes.
fn processor() -> Capabilities {
    let seven = [0, 1 << 2, 1 << 30, 0];
    let first = [0b1100_0011, 1, 0, 0x381f];
    let second = [0x4f6, 0, 0x2e7, 0];
    Capabilities::from_leaves(seven, first, second).unwrap()
}

#[test]
fn leaves_say_what_a_processor_offers() {
    let found = processor();
    assert!(found.sgx1 && found.sgx2 && found.launch_control && !found.edeccssa);
    assert_eq!((found.max_size, found.misc_select), (56, misc::EXINFO));
    assert_eq!(found.attributes, Attributes { flags: 0x4f6, xfrm: 0x2e7 });
    // No SGX in leaf 7; switched off by the firmware.
    assert_eq!(Capabilities::from_leaves([0; 4], [1, 0, 0, 0], [0; 4]), None);
    assert_eq!(Capabilities::from_leaves([0, 4, 0, 0], [0; 4], [0; 4]), None);
    let section = Section::from_leaf([0x7020_0001, 0x2, 0x05d8_0001, 0x1]);
    assert_eq!(section, Some(Section { base: 0x2_7020_0000, size: 0x1_05d8_0000 }));
    assert_eq!(Section::from_leaf([0; 4]), None);
}

#[test]
fn a_keep_can_be_created() {
    let secs = Secs::keep(image::BASE, image::SIZE, [9; 64]).unwrap();
    assert_eq!(secs.check(&processor()), Ok(()));
    assert_eq!((secs.frame.pages, secs.attributes), (1, Attributes::KEEP));
    let range = Err(PlanError::Create(CreateError::Range));
    for (base, size) in [(0, 0x3000), (0x1000, 0x2000), (0, 0x1000), (0, 1 << 48)] {
        assert_eq!(Secs::keep(base, size, [0; 64]), range);
    }
}

#[test]
fn each_rule_of_creation_counts() {
    let keep = Secs::keep(0, 0x10000, [9; 64]).unwrap();
    let with = |flags, xfrm| Secs { attributes: Attributes { flags, xfrm }, ..keep };
    let Attributes { flags, xfrm } = Attributes::KEEP;
    let avx_512 = xfrm::AVX_512;
    let no_kss = Secs { config_id: [0; 64], ..with(flag::MODE64BIT, xfrm) };
    for (secs, error) in [
        (Secs { base: 0x1000, ..keep }, Some(CreateError::Range)),
        (with(flags & !flag::MODE64BIT, xfrm), Some(CreateError::Flags(flags & !4))),
        (with(flags | flag::INIT, xfrm), Some(CreateError::Flags(flag::INIT))),
        (with(flags | 1 << 40, xfrm), Some(CreateError::Flags(1 << 40))),
        // The processor has nothing against debug. Others have.
        (with(flags | flag::DEBUG, xfrm), None),
        (with(flags, 0b10), Some(CreateError::Xfrm(0b10))),
        (with(flags, 0b11 | avx_512), Some(CreateError::Xfrm(0b11 | avx_512))),
        (with(flags, 0b111 | 1 << 5), Some(CreateError::Xfrm(0b111 | 1 << 5))),
        (with(flags, 0b111 | xfrm::AMX), Some(CreateError::Xfrm(0b111 | xfrm::AMX))),
        (with(flags, 0b111 | avx_512), None),
        (Secs { misc_select: 3, ..keep }, Some(CreateError::Misc(2))),
        (
            Secs { frame: Frame { pages: 0 }, ..keep },
            Some(CreateError::Frame { pages: 0, needed: 1 }),
        ),
        (Secs { frame: Frame { pages: 4 }, ..keep }, None),
        (no_kss, None),
        (Secs { config_id: [1; 64], ..no_kss }, Some(CreateError::Configuration)),
        (Secs { config_svn: 1, ..no_kss }, Some(CreateError::Configuration)),
    ] {
        assert_eq!(secs.check(&processor()).err(), error, "{secs:x?}");
    }
    let small = Capabilities { max_size: 15, ..processor() };
    assert_eq!(keep.check(&small), Err(CreateError::TooLarge { limit: 15 }));
    assert_eq!(keep.check(&Capabilities { max_size: 16, ..processor() }), Ok(()));
    assert_eq!(keep.check(&Capabilities { max_size: 64, ..processor() }), Ok(()));
    let old = Attributes { flags: flag::MODE64BIT | flag::DEBUG, xfrm: 0b111 };
    let old = Capabilities { attributes: old, ..processor() };
    assert_eq!(keep.check(&old), Err(CreateError::Flags(flag::KSS)));
}

#[test]
fn a_control_structure_is_where_the_manual_says() {
    let secs = Secs {
        size: 0x0101_0101_0101_0101,
        base: 0x0202_0202_0202_0202,
        frame: Frame { pages: 0x0303_0303 },
        misc_select: 0x0404_0404,
        attributes: Attributes { flags: 0x0505_0505_0505_0505, xfrm: 0x0606_0606_0606_0606 },
        config_id: [7; 64],
        config_svn: 0x0808,
    };
    let mut expected = [0; 4096];
    for (from, to, byte) in [
        (0, 8, 1),
        (8, 16, 2),
        (16, 20, 3),
        (20, 24, 4),
        (48, 56, 5),
        (56, 64, 6),
        (192, 256, 7),
        (260, 262, 8),
    ] {
        expected[from..to].fill(byte);
    }
    assert!(secs.to_bytes() == expected);
    assert_eq!(Secs::from_bytes(&expected), Some(secs));
    // CET, MRENCLAVE, MRSIGNER, ISVPRODID, the end.
    for at in [24, 32, 64, 128, 256, 262, 4095] {
        let mut bytes = expected;
        bytes[at] = 1;
        assert_eq!(Secs::from_bytes(&bytes), None, "{at}");
    }
}

proptest! {
    #[test]
    fn leaves_are_never_too_strange(seven: [u32; 4], first: [u32; 4], second: [u32; 4]) {
        if let Some(found) = Capabilities::from_leaves(seven, first, second) {
            // Whatever it says, an answer comes out.
            let _ = Secs::keep(0, 1 << 45, [0; 64]).unwrap().check(&found);
        }
        let _ = Section::from_leaf(first);
    }
}
