// SPDX-License-Identifier: Apache-2.0

//! What is refused before there is a machine.

use std::sync::OnceLock;

use keep_backend::Backend;
use sgx_guest::attributes::{Attributes, flag};

use super::*;
use crate::Sgx;

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

/// A signature over the runtime's enclave, or what a test makes of it, by some key.
fn signed(change: impl Fn(&mut launch_keys::Enclave)) -> Signatures {
    let image = image(Program::Runtime).unwrap();
    let enclave = Enclave::new(&image);
    let plan = plan(&enclave, Program::Runtime, [0; 32]).unwrap();
    let terms = Terms { date: today(), svn: 2, ..Terms::default() };
    let mut described = sign::describe(&plan, &terms).unwrap();
    change(&mut described);
    // One for all tests: it takes seconds to make one.
    static KEY: OnceLock<SgxKey> = OnceLock::new();
    let key = KEY.get_or_init(|| SgxKey::generate().unwrap());
    let sigstruct = key.sign(&described).unwrap();
    Signatures { id_block: Vec::new(), id_auth: Vec::new(), sigstruct }
}

fn launch(signatures: Option<Signatures>) -> BackendError {
    Sgx::new("nothing").launch(spec(signatures)).unwrap_err()
}

fn code(signatures: Signatures) -> &'static str {
    match launch(Some(signatures)) {
        BackendError::Signature { code, .. } => code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_not_signed_is_not_launched() {
    assert_eq!(code(signed(|enclave| enclave.measurement[0] ^= 1)), "sgx.measurement");
    let debug = |enclave: &mut launch_keys::Enclave| {
        let mut attributes = Attributes::KEEP;
        attributes.flags |= flag::DEBUG;
        enclave.attributes.0 = attributes.to_bytes();
    };
    assert_eq!(code(signed(debug)), "sgx.debug");
    assert_eq!(code(signed(|enclave| enclave.attributes.1[0] ^= 2)), "sgx.signature-open");
    let mut changed = signed(|_| {});
    // ISVSVN, which is signed.
    changed.sigstruct[1026] ^= 1;
    assert_eq!(code(changed), "sgx.signature");
    let mut short = signed(|_| {});
    short.sigstruct.pop();
    assert_eq!(code(short), "sgx.sigstruct");
}

#[test]
fn what_was_signed_gets_as_far_as_the_machine() {
    if std::path::Path::new(numbers::DEVICE).exists() {
        println!("skipped: this machine has SGX, so it would be launched");
        return;
    }
    for signatures in [Some(signed(|_| {})), None] {
        let error = launch(signatures);
        assert!(matches!(&error, BackendError::Unavailable { .. }), "{error:?}");
    }
}

#[test]
fn days_are_those_of_the_calendar() {
    for (days, date) in [
        (0, (1970, 1, 1)),
        (58, (1970, 2, 28)),
        (59, (1970, 3, 1)),
        (11_016, (2000, 2, 29)),
        (20_779, (2026, 11, 22)),
        (47_540, (2100, 2, 28)),
        (47_541, (2100, 3, 1)),
    ] {
        assert_eq!(civil(days), date, "{days}");
    }
    assert!(today() >= 0x2024_0101);
}

#[test]
fn the_measurement_is_the_plan_s() {
    let measured = Sgx::new("nothing").measure(Program::Runtime).unwrap();
    assert_eq!((measured.digest.len(), measured.algorithm.as_str()), (64, "sha256/mrenclave"));
}

#[test]
fn a_block_is_the_same_for_both() {
    use std::os::unix::fs::FileExt;
    let block = Block::new().unwrap();
    block.window().write(sgx_run::TARGET, &[5; 16]);
    let mut read = [0; 16];
    block.file.read_exact_at(&mut read, sgx_run::TARGET as u64).unwrap();
    assert_eq!(read, [5; 16]);
    assert_eq!(block.file.metadata().unwrap().len(), SHARED_SIZE);
}

/// A carrier that is none: it reads the setup and ends.
#[test]
fn a_process_that_is_no_carrier_is_noticed() {
    let block = Block::new().unwrap();
    let (socket, theirs) = UnixStream::pair().unwrap();
    let none = (PathBuf::from("/bin/true"), Vec::new());
    let mut child = start(Some(&none), theirs, &block).unwrap();
    let setup = Setup { program: Program::Runtime, config_id: [0; 64], signature: [0; SIGSTRUCT] };
    let error = ready(&socket, &setup, 2, &mut child).unwrap_err();
    assert!(matches!(&error, BackendError::Host { .. }), "{error:?}");
}

/// Not a test: the carrier of the next one.
#[test]
#[ignore = "it is started by another test"]
fn carrier_of_a_test() {
    let _ = crate::carry();
}

#[test]
fn a_carrier_says_what_it_lacks() {
    if std::path::Path::new(numbers::DEVICE).exists() {
        println!("skipped: this machine has SGX, so it would be launched");
        return;
    }
    let arguments = ["--exact", "keep::tests::carrier_of_a_test", "--ignored", "--nocapture"];
    let own = (std::env::current_exe().unwrap(), arguments.map(OsString::from).to_vec());
    let said = |signature| {
        let block = Block::new().unwrap();
        let (socket, theirs) = UnixStream::pair().unwrap();
        let mut child = start(Some(&own), theirs, &block).unwrap();
        let setup = Setup { program: Program::Runtime, config_id: [0; 64], signature };
        match ready(&socket, &setup, 7, &mut child) {
            Err(BackendError::Host { source, .. }) => source.to_string(),
            other => panic!("{other:?}"),
        }
    };
    // It does not believe whoever started it.
    let bad = said([0; SIGSTRUCT]);
    assert!(bad.contains("signature") || bad.contains("SIGSTRUCT"), "{bad}");
    let good = said(signed(|_| {}).sigstruct.try_into().unwrap());
    assert!(good.contains("SGX") || good.contains("/dev/sgx_enclave"), "{good}");
}
