// SPDX-License-Identifier: Apache-2.0

//! What is not launched.

use backend_sgx_sim::{Hostile, Launch};
use keep_backend::{Backend as _, BackendError};
use launch_keys::Enclave;
use sgx_guest::attributes::flag;
use sgx_launch::sign::{self, Terms};
use sgx_launch::{Plan, Secs};

use crate::enclave::{Pages, THREAD, can, key, mappings, sign, sim, spec};

fn refused(launch: Launch<'_>) -> String {
    match sim().launch_enclave(launch, spec(), Hostile::default()) {
        Err(BackendError::Image { problem, .. }) => problem,
        other => panic!("{other:?}"),
    }
}

/// The plan with another control structure.
fn again<'a>(plan: &Plan<'a>, change: impl FnOnce(&mut Secs)) -> Plan<'a> {
    let mut secs = *plan.secs();
    change(&mut secs);
    let mut changed = Plan::new(secs);
    for region in plan.regions() {
        changed.push(*region).unwrap();
    }
    changed
}

fn described(plan: &Plan<'_>) -> Enclave {
    sign::describe(plan, &Terms { date: 0x2026_0101, ..Terms::default() }).unwrap()
}

#[test]
fn a_signature_has_to_be_over_the_enclave() {
    if !can() {
        return;
    }
    let pages = Pages::new();
    let plan = pages.plan();
    let good = sign(&plan);
    let launch =
        |plan, signature| Launch { plan, signature, mappings: mappings(), tcs: vec![THREAD] };
    let mut other = described(&plan);
    other.measurement[0] ^= 1;
    let other = key().sign(&other).unwrap();
    assert!(refused(launch(plan.clone(), other)).contains("InvalidMeasurement"));
    let mut changed = good.clone();
    // A byte of the signature proper.
    changed[600] ^= 1;
    assert!(refused(launch(plan.clone(), changed)).contains("InvalidSignature"));
    let mut malformed = good.clone();
    malformed[0] ^= 1;
    assert!(refused(launch(plan.clone(), malformed)).contains("InvalidSigStruct"));
    // All attributes are signed, so a host cannot add one.
    let debug = again(&plan, |secs| secs.attributes.flags |= flag::DEBUG);
    assert!(refused(launch(debug, good.clone())).contains("InvalidAttribute"));
    let misc = again(&plan, |secs| secs.misc_select = 0);
    assert!(refused(launch(misc, good)).contains("InvalidAttribute"));
}

#[test]
fn an_enclave_has_to_be_possible() {
    if !can() {
        return;
    }
    let pages = Pages::new();
    let plan = pages.plan();
    let signature = sign(&plan);
    let launch = |plan| Launch {
        plan,
        signature: signature.clone(),
        mappings: mappings(),
        tcs: vec![THREAD],
    };
    let impossible = again(&plan, |secs| secs.attributes.flags |= flag::EINITTOKEN_KEY);
    assert!(refused(launch(impossible)).contains("ECREATE"));
    let wide = again(&plan, |secs| secs.attributes.xfrm |= 0xe0);
    assert!(refused(launch(wide)).contains("ECREATE"));
    let mut unmapped = launch(plan.clone());
    unmapped.mappings.remove(0);
    assert!(refused(unmapped).contains("does not map"));
}

#[test]
fn the_probe_passes_where_the_tests_run_or_says_what_to_do() {
    for datum in sim().probe() {
        println!("{datum:?}");
        assert!(datum.pass || datum.remedy.is_some());
    }
}
