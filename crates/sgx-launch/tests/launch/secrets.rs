// SPDX-License-Identifier: Apache-2.0

//! Who gets which key: sealing keys stay with the enclave and its workload, reports with their target.

use sgx_guest::attributes::{Attributes, flag};
use sgx_guest::enclu::ErrorCode;
use sgx_guest::key::{KeyName, KeyRequest, policy};
use sgx_guest::report::TargetInfo;
use sgx_launch::epcm::Refused;
use sgx_launch::keys::{Dependencies, egetkey, ereport};
use sgx_launch::{Identity, Secs};
use sha2::{Digest as _, Sha256};

const CPU: [u8; 16] = [5; 16];

fn identity() -> Identity {
    Identity {
        secs: Secs::keep(0, 0x1_0000, [1; 64]).unwrap(),
        measurement: [2; 32],
        signer: [3; 32],
        product: 4,
        svn: 5,
        family: [6; 16],
        ext_product: [7; 16],
    }
}

/// A platform's secret.
fn derive(dependencies: &Dependencies) -> [u8; 16] {
    let mut hash = Sha256::new_with_prefix(b"a secret");
    hash.update(dependencies.to_bytes());
    *hash.finalize().first_chunk().unwrap()
}

fn request(identity: &Identity) -> KeyRequest {
    KeyRequest::sealing(&identity.report(CPU, [0; 64]), [8; 32]).unwrap()
}

fn key(identity: &Identity, request: &KeyRequest) -> Result<[u8; 16], Refused> {
    egetkey(identity, CPU, &request.to_bytes()).map(|dependencies| derive(&dependencies))
}

#[test]
fn a_sealing_key_is_the_enclaves_own() {
    let own = identity();
    let sealing = request(&own);
    let sealed = key(&own, &sealing);
    assert_eq!(key(&own, &sealing), sealed);
    let mut others = [own; 7];
    others[0].measurement = [9; 32];
    others[1].secs.config_id = [9; 64];
    others[2].product = 9;
    others[3].secs.attributes.flags |= flag::DEBUG;
    others[4].secs.attributes.xfrm = 3;
    others[5].secs.misc_select = 0;
    others[6].secs.attributes.flags |= flag::AEX_NOTIFY;
    // With the very same request.
    for other in others {
        let theirs = key(&other, &sealing);
        assert!(theirs.is_ok() && theirs != sealed, "{other:x?}");
    }
    assert_ne!(key(&own, &KeyRequest { key_id: [9; 32], ..sealing }), sealed);
    // Who signed counts for nothing: that may be a key of the moment.
    assert_eq!(key(&Identity { signer: [9; 32], ..own }, &sealing), sealed);
    // The base counts for nothing: the host chooses it.
    let moved = Identity { secs: Secs { base: 0x1_0000, ..own.secs }, ..own };
    assert_eq!(key(&moved, &sealing), sealed);
}

/// Even an enclave that asks for nothing in particular does not get it under debug.
#[test]
fn a_key_depends_on_debug_whatever_the_mask() {
    let own = identity();
    let mut debug = own;
    debug.secs.attributes.flags |= flag::DEBUG;
    let loose = KeyRequest {
        policy: policy::MRSIGNER,
        attribute_mask: Attributes::default(),
        misc_mask: 0,
        ..request(&own)
    };
    assert_ne!(key(&debug, &loose), key(&own, &loose));
    // Bound to the signer alone, another enclave of the same signer has it: that is why ours are not.
    let other = Identity { measurement: [9; 32], ..own };
    assert_eq!(key(&other, &loose), key(&own, &loose));
}

#[test]
fn older_keys_can_be_had_again_and_newer_ones_cannot() {
    let own = identity();
    let sealing = request(&own);
    let sealed = key(&own, &sealing);
    let mut later = own;
    (later.svn, later.secs.config_svn) = (50, 60);
    let report = later.report([6; 16], [0; 64]);
    let again = KeyRequest::again(&report, &sealing.kept()).unwrap();
    let found = egetkey(&later, [6; 16], &again.to_bytes()).map(|found| derive(&found));
    assert_eq!(found, sealed);
    let new = KeyRequest::sealing(&report, [8; 32]).unwrap();
    let cpu = Err(Refused::Error(ErrorCode::InvalidCpuSvn));
    let isv = Err(Refused::Error(ErrorCode::InvalidIsvSvn));
    assert_eq!(key(&own, &new), cpu);
    let mut one = CPU;
    one[15] += 1;
    assert_eq!(key(&own, &KeyRequest { cpu_svn: one, ..sealing }), cpu);
    assert_eq!(key(&own, &KeyRequest { svn: 6, ..sealing }), isv);
    assert_eq!(key(&own, &KeyRequest { config_svn: 1, ..sealing }), isv);
}

#[test]
fn requests_that_are_not_for_this_enclave_are_refused() {
    let own = identity();
    let sealing = request(&own);
    for name in [KeyName::EinitToken, KeyName::Provision, KeyName::ProvisionSeal] {
        let refused = Err(Refused::Error(ErrorCode::InvalidAttribute));
        assert_eq!(key(&own, &KeyRequest { name, ..sealing }), refused);
    }
    let mut plain = own;
    plain.secs.attributes.flags = flag::MODE64BIT;
    assert_eq!(key(&plain, &sealing), Err(Refused::Protection));
    let fine = KeyRequest { policy: policy::MRENCLAVE, config_svn: 0, ..sealing };
    assert!(key(&plain, &fine).is_ok());
    let mut bytes = sealing.to_bytes();
    bytes[0] = 9;
    let unknown = Err(Refused::Error(ErrorCode::InvalidKeyName));
    assert_eq!(egetkey(&own, CPU, &bytes), unknown);
    bytes = sealing.to_bytes();
    bytes[500] = 1;
    assert_eq!(egetkey(&own, CPU, &bytes), Err(Refused::Protection));
}

#[test]
fn a_report_is_for_its_target() {
    let (own, target) = (identity(), Identity { measurement: [9; 32], ..identity() });
    let info = TargetInfo::of(&target.report(CPU, [0; 64]));
    let report = ereport(&own, CPU, &info, [10; 64], [11; 32], derive);
    assert_eq!((report.body.data, report.body.measurement), ([10; 64], [2; 32]));
    let theirs = key(&target, &KeyRequest::report(&report)).unwrap();
    assert!(report.is_by(&theirs));
    // Not the enclave itself, not the target under debug or with another workload.
    let mut others = [own, target, target];
    others[1].secs.attributes.flags |= flag::DEBUG;
    others[2].secs.config_id = [12; 64];
    for other in others {
        let wrong = key(&other, &KeyRequest::report(&report)).unwrap();
        assert!(!report.is_by(&wrong));
    }
}
