// SPDX-License-Identifier: Apache-2.0

//! The chain.

use proptest::prelude::*;
use sha2::{Digest as _, Sha384};
use snp_launch::{DigestError, LaunchDigest, Update};

/// The structure as the specification draws it, for one page.
fn page_info(before: [u8; 48], contents: [u8; 48], kind: u8, address: u64) -> [u8; 48] {
    let mut info = [0; 112];
    info[..48].copy_from_slice(&before);
    info[48..96].copy_from_slice(&contents);
    info[96] = 0x70;
    info[98] = kind;
    info[104..].copy_from_slice(&address.to_le_bytes());
    Sha384::digest(info).into()
}

#[test]
fn each_type_of_page_is_chained_as_the_specification_draws_it() {
    let page = [0x5a; 4096];
    let hash: [u8; 48] = Sha384::digest(page).into();
    for (update, contents, kind, address) in [
        (Update::Normal(&page[..]), hash, 1, 0x5000),
        (Update::Vmsa(&page), hash, 2, 0xffff_ffff_f000),
        (Update::Zero(4096), [0; 48], 3, 0x5000),
        (Update::Unmeasured(&page[..]), [0; 48], 4, 0x5000),
        (Update::Secrets, [0; 48], 5, 0x5000),
        (Update::Cpuid, [0; 48], 6, 0x5000),
    ] {
        let mut digest = LaunchDigest::default();
        digest.update(0x5000, &update).unwrap();
        assert_eq!(digest.value(), page_info([0; 48], contents, kind, address), "{kind}");
        digest.update(0x5000, &update).unwrap();
        let second =
            page_info(page_info([0; 48], contents, kind, address), contents, kind, address);
        assert_eq!(digest.value(), second, "{kind}");
    }
}

#[test]
fn only_whole_pages_are_launched() {
    let mut digest = LaunchDigest::default();
    let page = [0; 4096];
    for (address, update) in [
        (1, Update::Normal(&page[..])),
        (0, Update::Normal(&page[..4095])),
        (0, Update::Normal(&[])),
        (0, Update::Zero(0)),
        (0, Update::Zero(5)),
        (0x7ff, Update::Cpuid),
        (0xffff_ffff_ffff_f000, Update::Zero(8192)),
    ] {
        let length = update.length();
        let error = DigestError::Pages { address, length };
        assert_eq!(digest.update(address, &update), Err(error));
    }
    assert_eq!(digest, LaunchDigest::default());
}

proptest! {
    /// However pages are put together to updates.
    #[test]
    fn pages_together_are_pages_apart(count in 1_u64..6, first: u32, zero: bool) {
        let bytes: Vec<u8> = (0..count * 4096).map(|at| (at / 7 + u64::from(first)) as u8).collect();
        let address = u64::from(first) << 12;
        let (mut together, mut apart) = (LaunchDigest::default(), LaunchDigest::default());
        let whole = if zero { Update::Zero(count * 4096) } else { Update::Normal(&bytes) };
        together.update(address, &whole).unwrap();
        for (number, page) in bytes.chunks(4096).enumerate() {
            let one = if zero { Update::Zero(4096) } else { Update::Normal(page) };
            apart.update(address + number as u64 * 4096, &one).unwrap();
        }
        prop_assert_eq!(&together, &apart);
        prop_assert_eq!(together.size().measured(), if zero { 0 } else { count * 4096 });
    }
}
