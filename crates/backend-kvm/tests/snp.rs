// SPDX-License-Identifier: Apache-2.0

//! A hypervisor that attacks a Keep under SEV-SNP: the stand-in plays it, the kernel is the real one, in
//! a real virtual machine. Each attack ends the Keep with a sentence that names it, or changes nothing.
//!
//! And what the firmware refuses to launch.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backend_snp_sim::{Attack, Moment, SnpSim};
use common::{Running, guest};
use keep_backend::{Backend, BackendError, Claim, EvidenceSource, Signatures, Spec};
use keep_image::Image;
use keep_launch::{Evidence, Platform, Report};
use launch_keys::{IdBlock, SevKey, SevSignature, id_auth, sign_id_key};
use sallyport::{RawWindow, Window};
use snp_guest::cpuid::Entry;
use snp_guest::pages::Pvalidate;
use snp_launch::{Options, Plan, Policy};

/// Longer than anything here takes on a machine that is busy with something else.
const LIMIT: Duration = Duration::from_secs(60);

/// Where the GHCB is in the shared block, and some of its fields (see `snp_guest::ghcb`).
const GHCB: usize = 0x7000;
const CODE: usize = GHCB + 0x390;
const INFO_1: usize = GHCB + 0x398;
const INFO_2: usize = GHCB + 0x3a0;
const BITMAP: usize = GHCB + 0x3f0;
const LIST: usize = GHCB + 0x800;
const PAGE_STATE_CHANGE: u64 = 0x8000_0010;

/// Says of each claim what was asked of it.
struct Echo;

impl EvidenceSource for Echo {
    fn evidence(&mut self, claim: &Claim) -> Evidence {
        Evidence::Made {
            platform: Platform::Development,
            evidence: [&vec![0xee; 200_000], &claim.report_data()[..]].concat(),
            endorsements: Vec::new(),
        }
    }
}

fn image() -> Option<Image<'static>> {
    let guest = guest()?;
    if let Some(datum) = SnpSim::new().probe().iter().find(|datum| !datum.pass) {
        println!("skipped: {datum:?}");
        return None;
    }
    Some(Image::build(keep_programs::KERNEL, guest).unwrap())
}

/// Runs a program that asks for two reports, under this attack.
fn run(image: &Image<'_>, attack: Attack) -> Result<Report, BackendError> {
    let mut keep = Running::start_by("evidence", |mut spec| {
        spec.evidence = Some(Box::new(Echo));
        spec.events = Some(Box::new(|_| {}));
        SnpSim::new().launch_attacked(image, spec, attack).unwrap()
    });
    let end = keep.end_within(LIMIT);
    drop(keep.rest());
    end
}

/// What an attack does, the how-manieth occasion it is; whether there was one.
type Deed = fn(Moment<'_>, u32) -> bool;

struct Case {
    name: &'static str,
    deed: Deed,
    says: &'static str,
}

fn entry(entries: &mut [Entry], function: u32, index: u32) -> Option<&mut Entry> {
    entries.iter_mut().find(|entry| (entry.function, entry.index) == (function, index))
}

fn hide_random(moment: Moment<'_>, _: u32) -> bool {
    let Moment::CpuidPage(entries) = moment else { return false };
    entry(entries, 1, 0).map(|entry| entry.answer.ecx &= !(1 << 30)).is_some()
}

fn move_c_bit(moment: Moment<'_>, _: u32) -> bool {
    let Moment::CpuidPage(entries) = moment else { return false };
    entry(entries, 0x8000_001f, 0).map(|entry| entry.answer.ebx = 47).is_some()
}

fn shrink_state(moment: Moment<'_>, _: u32) -> bool {
    let Moment::CpuidPage(entries) = moment else { return false };
    entry(entries, 0xd, 2).map(|entry| entry.answer.ebx = 64).is_some()
}

fn not_snp(moment: Moment<'_>, _: u32) -> bool {
    let Moment::CpuidPage(entries) = moment else { return false };
    entry(entries, 0x8000_001f, 0).map(|entry| entry.answer.eax &= !(1 << 4)).is_some()
}

/// Versions 3 to 4 of the protocol.
fn other_version(moment: Moment<'_>, _: u32) -> bool {
    let Moment::Register(word) = moment else { return false };
    let mine = *word & 0xfff == 0x001;
    if mine {
        *word = *word & 0xffff_ffff | 3 << 32 | 4 << 48;
    }
    mine
}

fn no_features(moment: Moment<'_>, _: u32) -> bool {
    let Moment::Register(word) = moment else { return false };
    let mine = *word & 0xfff == 0x081;
    if mine {
        *word = 0x081;
    }
    mine
}

fn other_ghcb(moment: Moment<'_>, _: u32) -> bool {
    let Moment::Register(word) = moment else { return false };
    let mine = *word & 0xfff == 0x013;
    if mine {
        *word += 0x1000;
    }
    mine
}

fn inject(moment: Moment<'_>, time: u32) -> bool {
    let Moment::Answered(window) = moment else { return false };
    if time == 4 {
        window.store(INFO_1, 1);
        window.store(INFO_2, 0x8000_030d);
    }
    true
}

fn forget_fields(moment: Moment<'_>, time: u32) -> bool {
    let Moment::Answered(window) = moment else { return false };
    if time == 4 {
        window.store(BITMAP, 0);
        window.store(BITMAP + 8, 0);
    }
    true
}

fn at_a_list(window: RawWindow) -> bool {
    window.load(CODE) == PAGE_STATE_CHANGE
}

fn list_beyond_its_end(moment: Moment<'_>, _: u32) -> bool {
    let Moment::Answered(window) = moment else { return false };
    let mine = at_a_list(window);
    if mine {
        let header = window.load(LIST);
        window.store(LIST, header + 1);
    }
    mine
}

fn list_never_done(moment: Moment<'_>, _: u32) -> bool {
    let Moment::Answered(window) = moment else { return false };
    let mine = at_a_list(window);
    if mine {
        let header = window.load(LIST);
        window.store(LIST, header & !0xffff);
    }
    mine
}

fn pages_moved(moment: Moment<'_>, time: u32) -> bool {
    let Moment::Validated(_, done) = moment else { return false };
    if time == 2 {
        *done = Pvalidate { code: 0, unchanged: true };
    }
    true
}

fn pvalidate_fails(moment: Moment<'_>, time: u32) -> bool {
    let Moment::Validated(_, done) = moment else { return false };
    if time == 2 {
        *done = Pvalidate { code: 1, unchanged: false };
    }
    true
}

/// No image of a test ends beyond this address.
const BEHIND: u64 = 0xe0_0000;

/// All memory behind the image is exchanged, while the Keep waits for its host.
fn remap(moment: Moment<'_>, time: u32) -> bool {
    let Moment::Doorbell(taken) = moment else { return false };
    if time == 3 {
        taken.push(BEHIND..0x2000_0000);
    }
    true
}

fn bit_of_answer(moment: Moment<'_>, _: u32) -> bool {
    let Moment::Message(_, reply) = moment else { return false };
    reply[0x100] ^= 1;
    true
}

fn own_message(moment: Moment<'_>, _: u32) -> bool {
    let Moment::Message(request, reply) = moment else { return false };
    *reply = *request;
    true
}

fn empty_answer(moment: Moment<'_>, _: u32) -> bool {
    let Moment::Message(_, reply) = moment else { return false };
    reply.fill(0);
    true
}

const CASES: &[Case] = &[
    Case { name: "RDRAND hidden", deed: hide_random, says: "lacks RDRAND" },
    Case { name: "C-bit elsewhere", deed: move_c_bit, says: "the C-bit is bit 47" },
    Case { name: "state too small", deed: shrink_state, says: "place of saved state 2" },
    Case { name: "not SNP", deed: not_snp, says: "SEV-SNP is not on" },
    Case { name: "version", deed: other_version, says: "this version of the GHCB" },
    Case { name: "features", deed: no_features, says: "lacks features of SEV-SNP" },
    Case { name: "other GHCB", deed: other_ghcb, says: "it asked for its end" },
    Case { name: "exception", deed: inject, says: "the hypervisor injects an exception" },
    Case { name: "fields", deed: forget_fields, says: "answer lacks the field" },
    Case { name: "list's end", deed: list_beyond_its_end, says: "broke a list of pages" },
    Case { name: "list stuck", deed: list_never_done, says: "does not get on with a list" },
    Case { name: "moved pages", deed: pages_moved, says: "the hypervisor moved memory" },
    Case { name: "PVALIDATE", deed: pvalidate_fails, says: "PVALIDATE failed with 1" },
    Case { name: "remapped", deed: remap, says: "is not the Keep's" },
    Case { name: "flipped bit", deed: bit_of_answer, says: "was changed on its way" },
    Case { name: "echo", deed: own_message, says: "it was repeated" },
    Case { name: "no answer", deed: empty_answer, says: "the way to the firmware" },
];

#[test]
fn a_keep_that_is_attacked_ends_and_says_so() {
    let Some(image) = image() else { return };
    assert!(image.info().image_end <= BEHIND, "{:#x}", image.info().image_end);
    for case in CASES {
        let occasions = Arc::new(AtomicU32::new(0));
        let (counts, deed) = (Arc::clone(&occasions), case.deed);
        let end = run(
            &image,
            Box::new(move |moment| {
                let time = counts.load(Ordering::SeqCst) + 1;
                if deed(moment, time) {
                    counts.store(time, Ordering::SeqCst);
                }
            }),
        );
        println!("{}: {end:?}", case.name);
        assert!(occasions.load(Ordering::SeqCst) > 0, "{}: no occasion", case.name);
        let Err(BackendError::Keep { cause }) = end else { panic!("{}: {end:?}", case.name) };
        assert!(cause.contains(case.says), "{}: {cause}", case.name);
    }
}

/// The first answer in the place of the second: each is the firmware's own.
#[test]
fn an_answer_of_before_is_refused() {
    let Some(image) = image() else { return };
    let mut first = None;
    let end = run(
        &image,
        Box::new(move |moment| {
            if let Moment::Message(_, reply) = moment {
                match &first {
                    None => first = Some(*reply),
                    Some(first) => *reply = *first,
                }
            }
        }),
    );
    let Err(BackendError::Keep { cause }) = end else { panic!("{end:?}") };
    assert!(cause.contains("it was repeated"), "{cause}");
}

#[test]
fn a_keep_that_is_not_attacked_goes_on() {
    let Some(image) = image() else { return };
    assert_eq!(run(&image, Box::new(|_| {})).unwrap(), Report::Exited { code: 0 });
}

/// Keeps the first report.
struct Keeps(Arc<Mutex<Option<Box<[u8; 1184]>>>>);

impl EvidenceSource for Keeps {
    fn evidence(&mut self, claim: &Claim) -> Evidence {
        let Claim::SnpReport(report) = claim else { panic!("{claim:?}") };
        self.0.lock().unwrap().get_or_insert_with(|| report.clone());
        Echo.evidence(claim)
    }
}

/// Launches an image with these signatures; the report that it got, if it was launched.
fn launch_signed(image: &Image<'_>, signed: &SevSignature) -> Result<Box<[u8; 1184]>, String> {
    let report = Arc::new(Mutex::new(None));
    let mut refused = None;
    let mut running = None;
    let start = |mut spec: Spec| {
        spec.evidence = Some(Box::new(Keeps(Arc::clone(&report))));
        spec.events = Some(Box::new(|_| {}));
        spec.signatures = Some(Signatures {
            id_block: signed.id_block.clone(),
            id_auth: signed.id_auth.clone(),
            sigstruct: Vec::new(),
        });
        SnpSim::new().launch_image(image, spec)
    };
    match common::try_start("evidence", start) {
        Ok(keep) => running = Some(keep),
        Err(BackendError::Signature { code, .. }) => refused = Some(code.to_owned()),
        Err(error) => panic!("{error}"),
    }
    if let Some(code) = refused {
        return Err(code);
    }
    running.unwrap().finish();
    Ok(report.lock().unwrap().take().expect("it asked for one"))
}

#[test]
fn the_firmware_launches_what_was_signed_and_nothing_else() {
    let Some(image) = image() else { return };
    let plan = Plan::new(&image, Options::default()).unwrap();
    let measurement = plan.digest().unwrap().value();
    let block = |measurement, policy| IdBlock {
        measurement,
        family: [1; 16],
        image: [2; 16],
        svn: 3,
        policy,
    };
    let (author, id) = (SevKey::generate().unwrap(), SevKey::generate().unwrap());
    let sign = |block: &IdBlock, id: &SevKey| SevSignature {
        id_block: block.to_bytes().to_vec(),
        id_auth: id_auth(block, id, &sign_id_key(&author, id).unwrap()).unwrap(),
    };
    let keep = Policy::KEEP.bits();
    let good = block(measurement, keep);
    let report = launch_signed(&image, &sign(&good, &id)).unwrap();
    assert_eq!(report[0x90..0xc0], measurement);
    assert_eq!(report[0x0e0..0x110], id.digest());
    assert_eq!(report[0x110..0x140], author.digest());
    assert_eq!(
        (report[0x10..0x20].to_vec(), report[0x20..0x30].to_vec()),
        (vec![1; 16], vec![2; 16])
    );
    assert_eq!((report[4], report[8..16].to_vec()), (3, keep.to_le_bytes().to_vec()));

    let refused = |signed: &SevSignature, code: &str| {
        assert_eq!(launch_signed(&image, signed).unwrap_err(), code);
    };
    let mut other = measurement;
    other[0] ^= 1;
    refused(&sign(&block(other, keep), &id), "snp-launch.measurement");
    refused(&sign(&block(measurement, keep | 1 << 19), &id), "snp-launch.policy-debug");
    // The author signed another's ID key; the block was changed after it was signed.
    let stranger = SevKey::generate().unwrap();
    let (ours, theirs) = (sign(&good, &id).id_auth, sign(&good, &stranger).id_auth);
    let mixed = [&ours[..0x680], &theirs[0x680..]].concat();
    let id_block = good.to_bytes().to_vec();
    refused(&SevSignature { id_block: id_block.clone(), id_auth: mixed }, "snp-launch.signature");
    let mut changed = good.clone();
    changed.svn = 4;
    let id_block = changed.to_bytes().to_vec();
    refused(&SevSignature { id_block, id_auth: ours }, "snp-launch.signature");
}
