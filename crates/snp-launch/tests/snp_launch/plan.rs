// SPDX-License-Identifier: Apache-2.0

//! An image as pages.

use keep_image::Image;
use keep_layout::{IMAGE_PHYS, KERNEL_DATA, SHARED_PHYS, TABLES_PHYS};
use proptest::prelude::*;
use snp_launch::{LaunchDigest, Options, PageType, Plan, PlanError, Segment, Update, Vmsa, layout};

use crate::image::{BLOCKS, INFO_PHYS, NEXT, encode, simple};

fn plan(bytes: &[u8], options: Options) -> Result<Plan, PlanError> {
    Plan::new(&Image::decode(bytes).unwrap(), options)
}

#[test]
fn an_image_becomes_the_pages_that_the_crate_says() {
    let plan = plan(&simple(), Options::default()).unwrap();
    let parts: Vec<_> = plan
        .parts()
        .map(|(address, update)| (address, update.page_type(), update.length()))
        .collect();
    let text = IMAGE_PHYS + 0x10_0000;
    let end = INFO_PHYS + (2 << 20);
    use PageType::{Cpuid, Normal, Secrets, Vmsa, Zero};
    assert_eq!(
        parts,
        [
            (TABLES_PHYS, Normal, 0x2000),
            (0x2000, Zero, 0x3f_e000 - 0x2000),
            (0x3f_e000, Secrets, 0x1000),
            (0x3f_f000, Cpuid, 0x1000),
            (IMAGE_PHYS, Zero, 0x10_0000),
            (text, Normal, 0x1000),
            (text + 0x1000, Zero, 0x1000),
            (text + 0x2000, Normal, 0x1000),
            (text + 0x3000, Zero, INFO_PHYS - text - 0x3000),
            (INFO_PHYS, Normal, 0x1000),
            (INFO_PHYS + 0x1000, Zero, 0x7000),
            (INFO_PHYS + 0x8000, Normal, 0x1000),
            (INFO_PHYS + 0x9000, Zero, end - INFO_PHYS - 0x9000),
        ]
        .into_iter()
        .chain([(0, Vmsa, 0x1000); 7])
        .collect::<Vec<_>>()
    );
    assert_eq!((layout::SECRETS_PHYS, layout::CPUID_PHYS), (0x3f_e000, 0x3f_f000));
    // Zero pages are none of what is hashed and encrypted.
    let size = plan.digest().unwrap().size();
    assert_eq!((size.normal, size.vmsa, size.other), (6 * 0x1000, 7 * 0x1000, 0x2000));
    assert_eq!(size.zero, end - 6 * 0x1000 - 0x2000);
    assert_eq!(size.measured(), 13 * 0x1000);
}

#[test]
fn private_entries_have_the_c_bit_and_shared_ones_have_not() {
    let plan = plan(&simple(), Options::default()).unwrap();
    let Some((0, Update::Normal(tables))) = plan.parts().next() else { panic!("no tables") };
    let entry = |at: usize| u64::from_le_bytes(*tables[at * 8..].first_chunk().unwrap());
    let c_bit = 1 << 51;
    assert_eq!(entry(0), c_bit | 0x1027);
    assert_eq!(entry(1), 0);
    assert_eq!(entry(512), c_bit | IMAGE_PHYS | 0xa7);
    assert_eq!(entry(513), SHARED_PHYS | 0xa7 | 1 << 63);
    assert_eq!(entry(514), c_bit | INFO_PHYS | 0x27 | 1 << 63);
    // Not present: not touched.
    assert_eq!(entry(515), 0x1000);
}

#[test]
fn the_first_processor_starts_where_the_image_says() {
    let plan = plan(&simple(), Options::default()).unwrap();
    let data = Segment { selector: 0x2b, attributes: 0xcf3, limit: u32::MAX, base: 0 };
    let expected = Vmsa {
        es: data,
        cs: Segment { selector: 0x33, attributes: 0xafb, limit: u32::MAX, base: 0 },
        ss: data,
        ds: data,
        fs: data,
        gs: Segment { base: BLOCKS, ..data },
        gdtr: Segment { limit: 0x4f, base: KERNEL_DATA + 0x400, ..Segment::default() },
        idtr: Segment { limit: 0x1ff, base: KERNEL_DATA + 0x800, ..Segment::default() },
        tr: Segment { selector: 0x40, attributes: 0x8b, limit: 0x10c, base: KERNEL_DATA + 0xa00 },
        cpl: 3,
        efer: 0x1d01,
        cr0: 0x8005_0033,
        cr3: 1 << 51,
        cr4: 0x0005_0660,
        dr6: 0xffff_0ff0,
        dr7: 0x400,
        rflags: 2,
        rip: 0x1478_0040,
        rdi: KERNEL_DATA,
        star: 0x0023_0008_0000_0000,
        lstar: 0x1478_0080,
        sfmask: 0x0004_4700,
        g_pat: 0x0007_0406_0007_0406,
        sev_features: 1,
        xcr0: 7,
        mxcsr: 0x1f80,
        x87_fcw: 0x37f,
        ..Vmsa::default()
    };
    assert_eq!(plan.vmsas()[0], expected);
    // All others, by their numbers.
    let pages: Vec<_> = plan
        .parts()
        .filter_map(|(address, update)| match update {
            Update::Vmsa(page) => Some((address, page)),
            _ => None,
        })
        .collect();
    assert_eq!(pages.len(), 7);
    for (number, (address, page)) in (0..).zip(pages) {
        let mut of = expected;
        if number > 0 {
            of.rip = NEXT;
            of.gs.base += number * 256;
            of.tr.base += number * 272;
        }
        assert_eq!((address, Vmsa::read(page)), (0, Some(of)));
    }
}

#[test]
fn everything_that_is_chosen_is_measured() {
    let image = simple();
    let digest = |bytes: &[u8], options| plan(bytes, options).unwrap().digest().unwrap().value();
    let base = digest(&image, Options::default());
    assert_eq!(digest(&image, Options::default()), base);
    assert_ne!(digest(&image, Options { c_bit: 47, ..Options::default() }), base);
    assert_ne!(digest(&image, Options { processors: 2, ..Options::default() }), base);
    let mut other = image.clone();
    *other.last_mut().unwrap() ^= 1;
    assert_ne!(digest(&other, Options::default()), base);
}

#[test]
fn what_does_not_fit_is_refused() {
    let image = simple();
    for c_bit in [0, 12, 36, 37, 52, 63, 64, 255] {
        let refused = plan(&image, Options { c_bit, ..Options::default() });
        assert_eq!(refused.err(), Some(PlanError::CBit(c_bit)));
    }
    for processors in [0, 9] {
        let refused = plan(&image, Options { processors, ..Options::default() });
        assert_eq!(refused.err(), Some(PlanError::Processors(processors)));
    }
    // Page tables that reach into the two pages.
    let end = INFO_PHYS + (2 << 20);
    assert!(plan(&encode(Vec::new(), end, 1022), Options::default()).is_ok());
    let refused = plan(&encode(Vec::new(), end, 1023), Options::default());
    assert_eq!(refused.err(), Some(PlanError::Tables(0x3f_f000)));
    // Data among the page tables.
    let low = vec![(0x10_0000, 2, vec![1; 4096])];
    let refused = plan(&encode(low, end, 2), Options::default());
    assert_eq!(refused.err(), Some(PlanError::Order(0x10_0000)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// All of the image's memory is launched, in order and without gaps, and each page has the type
    /// that its content asks for.
    #[test]
    fn pages_are_those_of_the_image(
        pages in prop::collection::btree_map(0_u64..1024, prop::sample::select(vec![0_u8, 1, 0x90]), 0..40),
    ) {
        let end = INFO_PHYS + (2 << 20);
        let at = |number: u64| IMAGE_PHYS + number * 4096;
        let pieces: Vec<_> = pages
            .iter()
            .filter(|(number, _)| at(**number) != INFO_PHYS)
            .map(|(number, byte)| (at(*number), 1, vec![*byte; 4096]))
            .collect();
        let plan = plan(&encode(pieces.clone(), end, 2), Options::default()).unwrap();
        let mut next = 0;
        let mut digest = LaunchDigest::default();
        for (address, update) in plan.parts() {
            digest.update(address, &update).unwrap();
            if let Update::Vmsa(_) = update {
                prop_assert_eq!(next, end);
                continue;
            }
            prop_assert_eq!(address, next);
            next += update.length();
            for (piece, _, bytes) in &pieces {
                if !(address..next).contains(piece) {
                    continue;
                }
                let offset = (*piece - address) as usize;
                match update {
                    Update::Zero(_) => prop_assert!(bytes.iter().all(|byte| *byte == 0)),
                    Update::Normal(all) => {
                        prop_assert!(bytes[0] != 0);
                        prop_assert_eq!(&all[offset..offset + 4096], &bytes[..]);
                    }
                    _ => prop_assert!(false, "{:#x} is special", piece),
                }
            }
        }
        prop_assert_eq!(digest, plan.digest().unwrap());
    }
}
