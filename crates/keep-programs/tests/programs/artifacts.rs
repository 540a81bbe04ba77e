// SPDX-License-Identifier: Apache-2.0

//! What lies between the two programs is in the enemy's hands.

use keep_launch::{Compile, Refusal};

use crate::host::{SEED, Workload, compile, compile_with};

const NOTHING: &str = r#"(module (func (export "_start")))"#;

#[test]
fn compiling_is_deterministic() {
    let module = crate::running::HELLO.as_bytes();
    let (_, one) = compile(module);
    assert_eq!(one, compile(module).1);
    let (_, parallel) = compile_with(module, Compile { signing_key: SEED, threads: 2 });
    assert_eq!(one, parallel, "the number of threads is no part of the artifact");
}

#[test]
fn a_changed_artifact_never_runs() {
    let mut workload = Workload::new(NOTHING);
    let sound = workload.artifact.clone();
    assert_eq!(workload.run().code(), 0);
    for at in [0, 40, 170, 4000, 4096, sound.len() / 2, sound.len() - 1] {
        workload.artifact.clone_from(&sound);
        workload.artifact[at] ^= 1;
        let ended = workload.run();
        let (reason, _) = ended.refusal();
        assert_eq!(reason, Refusal::Artifact, "byte {at}: {ended:?}");
    }
    for len in [0, 1, 100, 4096, sound.len() - 1] {
        workload.artifact = sound[..len].to_vec();
        let ended = workload.run();
        assert_eq!(ended.refusal(), (Refusal::Artifact, "the artifact is truncated"));
    }
    workload.artifact = [&sound[..], &[0]].concat();
    assert_eq!(workload.run().refusal().0, Refusal::Artifact);
}

#[test]
fn a_foreign_artifact_never_runs() {
    let mut workload = Workload::new(NOTHING);
    workload.launch.compiler_keys = vec![[1; 32], keep_artifact::public_key(&[1; 32])];
    let ended = workload.run();
    let (reason, message) = ended.refusal();
    assert_eq!(reason, Refusal::Artifact);
    assert!(message.contains("not accepted"), "{message}");
    workload.launch.compiler_keys.clear();
    assert_eq!(workload.run().refusal().0, Refusal::Artifact);
}

#[test]
fn a_sound_artifact_of_another_module_is_a_mismatch() {
    let mut workload = Workload::new(NOTHING);
    workload.launch.module_digest[0] ^= 1;
    assert_eq!(
        workload.run().refusal(),
        (Refusal::Mismatch, "the artifact was made from another module")
    );
}

#[test]
fn a_sound_artifact_of_another_engine_is_a_mismatch() {
    use keep_artifact::{Claims, HEADER_LEN, Isa, Kind, sign};
    let mut workload = Workload::new(NOTHING);
    let code = workload.artifact[HEADER_LEN..].to_vec();
    let isa = Isa::current().expect("known");
    let engine = workload.artifact[64..96].try_into().expect("the identity");
    let mut claims =
        Claims { kind: Kind::Module, module: workload.launch.module_digest, engine, isa, cpu: 0 };
    let mut run = |claims: &Claims| {
        workload.artifact = [&sign(&SEED, claims, &code)[..], &code].concat();
        workload.run()
    };
    assert_eq!(run(&claims).code(), 0);
    claims.cpu = 1 << 63;
    let ended = run(&claims);
    let (reason, message) = ended.refusal();
    assert_eq!(reason, Refusal::Mismatch);
    assert!(message.contains("this processor lacks"), "{message}");
    claims.cpu = 0;
    claims.engine[0] ^= 1;
    assert_eq!(run(&claims).refusal().0, Refusal::Mismatch);
}
