// SPDX-License-Identifier: Apache-2.0

//! The save area. Its layout is held against other programs' in `peers`.

use proptest::prelude::*;
use snp_guest::vmsa::{Segment, Vmsa};

#[test]
fn a_save_area_has_one_encoding() {
    let cs = Segment { selector: 0x33, attributes: 0xafb, limit: u32::MAX, base: 0x1_0000_0002 };
    let vmsa = Vmsa { cs, cpl: 3, x87_fcw: 0x37f, rip: 0x1234, ..Vmsa::reset() };
    let mut page = [0xff; 4096];
    vmsa.write(&mut page);
    assert_eq!(page[0x10..0x20], *b"\x33\0\xfb\x0a\xff\xff\xff\xff\x02\0\0\0\x01\0\0\0");
    assert_eq!(page[0xcb], 3);
    assert_eq!(page[0x178..0x17a], [0x34, 0x12]);
    assert_eq!(page[0x410..0x412], [0x7f, 3]);
    assert_eq!(Vmsa::read(&page), Some(vmsa));
    assert_eq!(Vmsa::read(&[0; 4096]), Some(Vmsa::default()));
}

#[test]
fn fields_do_not_overlap() {
    for pair in Vmsa::FIELDS.windows(2) {
        assert!(pair[0].1 + pair[0].2 <= pair[1].1, "{pair:?}");
    }
}

proptest! {
    #[test]
    fn what_has_no_field_is_refused(at in 0_usize..4096, byte in 1_u8..) {
        let mut page = [0; 4096];
        Vmsa::reset().write(&mut page);
        page[at] ^= byte;
        if let Some(vmsa) = Vmsa::read(&page) {
            let mut again = [0; 4096];
            vmsa.write(&mut again);
            prop_assert_eq!(again, page);
            prop_assert_ne!(vmsa, Vmsa::reset());
        }
    }
}
