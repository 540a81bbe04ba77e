// SPDX-License-Identifier: Apache-2.0

//! Plans: what can be in one, and how they are measured.

use std::convert::Infallible;

use proptest::prelude::*;
use sgx_guest::attributes::flag;
use sgx_guest::page::{PageType, Rights, SecInfo, Tcs};
use sgx_launch::{Content, Measurer, Page, Plan, PlanError, Region, Secs, Sink};

use crate::{TEXT, THREAD, keep};

fn empty() -> Plan<'static> {
    Plan::new(Secs::keep(0, 0x1_0000, [0; 64]).unwrap())
}

const TEXT_PAGE: SecInfo = SecInfo::reg(Rights::RX);

#[test]
fn pages_lie_in_the_enclave_and_apart() {
    let zeros = |offset, length| Region::measured(offset, TEXT_PAGE, Content::Zeros(length));
    let mut plan = empty();
    for (offset, length) in [
        (0, 0),
        (0, 5),
        (5, 0x1000),
        (0x1_0000, 0x1000),
        (0xf000, 0x2000),
        (u64::MAX - 0xfff, 0x1000),
        (0, u64::MAX - 0xfff),
    ] {
        assert_eq!(plan.push(zeros(offset, length)), Err(PlanError::Place { offset, length }));
    }
    plan.push(zeros(0x4000, 0x2000)).unwrap();
    for (offset, length, at) in [
        (0x4000, 0x1000, 0x4000),
        (0x5000, 0x3000, 0x5000),
        (0x3000, 0x4000, 0x4000),
        (0, 0x1_0000, 0x4000),
    ] {
        assert_eq!(plan.push(zeros(offset, length)), Err(PlanError::Overlap(at)));
    }
    // On both sides, and in no order.
    plan.push(zeros(0x6000, 0xa000)).unwrap();
    plan.push(zeros(0, 0x4000)).unwrap();
    assert_eq!(plan.regions().len(), 3);
    assert!(Content::Bytes(&[]).is_empty());
}

#[test]
fn no_page_is_written_and_executed() {
    let region = |info| Region::measured(0, info, Content::Zeros(0x1000));
    let mut plan = empty();
    let wx = region(SecInfo::reg(Rights::RWX));
    assert_eq!(plan.push(wx), Err(PlanError::WriteExecute(0)));
    for info in [
        SecInfo::reg(Rights::from_bits(2)),
        SecInfo::added(),
        SecInfo::restricted(Rights::R),
        SecInfo::modified(PageType::Tcs),
        SecInfo { page_type: PageType::Secs, ..SecInfo::reg(Rights::R) },
        SecInfo { page_type: PageType::Trim, ..SecInfo::reg(Rights::R) },
        SecInfo { page_type: PageType::ShadowFirst, ..SecInfo::reg(Rights::RW) },
        SecInfo { rights: Rights::RW, ..SecInfo::tcs() },
    ] {
        assert_eq!(plan.push(region(info)), Err(PlanError::Kind(0)), "{info:?}");
    }
    for rights in [Rights::NONE, Rights::R, Rights::RX, Rights::from_bits(4)] {
        empty().push(region(SecInfo::reg(rights))).unwrap();
    }
}

#[test]
fn threads_have_their_areas_in_the_enclave() {
    let good = Tcs { ssa: 0xe000, ..THREAD };
    let push = |tcs: Tcs| {
        let bytes = tcs.to_bytes();
        let region = Region::measured(0x2000, SecInfo::tcs(), Content::Bytes(&bytes));
        Plan::new(Secs::keep(0, 0x1_0000, [0; 64]).unwrap()).push(region).err()
    };
    assert_eq!(push(good), None);
    for bad in [
        Tcs { ssa_count: 1, ..good },
        Tcs { ssa_count: 3, ..good },
        Tcs { ssa: !0xfff, ..good },
        Tcs { ssa: 0xe008, ..good },
        Tcs { ssa_count: u32::MAX, ..good },
        Tcs { entry: 0x1_0000, ..good },
        Tcs { fs: 0x1_0000, ..good },
        Tcs { gs: u64::MAX, ..good },
        Tcs { flags: Tcs::DEBUG_OPT_IN, ..good },
    ] {
        assert_eq!(push(bad), Some(PlanError::Thread(0x2000)), "{bad:?}");
    }
    let zeros = Region::measured(0, SecInfo::tcs(), Content::Zeros(0x1000));
    assert_eq!(empty().push(zeros), Err(PlanError::Thread(0)));
    let bytes = good.to_bytes();
    let open =
        Region { measured: false, ..Region::measured(0, SecInfo::tcs(), Content::Bytes(&bytes)) };
    assert_eq!(Plan::new(*empty().secs()).push(open), Err(PlanError::Kind(0)));
}

#[test]
fn only_measured_pages_of_a_keep_make_a_keep() {
    let thread = THREAD.to_bytes();
    let mut plan = keep(&thread);
    assert!(plan.is_keep());
    assert_eq!(plan.measured_bytes(), 8 * 4096);
    let open =
        Region { measured: false, ..Region::measured(0x8000, TEXT_PAGE, Content::Zeros(0x1000)) };
    plan.push(open).unwrap();
    assert!(!plan.is_keep());
    assert_eq!(plan.measured_bytes(), 8 * 4096);
    let mut secs = *keep(&thread).secs();
    secs.attributes.flags |= flag::DEBUG;
    assert!(!Plan::new(secs).is_keep());
}

/// Everything that counts, counts; what does not, does not.
#[test]
fn a_measurement_depends_on_what_the_manual_says() {
    let thread = THREAD.to_bytes();
    let plan = |secs: Secs, regions: &[Region<'_>]| {
        let mut plan = Plan::new(secs);
        for region in regions {
            plan.push(*region).unwrap();
        }
        plan.measure()
    };
    let first = keep(&thread);
    let (secs, regions) = (*first.secs(), first.regions().to_vec());
    let measured = first.measure();
    assert_eq!(plan(secs, &regions), measured);
    let same = [
        Secs { base: 0, ..secs },
        Secs { config_id: [0; 64], ..secs },
        Secs { misc_select: 0, ..secs },
        Secs { attributes: Default::default(), ..secs },
    ];
    for secs in same {
        assert_eq!(plan(secs, &regions), measured);
    }
    let frame = sgx_guest::ssa::Frame { pages: 2 };
    let other = |change: &dyn Fn(&mut Secs, &mut Vec<Region<'_>>)| {
        let (mut secs, mut regions) = (secs, regions.clone());
        change(&mut secs, &mut regions);
        assert_ne!(plan(secs, &regions), measured);
    };
    other(&|secs, _| secs.size *= 2);
    other(&|secs, _| secs.frame = frame);
    other(&|_, regions| regions.swap(0, 1));
    other(&|_, regions| regions.truncate(3));
    other(&|_, regions| regions[0].info = SecInfo::reg(Rights::R));
    other(&|_, regions| regions[0].content = Content::Zeros(3 * 4096));
    other(&|_, regions| regions[0].measured = false);
    other(&|_, regions| regions[3].offset = 0x8000);
}

/// A sink that looks at what a sink is given, and stops.
#[derive(Default)]
struct Watcher {
    created: bool,
    offsets: Vec<u64>,
    stop: Option<usize>,
}

impl Sink for Watcher {
    type Error = u64;

    fn create(&mut self, _: &Secs) -> Result<(), u64> {
        assert!(!self.created && self.offsets.is_empty());
        self.created = true;
        Ok(())
    }

    fn add(&mut self, page: &Page<'_>) -> Result<(), u64> {
        assert!(self.created);
        if self.stop == Some(self.offsets.len()) {
            return Err(page.offset);
        }
        if let Some(text) = TEXT.get(page.offset as usize..).and_then(|rest| rest.first_chunk()) {
            assert_eq!(page.bytes, text);
        }
        self.offsets.push(page.offset);
        Ok(())
    }
}

#[test]
fn a_sink_is_given_pages_in_order_until_it_fails() {
    let thread = THREAD.to_bytes();
    let mut sink = Watcher::default();
    keep(&thread).load(&mut sink).unwrap();
    assert_eq!(sink.offsets, (0..8).map(|page| page * 4096).collect::<Vec<u64>>());
    let mut sink = Watcher { stop: Some(5), ..Watcher::default() };
    assert_eq!(keep(&thread).load(&mut sink), Err(0x5000));
}

/// The measurement as a stream of blocks, written apart from the measurer.
#[test]
fn a_measurement_is_one_hash_over_published_blocks() {
    use sha2::{Digest as _, Sha256};
    let thread = THREAD.to_bytes();
    let mut stream = b"ECREATE\0\x01\0\0\0\0\0\x01".to_vec();
    stream.resize(64, 0);
    let mut page = |offset: u32, flags: u16, bytes: &[u8]| {
        let at = stream.len();
        stream.extend(b"EADD\0\0\0\0");
        stream.extend(u64::from(offset).to_le_bytes());
        stream.extend(flags.to_le_bytes());
        stream.resize(at + 64, 0);
        for (number, chunk) in bytes.chunks(256).enumerate() {
            let at = stream.len();
            stream.extend(b"EEXTEND\0");
            stream.extend((u64::from(offset) + 256 * number as u64).to_le_bytes());
            stream.resize(at + 64, 0);
            stream.extend(chunk);
        }
    };
    for (number, bytes) in TEXT.chunks(4096).enumerate() {
        page(4096 * number as u32, 0x205, bytes);
    }
    page(0x3000, 0x201, &[0; 4096]);
    page(0x4000, 0x100, &thread);
    for offset in [0x5000, 0x6000, 0x7000] {
        page(offset, 0x203, &[0; 4096]);
    }
    let expected: [u8; 32] = Sha256::digest(&stream).into();
    assert_eq!(keep(&thread).measure(), expected);
}

proptest! {
    /// Plans never overlap, however they are asked for, and a measurer sees all pages of them.
    #[test]
    fn plans_hold_together(asked in prop::collection::vec((0_u64..18, 0_u64..6, 0_u64..8), 0..30)) {
        let mut plan = empty();
        let mut taken = [false; 16];
        for (page, pages, rights) in asked {
            let info = SecInfo::reg(Rights::from_bits(rights));
            let region = Region::measured(page * 4096, info, Content::Zeros(pages * 4096));
            let here = page as usize..(page + pages) as usize;
            let free = pages != 0 && here.end <= 16 && !taken[here.clone()].contains(&true);
            let allowed = !matches!(rights, 2 | 3 | 6 | 7) || rights == 3;
            prop_assert_eq!(plan.push(region).is_ok(), free && allowed);
            if free && allowed {
                taken[here].fill(true);
            }
        }
        struct Count(Measurer, u64);
        impl Sink for Count {
            type Error = Infallible;
            fn create(&mut self, secs: &Secs) -> Result<(), Infallible> {
                self.0.create(secs)
            }
            fn add(&mut self, page: &Page<'_>) -> Result<(), Infallible> {
                self.1 += 1;
                self.0.add(page)
            }
        }
        let mut count = Count(Measurer::default(), 0);
        plan.load(&mut count).unwrap();
        prop_assert_eq!(count.1, taken.iter().filter(|taken| **taken).count() as u64);
        prop_assert_eq!(count.0.mrenclave(), plan.measure());
    }
}
