// SPDX-License-Identifier: Apache-2.0

//! Keys for sealing, as the kernel gets them from a platform: the real kernel on the stand-ins, which play the
//! processors' part. Nothing of it has run on hardware.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;

use std::time::Duration;

use backend_snp_sim::{Attack, Moment, SnpSim};
use common::{Place, Running, guest, on_all};
use keep_backend::{Backend, BackendError, Claim, EvidenceSource, Spec};
use keep_image::Image;
use keep_launch::Evidence;

/// Longer than anything here takes on a machine that is busy with something else.
const LIMIT: Duration = Duration::from_secs(60);

/// A machine with this secret.
struct Machine(Option<[u8; 32]>);

impl EvidenceSource for Machine {
    fn evidence(&mut self, _: &Claim) -> Evidence {
        Evidence::Refused { message: "nobody asks".to_owned() }
    }

    fn machine_secret(&self) -> Option<[u8; 32]> {
        self.0
    }
}

fn on(secret: Option<[u8; 32]>) -> impl FnOnce(&mut Spec) {
    move |spec| spec.evidence = Some(Box::new(Machine(secret)))
}

/// What the program says of its key.
fn key(mut keep: Running) -> String {
    let said = keep.line();
    keep.finish();
    said
}

#[test]
fn a_key_is_that_of_the_machine() {
    on_all(|place| {
        let key_on = |secret| key(Running::start_with(place, "sealing", on(secret)));
        let first = key_on(Some([1; 32]));
        if matches!(place, Place::Nil | Place::Kvm) {
            assert_eq!(first, "none", "the host sees everything");
            return;
        }
        assert_ne!(first, "none");
        assert_eq!(key_on(Some([1; 32])), first);
        assert_ne!(key_on(Some([2; 32])), first, "another machine");
        assert_ne!(key_on(None), key_on(None), "secrets of the moment");
    });
}

/// The test program, and the same with one bit changed where it makes no difference.
fn programs() -> Option<[Vec<u8>; 2]> {
    let program = guest()?.to_vec();
    let mut other = program.clone();
    let words = b"what is ";
    let at = other.windows(words.len()).position(|part| part == words).expect("a message of it");
    other[at] ^= 1;
    Some([program, other])
}

#[test]
fn a_key_is_that_of_the_image() {
    let Some(programs) = programs() else { return };
    let keys =
        |launch: &dyn Fn(&Image<'_>, Spec) -> Result<keep_backend::Launched, BackendError>| {
            programs.each_ref().map(|program| {
                let image = Image::build(keep_programs::KERNEL, program).unwrap();
                key(Running::start_by("sealing", |mut spec| {
                    on(Some([1; 32]))(&mut spec);
                    launch(&image, spec).unwrap()
                }))
            })
        };
    if SnpSim::new().probe().iter().all(|datum| datum.pass) {
        let [first, second] = keys(&|image, spec| SnpSim::new().launch_image(image, spec));
        assert_ne!(first, second, "on the stand-in for SEV-SNP");
    } else {
        println!("skipped on the stand-in for SEV-SNP: it does not work here");
    }
    if common::sgx_sim().probe().iter().all(|datum| datum.pass) {
        let [first, second] = keys(&|image, spec| common::sgx_sim().launch_image(image, spec));
        assert_ne!(first, second, "on the stand-in for SGX");
    } else {
        println!("skipped on the stand-in for SGX: it does not work here");
    }
}

#[test]
fn a_key_that_was_touched_on_its_way_ends_the_keep() {
    let Some(program) = guest() else { return };
    if let Some(datum) = SnpSim::new().probe().iter().find(|datum| !datum.pass) {
        println!("skipped: {datum:?}");
        return;
    }
    let image = Image::build(keep_programs::KERNEL, program).unwrap();
    let run = |attack: Attack| {
        let mut keep = Running::start_by("sealing", |mut spec| {
            on(Some([1; 32]))(&mut spec);
            SnpSim::new().launch_attacked(&image, spec, attack).unwrap()
        });
        let end = keep.end_within(LIMIT);
        assert!(end.is_ok() || keep.rest().is_empty(), "it prints nothing");
        end
    };
    let says = |end: Result<keep_launch::Report, BackendError>, words: &str| {
        let Err(BackendError::Keep { cause }) = end else { panic!("{words}: {end:?}") };
        assert!(cause.contains(words), "{cause}");
    };
    // The first key once more, in place of the second.
    let mut first = None;
    let end = run(Box::new(move |moment| {
        if let Moment::Message(_, reply) = moment {
            let first = first.get_or_insert(*reply);
            *reply = *first;
        }
    }));
    says(end, "it was repeated");
    let end = run(Box::new(|moment| {
        if let Moment::Message(_, reply) = moment {
            reply[0x90] ^= 1;
        }
    }));
    says(end, "was changed on its way");
    let end = run(Box::new(|moment| {
        if let Moment::Message(_, reply) = moment {
            reply.fill(0);
        }
    }));
    says(end, "the way to the firmware");
    assert!(run(Box::new(|_| {})).is_ok());
}
