// SPDX-License-Identifier: Apache-2.0

//! What is refused before there is a machine.

use keep_backend::Backend;
use launch_keys::{IdBlock, SevKey, id_auth, sign_id_key};
use snp_launch::Policy;

use super::*;
use crate::Snp;

fn spec(signatures: Option<Signatures>) -> Spec {
    let run = Launch::Compile(keep_launch::Compile { signing_key: [1; 32], threads: 1 });
    Spec {
        program: Program::Runtime,
        launch: run.encode(),
        input: File::open("/dev/null").unwrap(),
        output: None,
        stdio: [None, None, None],
        seeds: Vec::new(),
        memory: 1 << 30,
        processors: 1,
        evidence: None,
        events: None,
        network: None,
        signatures,
    }
}

fn signed(policy: u64, change: impl Fn(&mut IdBlock, &mut Vec<u8>)) -> Signatures {
    let options = Options { c_bit: probe::c_bit(), ..Options::default() };
    let (_, digest) = plan(Program::Runtime, options).unwrap();
    let (author, id) = (SevKey::generate().unwrap(), SevKey::generate().unwrap());
    let (family, image, svn) = ([0; 16], [0; 16], 3);
    let mut block = IdBlock { measurement: digest.value(), family, image, svn, policy };
    let mut auth = id_auth(&block, &id, &sign_id_key(&author, &id).unwrap()).unwrap();
    change(&mut block, &mut auth);
    Signatures { id_block: block.to_bytes(), id_auth: auth, sigstruct: Vec::new() }
}

fn code(signatures: Signatures) -> &'static str {
    match Snp::new().launch(spec(Some(signatures))) {
        Err(BackendError::Signature { code, .. }) => code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_not_signed_is_not_launched() {
    let keep = Policy::KEEP.bits();
    assert_eq!(code(signed(keep, |block, _| block.measurement[0] ^= 1)), "snp-launch.signature");
    // A block of another image, signed as it is.
    let mut other = signed(keep, |_, _| {});
    let (author, id) = (SevKey::generate().unwrap(), SevKey::generate().unwrap());
    let mut block = IdBlock::from_bytes(&other.id_block).unwrap();
    block.measurement[0] ^= 1;
    other.id_block = block.to_bytes();
    other.id_auth = id_auth(&block, &id, &sign_id_key(&author, &id).unwrap()).unwrap();
    assert_eq!(code(other), "snp-launch.measurement");
    // The author's signature, over another ID key (0x680 and on in `ID_AUTH_INFO`: AUTHOR_SIG, AUTHOR_KEY).
    assert_eq!(code(signed(keep, |_, auth| auth[0x680] ^= 1)), "snp-launch.signature");
    assert_eq!(code(signed(keep | 1 << 19, |_, _| {})), "snp-launch.policy-debug");
    assert_eq!(code(signed(keep | 1 << 18, |_, _| {})), "snp-launch.policy-migration");
    let mut short = signed(keep, |_, _| {});
    short.id_block.pop();
    assert_eq!(code(short), "snp-launch.signature-malformed");
    let mut short = signed(keep, |_, _| {});
    short.id_auth.pop();
    assert_eq!(code(short), "snp-launch.signature-malformed");
}

#[test]
fn what_was_signed_gets_as_far_as_the_machine() {
    let data = Snp::new().probe();
    if data.iter().all(|datum| datum.pass) {
        println!("skipped: this machine has SEV-SNP, so it would be launched");
        return;
    }
    let launched = Snp::new().launch(spec(Some(signed(Policy::KEEP.bits(), |_, _| {}))));
    assert!(
        matches!(launched, Err(BackendError::Unavailable { .. } | BackendError::Host { .. })),
        "{launched:?}"
    );
}

#[test]
fn the_author_s_key_is_announced_if_there_is_one() {
    let signatures = signed(Policy::KEEP.bits(), |_, _| {});
    let (_, digest) =
        plan(Program::Runtime, Options { c_bit: probe::c_bit(), ..Options::default() }).unwrap();
    let parameters = parameters([5; 32], Some(&signatures), &digest.value()).unwrap();
    let finish = request::finish_request(&parameters);
    assert_eq!((finish.id_block_en, finish.auth_key_en, finish.host_data), (1, 1, [5; 32]));
}

#[test]
fn requests_have_the_kernel_s_numbers() {
    use kvm_bindings::{KVMIO, kvm_memory_attributes, kvm_userspace_memory_region2};
    let request = |direction: u32, size: usize, number: u32| {
        direction << 30 | (size as u32) << 16 | KVMIO << 8 | number
    };
    let slot = request(1, size_of::<kvm_userspace_memory_region2>(), 0x49);
    let attributes = request(1, size_of::<kvm_memory_attributes>(), 0xd2);
    assert_eq!(IOCTLS, [request(0, 0, 0x80), slot, attributes, request(1, 4, 0x86)]);
}

#[test]
fn the_measurement_is_the_plan_s() {
    let measured = Snp::new().measure(Program::Runtime).unwrap();
    assert_eq!(
        (measured.digest.len(), measured.algorithm.as_str()),
        (96, "sha384/snp-launch-digest")
    );
}
