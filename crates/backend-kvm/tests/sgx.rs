// SPDX-License-Identifier: Apache-2.0

//! A host that is hostile to a Keep in an SGX enclave: the stand-in plays it, the kernel is the real one. Each
//! trick ends the Keep with a sentence, or changes nothing.
//!
//! And who the enclave is, and what is not launched.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use backend_sgx_sim::{Hostile, Trick};
use common::{Running, guest, sgx_sim};
use keep_backend::{Backend, BackendError, Claim, EvidenceSource, Program, Signatures, Spec};
use keep_image::Image;
use keep_launch::{Evidence, Platform, Report};
use launch_keys::SgxKey;
use sgx_guest::report::Report as Quoted;
use sgx_launch::image::{Enclave, THREADS};
use sgx_launch::sign::{self, Terms};

/// Longer than anything here takes on a machine that is busy with something else.
const LIMIT: Duration = Duration::from_secs(60);

/// Keeps the reports, and makes of each something that has its report data at the end.
#[derive(Default, Clone)]
struct Reports(Arc<Mutex<Vec<Quoted>>>);

impl EvidenceSource for Reports {
    fn evidence(&mut self, claim: &Claim) -> Evidence {
        let Claim::SgxReport(report) = claim else { panic!("{claim:?} is no report") };
        self.0.lock().unwrap().push(Quoted::from_bytes(report).unwrap());
        Evidence::Made {
            platform: Platform::Development,
            evidence: [&vec![0xee; 200_000], &claim.report_data()[..]].concat(),
            endorsements: Vec::new(),
        }
    }
}

fn image() -> Option<Image<'static>> {
    let guest = guest()?;
    if let Some(datum) = sgx_sim().probe().iter().find(|datum| !datum.pass) {
        println!("skipped: {datum:?}");
        return None;
    }
    Some(Image::build(keep_programs::KERNEL, guest).unwrap())
}

/// Runs a part of the program on a host with these tricks.
fn run(image: &Image<'_>, part: &str, tricks: &[Trick]) -> Result<Report, BackendError> {
    let mut keep = Running::start_by(part, |mut spec| {
        spec.evidence = Some(Box::new(Reports::default()));
        spec.events = Some(Box::new(|_| {}));
        let hostile = Hostile { tricks: tricks.to_vec(), liar: None };
        sgx_sim().launch_hostile(image, spec, hostile).unwrap()
    });
    let end = keep.end_within(LIMIT);
    drop(keep.rest());
    end
}

/// Whether a Keep ended by a sentence; false if nothing happened to it. Anything else is a failure.
fn refused(end: &Result<Report, BackendError>, about: &str) -> bool {
    match end {
        Ok(Report::Exited { code: 0 }) => false,
        Err(BackendError::Keep { cause }) if !cause.contains("machine") => true,
        Err(BackendError::OutOfMemory { .. }) => true,
        other => panic!("{about}: {other:?}"),
    }
}

#[test]
fn interrupts_at_any_moment_change_nothing() {
    let Some(image) = image() else { return };
    for (part, within, count) in [
        ("vectors", 20_000, 3000),
        ("memory", 20_000, 3000),
        ("raw", 3000, 1500),
        ("evidence", 9000, 2000),
    ] {
        let end = run(&image, part, &[Trick::Storm { within, count }, Trick::Registers]);
        assert!(!refused(&end, part), "{part}: {end:?}");
    }
}

#[test]
fn changes_that_the_host_did_not_make_are_noticed() {
    let Some(image) = image() else { return };
    type Which = fn(u64) -> Trick;
    let all: [(&str, Which); 3] = [
        ("restrict", Trick::SkipRestrict),
        ("trim", Trick::SkipTrim),
        ("remove", Trick::SkipRemove),
    ];
    for (name, trick) in all {
        let mut noticed = 0;
        for number in [0, 1, 3] {
            let end = run(&image, "memory", &[trick(number)]);
            println!("{name} {number}: {end:?}");
            noticed += u32::from(refused(&end, name));
        }
        // A page that was given up and is still there harms nobody: it cannot be used before it is gone.
        assert!(noticed > 0 || name == "remove", "{name}");
    }
}

#[test]
fn a_page_that_was_taken_ends_the_keep() {
    let Some(image) = image() else { return };
    let data = keep_layout::KERNEL_DATA;
    let stack = THREADS + keep_layout::enclave::BLOCK - 0x1000;
    let block = THREADS + keep_layout::enclave::BLOCK;
    for address in [data, stack, block] {
        for trick in [Trick::Take { doorbell: 2, address }, Trick::Replace { doorbell: 2, address }]
        {
            let end = run(&image, "evidence", &[trick]);
            println!("{trick:?}: {end:?}");
            // Nobody misses the start's stack later on.
            assert!(refused(&end, "taken") || address == stack, "{trick:?}: {end:?}");
        }
    }
}

#[test]
fn memory_that_the_host_does_not_give_is_missing() {
    let Some(image) = image() else { return };
    for number in [0, 100, 1000] {
        let end = run(&image, "memory", &[Trick::NoPages(number)]);
        println!("{number}: {end:?}");
        assert!(refused(&end, "no pages"), "{number}: {end:?}");
    }
}

#[test]
fn wrong_entries_and_answers_do_no_harm() {
    let Some(image) = image() else { return };
    for number in [0, 1, 2, 5, 9] {
        for trick in [
            Trick::Answer { operation: number, value: 1 },
            Trick::Answer { operation: number, value: u64::MAX },
            Trick::EnterForResume(number),
            Trick::ResumeForEnter(number),
        ] {
            let end = run(&image, "raw", &[trick, Trick::Registers]);
            println!("{trick:?}: {end:?}");
            let refused = refused(&end, "entry");
            assert!(refused || !matches!(trick, Trick::ResumeForEnter(0)), "{trick:?}");
        }
    }
}

#[test]
fn a_report_is_for_the_quoting_enclave_or_nobody() {
    let Some(image) = image() else { return };
    let end = run(&image, "evidence", &[Trick::WrongTarget]);
    assert!(!matches!(end, Ok(Report::Exited { code: 0 })), "{end:?}");
}

#[test]
fn the_report_says_what_was_measured_offline() {
    let Some(image) = image() else { return };
    let reports = Reports::default();
    let sim = sgx_sim().with_config_id([0x42; 64]);
    let source = reports.clone();
    Running::start_by("evidence", |mut spec| {
        spec.evidence = Some(Box::new(source));
        spec.events = Some(Box::new(|_| {}));
        sim.launch_image(&image, spec).unwrap()
    })
    .finish();
    let reports = reports.0.lock().unwrap();
    let measured = sim.measure_image(Program::Runtime, &image).unwrap().digest;
    for Quoted { body, .. } in reports.iter() {
        let digest: String = body.measurement.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, measured);
        assert_eq!(body.config_id, [0x42; 64]);
        assert!(body.attributes.check_keep().is_ok());
    }
    assert!(!reports.is_empty());
}

#[test]
fn only_what_was_signed_is_launched() {
    let Some(image) = image() else { return };
    let enclave = Enclave::new(&image);
    let plan = enclave.plan([0; 64]).unwrap();
    let key = SgxKey::from_pem(include_str!("../../backend-sgx-sim/src/signer.pem")).unwrap();
    let terms = Terms { date: 0x2026_0101, svn: 9, ..Terms::default() };
    let good = sign::describe(&plan, &terms).unwrap();
    let launch = |spec: Spec, sigstruct: Vec<u8>| {
        let signatures = Signatures { id_block: Vec::new(), id_auth: Vec::new(), sigstruct };
        sgx_sim().launch_image(&image, Spec { signatures: Some(signatures), ..spec })
    };
    let sigstruct = key.sign(&good).unwrap();
    Running::start_by("memory", |spec| launch(spec, sigstruct.clone()).unwrap()).finish();
    let mut other = good.clone();
    other.measurement[0] ^= 1;
    let mut debug = good.clone();
    debug.attributes.0[0] |= 2;
    let mut open = good;
    open.attributes.1[0] &= !2;
    let mut forged = sigstruct;
    forged[600] ^= 1;
    for (sigstruct, expected) in [
        (key.sign(&other).unwrap(), "sgx.measurement"),
        (key.sign(&debug).unwrap(), "sgx.debug"),
        (key.sign(&open).unwrap(), "sgx.signature-open"),
        (forged, "sgx.signature"),
        (vec![0; 10], "sgx.sigstruct"),
    ] {
        let started = common::try_start("memory", |spec| launch(spec, sigstruct));
        match started.map(drop) {
            Err(BackendError::Signature { code, .. }) => assert_eq!(code, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
}
