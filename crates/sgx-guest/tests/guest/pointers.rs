// SPDX-License-Identifier: Apache-2.0

//! Ranges against arithmetic in wider numbers, where nothing overflows.

use proptest::prelude::*;
use sgx_guest::range::Elrange;

const USER_END: u128 = 1 << 47;

/// Numbers near those at which something changes.
fn near() -> impl Strategy<Value = u64> {
    let anchors = [0, 0x1000, 0x10000, 0x18000, 0x20000, 1 << 46, 1 << 47, 1 << 63, u64::MAX];
    prop_oneof![
        (prop::sample::select(anchors.to_vec()), -9_i64..10)
            .prop_map(|(anchor, by)| anchor.wrapping_add_signed(by)),
        any::<u64>(),
        0..0x40000_u64,
    ]
}

#[test]
fn an_enclave_is_a_power_of_two_at_a_multiple_of_it() {
    assert!(Elrange::new(0, 1 << 45).is_some());
    assert!(Elrange::new(0x10000, 0x10000).is_some());
    for (base, size) in [
        (0, 0),
        (0, 0x1000),
        (0, 0x3000),
        (0x1000, 0x2000),
        (1 << 47, 0x2000),
        (0, 1 << 48),
        (!0x1fff, 0x2000),
        (1 << 63, 1 << 63),
    ] {
        assert_eq!(Elrange::new(base, size), None, "{base:#x} {size:#x}");
    }
    let last = Elrange::new((1 << 47) - 0x2000, 0x2000).unwrap();
    assert!(last.inside(last.base(), 0x2000) && !last.outside(last.end(), 1));
}

#[test]
fn nothing_is_somewhere_too() {
    let enclave = Elrange::new(0x10000, 0x10000).unwrap();
    for (address, inside, outside) in [
        (0, false, true),
        (0xffff, false, true),
        (0x10000, true, true),
        (0x10001, true, false),
        (0x1ffff, true, false),
        (0x20000, true, true),
        (0x20001, false, true),
        (u64::MAX, false, false),
    ] {
        assert_eq!((enclave.inside(address, 0), enclave.outside(address, 0)), (inside, outside));
    }
}

proptest! {
    #[test]
    fn ranges_are_as_in_wider_numbers(address in near(), length in near()) {
        for enclave in [Elrange::new(0x10000, 0x10000), Elrange::new(0, 0x20000)] {
            let enclave = enclave.unwrap();
            let (base, end) = (u128::from(enclave.base()), u128::from(enclave.end()));
            let (from, to) = (u128::from(address), u128::from(address) + u128::from(length));
            prop_assert_eq!(enclave.inside(address, length), base <= from && to <= end);
            let outside = to <= USER_END && (to <= base || from >= end);
            prop_assert_eq!(enclave.outside(address, length), outside);
            prop_assert_eq!(enclave.contains(address), base <= from && from < end);
            prop_assert_eq!(enclave.offset(address).is_some(), enclave.contains(address));
            // Never both, unless there is nothing.
            prop_assert!(length == 0 || !(enclave.inside(address, length) && outside));
            let words = outside && from % 8 == 0 && to % 8 == 0;
            prop_assert_eq!(enclave.outside_words(address, length), words);
        }
    }
}
