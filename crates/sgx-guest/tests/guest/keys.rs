// SPDX-License-Identifier: Apache-2.0

//! Reports' MACs against OpenSSL, and what keys are bound to.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use proptest::prelude::*;
use sgx_guest::LayoutError;
use sgx_guest::attributes::{Attributes, KEEP_MISC, flag};
use sgx_guest::key::{Kept, KeyName, KeyRequest, policy};
use sgx_guest::report::{Report, ReportBody};

fn body() -> ReportBody {
    ReportBody {
        cpu_svn: [1; 16],
        misc_select: KEEP_MISC,
        cet: 0,
        ext_product: [0; 16],
        attributes: Attributes { flags: Attributes::KEEP.flags | flag::INIT, ..Attributes::KEEP },
        measurement: [2; 32],
        signer: [3; 32],
        config_id: [4; 64],
        product: 5,
        svn: 6,
        config_svn: 7,
        family: [8; 16],
        data: [9; 64],
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[test]
fn a_report_has_the_mac_that_openssl_makes() {
    let key: [u8; 16] = std::array::from_fn(|at| at as u8 * 7);
    let report = Report::new(body(), [10; 32], &key);
    let path = std::env::temp_dir().join(format!("sgx-guest-report-{}", std::process::id()));
    fs::write(&path, &report.to_bytes()[..384]).unwrap();
    let arguments = ["mac", "-cipher", "AES-128-CBC", "-macopt"];
    let made = Command::new("openssl")
        .args(arguments)
        .arg(format!("hexkey:{}", hex(&key)))
        .arg("-in")
        .arg(&path)
        .arg("CMAC")
        .output();
    fs::remove_file(&path).unwrap();
    let Ok(made) = made else {
        println!("skipped: openssl is not installed");
        return;
    };
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let made = String::from_utf8(made.stdout).unwrap().trim().to_lowercase();
    assert_eq!(made, hex(&report.mac));
}

#[test]
fn only_the_target_can_check_a_report() {
    let key = [11; 16];
    let report = Report::new(body(), [10; 32], &key);
    assert!(report.is_by(&key));
    assert!(!report.is_by(&[12; 16]));
    assert_eq!(Report::from_bytes(&report.to_bytes()), Ok(report));
    for at in (0..432).filter(|at| !(384..416).contains(at)) {
        let mut bytes = report.to_bytes();
        bytes[at] ^= 1;
        // Reserved bytes are refused before.
        assert!(!Report::from_bytes(&bytes).is_ok_and(|report| report.is_by(&key)), "{at}");
    }
    let request = KeyRequest::report(&report);
    assert_eq!((request.name, request.key_id), (KeyName::Report, [10; 32]));
    let bytes = request.to_bytes();
    assert_eq!((bytes[0], bytes[40], bytes[1]), (3, 10, 0));
}

#[test]
fn a_keep_asks_for_the_sealing_key_and_no_other() {
    let own = Report::new(body(), [10; 32], &[11; 16]);
    for number in [0, 1, 0xff] {
        let mut key_id = [0; 32];
        key_id[0] = number;
        let wanted = KeyRequest::sealing(&own.body, key_id).unwrap();
        assert_eq!(sgx_guest::seal::request(&own.to_bytes(), number), wanted.to_bytes());
    }
}

#[test]
fn a_sealing_key_is_bound_to_the_measurement_and_the_workload() {
    let request = KeyRequest::sealing(&body(), [13; 32]).unwrap();
    assert_eq!(request.name, KeyName::Seal);
    let bound = policy::MRENCLAVE | policy::CONFIGID;
    assert_eq!(request.policy, bound);
    assert_eq!(request.attribute_mask, Attributes::ALL);
    assert_eq!(request.misc_mask, u32::MAX);
    let bytes = request.to_bytes();
    let expected: Vec<u8> =
        [&[4, 0, 0b1001, 0, 6, 0, 0, 0][..], &[1; 16], &[0xff; 16], &[13; 32], &[0xff; 4], &[7, 0]]
            .concat();
    assert_eq!(bytes[..78], expected);
    assert!(bytes[78..].iter().all(|byte| *byte == 0));
    assert_eq!(KeyRequest::from_bytes(&bytes), Ok(request));
    assert!(request.fits(flag::KSS) && !request.fits(flag::MODE64BIT));
}

#[test]
fn an_enclave_that_is_no_keep_seals_nothing() {
    for flags in [flag::DEBUG, flag::PROVISION_KEY, flag::EINITTOKEN_KEY, flag::KSS] {
        let mut other = body();
        other.attributes.flags ^= flags;
        assert!(KeyRequest::sealing(&other, [0; 32]).is_err(), "{flags:#x}");
    }
    let mut other = body();
    other.attributes.xfrm = 3;
    assert!(KeyRequest::sealing(&other, [0; 32]).is_err());
}

#[test]
fn what_is_kept_beside_sealed_bytes_cannot_loosen_the_key() {
    let first = KeyRequest::sealing(&body(), [13; 32]).unwrap();
    let mut later = body();
    (later.cpu_svn, later.svn, later.config_svn) = ([9; 16], 60, 70);
    assert_eq!(KeyRequest::again(&later, &first.kept()), Ok(first));
    let now = KeyRequest::sealing(&later, [13; 32]).unwrap();
    assert_ne!(now, first);
    let kept = Kept { key_id: [0xff; 32], cpu_svn: [0; 16], svn: 0, config_svn: 0 };
    let loose = KeyRequest::again(&later, &kept).unwrap();
    let bound = (loose.policy, loose.attribute_mask, loose.misc_mask, loose.name);
    assert_eq!(bound, (first.policy, first.attribute_mask, first.misc_mask, first.name));
}

#[test]
fn requests_that_mean_nothing_are_refused() {
    let good = KeyRequest::sealing(&body(), [13; 32]).unwrap().to_bytes();
    for (at, error) in [
        (0, LayoutError::Field("KEYREQUEST.KEYNAME")),
        (1, LayoutError::Field("KEYREQUEST.KEYNAME")),
        (3, LayoutError::Reserved("KEYREQUEST")),
        (7, LayoutError::Reserved("KEYREQUEST")),
        (78, LayoutError::Reserved("KEYREQUEST")),
        (511, LayoutError::Reserved("KEYREQUEST")),
    ] {
        let mut bytes = good;
        bytes[at] |= 0x41;
        assert_eq!(KeyRequest::from_bytes(&bytes), Err(error), "{at}");
    }
}

proptest! {
    #[test]
    fn requests_are_read_as_they_were_written(
        name in 0_u16..5, policy in 0_u16..64, svn: u16, cet_mask: u8, cpu_svn: [u8; 16],
        mask: [u8; 16], key_id: [u8; 32], misc_mask: u32, config_svn: u16,
    ) {
        let request = KeyRequest {
            name: KeyName::from_number(name).unwrap(), policy, svn, cet_mask, cpu_svn,
            attribute_mask: Attributes::from_bytes(mask), key_id, misc_mask, config_svn,
        };
        prop_assert_eq!(KeyRequest::from_bytes(&request.to_bytes()), Ok(request));
    }
}
