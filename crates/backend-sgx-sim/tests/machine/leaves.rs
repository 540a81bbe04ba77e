// SPDX-License-Identifier: Apache-2.0

//! Reports and keys.

use backend_sgx_sim::SgxSim;
use sgx_guest::enclu::{Enclu, ErrorCode};
use sgx_guest::exception::vector;
use sgx_guest::key::KeyRequest;
use sgx_guest::report::{Report, TargetInfo};

use crate::enclave::{
    self, Came, DATA, Pages, SHARED, Step, attributes, can, mrsigner, run, run_on, sim,
};

const TARGET: u64 = DATA;
const REPORT_DATA: u64 = DATA + 0x200;
const REPORT: u64 = DATA + 0x400;
const KEY: u64 = DATA + 0x600;
const ZERO: u64 = 1 << 6;

fn ereport(target: Vec<u8>) -> Vec<Step> {
    vec![
        Step::In(TARGET, target),
        Step::In(REPORT_DATA, vec![0x77; 64]),
        Step::Leaf(Enclu::Ereport as u64, [TARGET, REPORT_DATA, REPORT]),
        Step::Out(REPORT, 432),
    ]
}

fn egetkey(request: &KeyRequest) -> Vec<Step> {
    vec![
        Step::In(TARGET, request.to_bytes().to_vec()),
        Step::In(KEY, vec![0; 16]),
        Step::Leaf(Enclu::Egetkey as u64, [TARGET, KEY, 0]),
        Step::Out(KEY, 16),
    ]
}

fn report(came: &Came) -> Report {
    Report::from_bytes(came.bytes().try_into().unwrap()).unwrap()
}

fn own_report(sim: &SgxSim) -> Report {
    let (came, _) = run_on(sim, &[], ereport(vec![0; 512]));
    report(&came[3])
}

/// The quoting enclave's, as the host says it.
fn target(sim: &SgxSim) -> Vec<u8> {
    let steps =
        vec![Step::Exit([7, 0, 0, 0]), Step::Load(SHARED + 0x3000), Step::Load(SHARED + 0x3008)];
    let (came, _) = run_on(sim, &[], steps);
    assert_eq!(came[0].value(), 0);
    assert_ne!(came[1].value(), came[2].value());
    // All of it is copied inside by the next steps of the caller: here only its place is looked at.
    let mut steps: Vec<Step> = (0..64).map(|n| Step::Load(SHARED + 0x3000 + 8 * n)).collect();
    steps.insert(0, Step::Exit([7, 0, 0, 0]));
    let (came, _) = run_on(sim, &[], steps);
    came[1..].iter().flat_map(|came| came.value().to_le_bytes()).collect()
}

#[test]
fn a_report_says_who_the_enclave_is() {
    if !can() {
        return;
    }
    let sim = sim();
    let pages = Pages::new();
    let plan = pages.plan();
    let own = own_report(&sim);
    assert_eq!(own.body.measurement, plan.measure());
    assert_eq!(own.body.signer, mrsigner(&enclave::sign(&plan)));
    assert_eq!(own.body.attributes, attributes());
    assert_eq!((own.body.product, own.body.svn), (7, 3));
    assert_eq!(own.body.config_id, [0xc0; 64]);
    assert_eq!(own.body.data, [0x77; 64]);
    assert!(!sim.is_genuine(&own), "it was for nobody");
    let to_quote = target(&sim);
    assert!(TargetInfo::from_bytes(to_quote[..].try_into().unwrap()).is_ok());
    let (came, _) = run_on(&sim, &[], ereport(to_quote.clone()));
    let quoted = report(&came[3]);
    assert!(sim.is_genuine(&quoted));
    let mut forged = quoted;
    forged.body.config_id[0] ^= 1;
    assert!(!sim.is_genuine(&forged));
    assert!(!enclave::sim().is_genuine(&quoted), "another platform");
}

#[test]
fn a_report_key_is_for_the_target_alone() {
    if !can() {
        return;
    }
    let sim = sim();
    let own = own_report(&sim);
    let to_itself = TargetInfo::of(&own.body).to_bytes().to_vec();
    let mut steps = ereport(to_itself);
    let (came, _) = run_on(&sim, &[], steps.clone());
    let to_itself = report(&came[3]);
    steps.extend(egetkey(&KeyRequest::report(&to_itself)));
    let (came, _) = run_on(&sim, &[], steps);
    let key: [u8; 16] = came[7].bytes().try_into().unwrap();
    assert!(report(&came[3]).is_by(&key));
    assert!(!own.is_by(&key), "that one was for nobody");
}

#[test]
fn a_sealing_key_comes_back_and_depends_on_what_it_says() {
    if !can() {
        return;
    }
    let sim = sim().with_secret([5; 32]);
    let own = own_report(&sim).body;
    let keys = |sim: &SgxSim, ids: [u8; 2]| -> Vec<Vec<u8>> {
        let request = |id| KeyRequest::sealing(&own, [id; 32]).unwrap();
        let steps = ids.iter().flat_map(|id| egetkey(&request(*id))).collect();
        let (came, _) = run_on(sim, &[], steps);
        assert_eq!((came[2].value(), came[6].value()), (0, 0));
        [&came[3], &came[7]].map(|key| key.bytes().to_vec()).to_vec()
    };
    let first = keys(&sim, [1, 2]);
    assert_ne!(first[0], first[1]);
    assert_ne!(first[0], vec![0; 16]);
    assert_eq!(keys(&sim, [2, 1]), [first[1].clone(), first[0].clone()], "another launch");
    let other = enclave::sim().with_secret([6; 32]);
    assert_ne!(keys(&other, [1, 2])[0], first[0], "another platform");
    let same = enclave::sim().with_secret([5; 32]);
    assert_eq!(keys(&same, [1, 2]), first, "the same platform, started again");
}

#[test]
fn what_is_wrong_is_answered_as_a_processor_does() {
    if !can() {
        return;
    }
    let own = own_report(&sim()).body;
    let good = KeyRequest::sealing(&own, [1; 32]).unwrap();
    let late = KeyRequest { svn: own.svn + 1, ..good };
    let mut unknown = good.to_bytes();
    unknown[0] = 9;
    let mut reserved = good.to_bytes();
    reserved[100] = 1;
    let leaf = Enclu::Egetkey as u64;
    let came = run(vec![
        Step::In(TARGET, late.to_bytes().to_vec()),
        Step::Leaf(leaf, [TARGET, KEY, 0]),
        Step::In(TARGET, unknown.to_vec()),
        Step::Leaf(leaf, [TARGET, KEY, 0]),
        Step::In(TARGET, reserved.to_vec()),
        Step::Leaf(leaf, [TARGET, KEY, 0]),
        Step::Leaf(leaf, [TARGET + 64, KEY, 0]),
        Step::Leaf(leaf, [TARGET, KEY + 8, 0]),
        Step::Leaf(leaf, [SHARED, KEY, 0]),
        Step::Leaf(leaf, [TARGET, SHARED, 0]),
        Step::Leaf(leaf, [TARGET, enclave::CODE, 0]),
        Step::Leaf(Enclu::Ereport as u64, [TARGET, SHARED, REPORT]),
    ]);
    let answer = |at: usize| match came[at] {
        Came::Value([rax, flags, _]) => (rax, flags & ZERO != 0),
        ref other => panic!("{other:?}"),
    };
    assert_eq!(answer(1), (ErrorCode::InvalidIsvSvn.number(), true));
    assert_eq!(answer(3), (ErrorCode::InvalidKeyName.number(), true));
    for (at, came) in came.iter().enumerate().skip(5) {
        let expected = if at == 10 { vector::PF } else { vector::GP };
        assert_eq!(came.fault().0, expected, "{at}");
    }
}
