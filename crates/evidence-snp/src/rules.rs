// SPDX-License-Identifier: Apache-2.0

//! The rules for a report, each on its own. Verifying and examining evidence both are made of them, so
//! that one cannot say what the other does not.

use evidence_claims::{Firmware, SigningKey, SnpProduct};
use evidence_crypto::{Crypto, Scheme};

use crate::chain::Chain;
use crate::report::{Report, TcbLayout, is_zero, offset, product_of_cpuid};
use crate::{SnpRefusal, policy_bits};

/// A report has exactly as many bytes as it has.
pub(crate) fn length(evidence: &[u8]) -> Result<Report<'_>, SnpRefusal> {
    Report::new(evidence).ok_or(SnpRefusal::Length(evidence.len()))
}

/// Versions 2 to 5; what a later one means by the same bytes is not known.
pub(crate) fn version(report: &Report<'_>) -> Result<u32, SnpRefusal> {
    match report.version() {
        version @ 2..=5 => Ok(version),
        other => Err(SnpRefusal::Version(other)),
    }
}

/// ECDSA over P-384 with SHA-384 is the one algorithm.
pub(crate) fn signature_algorithm(report: &Report<'_>) -> Result<(), SnpRefusal> {
    match report.signature_algorithm() {
        1 => Ok(()),
        other => Err(SnpRefusal::SignatureAlgorithm(other)),
    }
}

/// VCEK or VLEK; a report that is signed by no key says so here.
pub(crate) fn signing_key(report: &Report<'_>) -> Result<SigningKey, SnpRefusal> {
    match report.signing_key() {
        0 => Ok(SigningKey::Vcek),
        1 => Ok(SigningKey::Vlek),
        other => Err(SnpRefusal::SigningKey(other)),
    }
}

/// The product by the processor's CPUID. Reports of version 2 do not have it.
pub(crate) fn product(report: &Report<'_>) -> Result<Option<SnpProduct>, SnpRefusal> {
    let Some((family, model, _)) = report.cpuid() else { return Ok(None) };
    product_of_cpuid(family, model).map(Some).ok_or(SnpRefusal::Product(family, model))
}

/// The VEK's product is the processor's, if the report says which that is.
pub(crate) fn same_product(report: Option<SnpProduct>, vek: SnpProduct) -> Result<(), SnpRefusal> {
    match report {
        Some(report) if report != vek => Err(SnpRefusal::ProductMismatch { report, vek }),
        _ => Ok(()),
    }
}

/// The TCB that the VEK was derived for is the reported one.
pub(crate) fn tcb(report: &Report<'_>, chain: &Chain) -> Result<(), SnpRefusal> {
    let reported = chain.layout().decode(report.tcb(offset::REPORTED_TCB));
    if reported == Some(chain.extensions.tcb) { Ok(()) } else { Err(SnpRefusal::Tcb) }
}

/// The chip of a VCEK is the report's. `hwID` may be shorter than `CHIP_ID` (Turin); the rest is zero
/// then. A chip that hides itself has none, and a VLEK is of no chip.
pub(crate) fn chip_id(report: &Report<'_>, chain: &Chain) -> Result<(), SnpRefusal> {
    let chip_id = report.chip_id();
    let expected = match (&chain.extensions.hw_id, report.chip_key_masked()) {
        (Some(hw_id), false) => hw_id.as_slice(),
        _ => &[],
    };
    match chip_id.split_at_checked(expected.len()) {
        Some((id, rest)) if id == expected && is_zero(rest) => Ok(()),
        _ => Err(SnpRefusal::ChipId),
    }
}

/// The signature is encoded in the one way, and verifies under the VEK.
pub(crate) fn signature(
    crypto: &dyn Crypto,
    report: &Report<'_>,
    chain: &Chain,
) -> Result<(), SnpRefusal> {
    let signature = report.signature().ok_or(SnpRefusal::SignatureEncoding)?;
    crypto
        .verify(Scheme::P384Fixed, &chain.key, report.signed(), &signature)
        .map_err(|_| SnpRefusal::Signature)
}

/// What a version of the report does not use is zero. Bits of `PLATFORM_INFO` are let through: firmware
/// of the same version of the report has come to set more of them.
pub(crate) fn reserved(report: &Report<'_>, layout: TcbLayout) -> Result<(), SnpRefusal> {
    let zero = |name, at, end: usize| {
        if is_zero(report.slice(at, end.saturating_sub(at))) {
            Ok(())
        } else {
            Err(SnpRefusal::Reserved(name))
        }
    };
    if report.key_info() >> 5 != 0 {
        return Err(SnpRefusal::Reserved("KEY_INFO"));
    }
    zero("0x04c to 0x04f", offset::RESERVED_AFTER_KEY_INFO, offset::REPORT_DATA)?;
    // The processor's CPUID came with version 3, the mitigation vectors with version 5.
    let after_tcb =
        if report.version() < 3 { offset::CPUID_FAM_ID } else { offset::RESERVED_AFTER_CPUID };
    zero("before CHIP_ID", after_tcb, offset::CHIP_ID)?;
    zero("0x1eb", offset::RESERVED_AFTER_CURRENT, offset::COMMITTED_BUILD)?;
    zero("0x1ef", offset::RESERVED_AFTER_COMMITTED, offset::LAUNCH_TCB)?;
    let after_launch = if report.version() < 5 {
        offset::LAUNCH_MIT_VECTOR
    } else {
        offset::RESERVED_BEFORE_SIGNATURE
    };
    zero("before SIGNATURE", after_launch, offset::SIGNATURE)?;
    for (name, at) in [
        ("CURRENT_TCB", offset::CURRENT_TCB),
        ("REPORTED_TCB", offset::REPORTED_TCB),
        ("COMMITTED_TCB", offset::COMMITTED_TCB),
        ("LAUNCH_TCB", offset::LAUNCH_TCB),
    ] {
        layout.decode(report.tcb(at)).ok_or(SnpRefusal::Reserved(name))?;
    }
    Ok(())
}

/// Reserved bits of `POLICY`: 17 is set, those above the last known one are not.
pub(crate) fn policy(report: &Report<'_>) -> Result<(), SnpRefusal> {
    let policy = report.policy();
    let known = if report.version() < 5 { 25 } else { 26 };
    if policy & policy_bits::RESERVED_ONE == 0 || policy >> known != 0 {
        return Err(SnpRefusal::Policy(policy));
    }
    Ok(())
}

/// The firmware that runs is not older than the guest's owner allows.
pub(crate) fn abi(report: &Report<'_>) -> Result<(), SnpRefusal> {
    let Firmware { major, minor, .. } = report.current_firmware();
    let (current, minimum) = ((major, minor), report.minimum_abi());
    if current < minimum { Err(SnpRefusal::Abi { current, minimum }) } else { Ok(()) }
}
