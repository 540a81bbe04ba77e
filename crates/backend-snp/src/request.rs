// SPDX-License-Identifier: Apache-2.0

//! The launch as requests of KVM, in their order.
//!
//! `KVM_SEV_SNP_LAUNCH_START`, one or more `KVM_SEV_SNP_LAUNCH_UPDATE` for each part of the plan, and
//! `KVM_SEV_SNP_LAUNCH_FINISH`, which also hands over the states of the processors
//! (`amd-memory-encryption.rst`, 18 to 20). KVM copies pages out of memory of ours that has to begin on a
//! page, and it may do a part of what was asked and then say where it got to, or that it is to be asked
//! again. The firmware refuses a CPUID page that promises too much and writes into it what it would take; a
//! Keep checks the page itself, so what the firmware proposes is handed over once more.
//!
//! Who executes requests is behind [`Firmware`], so that all of this runs in tests, where the measurement of
//! what was handed over has to be that of the plan.

use std::io;

use kvm_bindings::{
    kvm_sev_snp_launch_finish, kvm_sev_snp_launch_start, kvm_sev_snp_launch_update,
};
use snp_launch::{PAGE, PageType, Parameters, Plan, SignedId, Update};

/// Bytes that go through a staging area at a time: enough that requests are few, little enough that a launch
/// needs no second copy of the image.
pub(crate) const STAGING: usize = 2 << 20;

/// Requests in a row without any progress after which a launch is given up.
const PATIENCE: u32 = 10_000;

/// Status `INVALID_PARAM` of the firmware (AMD 56860, 3.2), by which it refuses a CPUID page.
pub(crate) const INVALID_PARAM: u32 = 0x16;
/// No status: the firmware was not asked.
pub(crate) const NOT_ASKED: u32 = u32::MAX;

/// Why a request failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The firmware's status; [`NOT_ASKED`] if it was not asked.
    pub(crate) status: u32,
    /// What the kernel says.
    pub(crate) source: io::Error,
}

/// Why a launch failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    #[error("{command} failed{status}", status = status_text(*.status))]
    Command { command: &'static str, status: u32, source: io::Error },
    #[error("{0} came back with a range that it was not given")]
    Progress(&'static str),
    #[error("{0} does not get on")]
    Stuck(&'static str),
}

fn status_text(status: u32) -> String {
    match (status, status_name(status)) {
        (NOT_ASKED | 0, _) => String::new(),
        (_, Some(name)) => format!(" (firmware: {name}, {status:#x})"),
        (_, None) => format!(" (firmware status {status:#x})"),
    }
}

/// Those that a launch can end with (AMD 56860, 3.2, table of status codes).
fn status_name(status: u32) -> Option<&'static str> {
    Some(match status {
        0x01 => "the platform is in the wrong state",
        0x02 => "the guest is in the wrong state",
        0x07 => "the platform does not meet the policy",
        0x0a => "a signature is wrong",
        0x0b => "the measurement is not the signed one",
        0x15 => "not supported",
        INVALID_PARAM => "a parameter is wrong",
        0x17 => "out of resources",
        0x19 => "a page has the wrong size",
        0x1a => "a page is in the wrong state",
        0x1c => "a page has the wrong owner",
        0x20 => "the table of page owners is not set up",
        0x21 => "the security version is too low",
        0x22 => "the version is too low",
        _ => return None,
    })
}

/// Memory of ours that KVM copies pages out of; it begins on a page.
pub(crate) trait Staging {
    /// Its bytes; [`STAGING`] of them.
    fn bytes(&mut self) -> &mut [u8];
}

/// Executes requests.
pub(crate) trait Firmware {
    /// Where its pages come from.
    type Staging: Staging;

    /// `KVM_SEV_SNP_LAUNCH_START`.
    fn start(&mut self, request: &mut kvm_sev_snp_launch_start) -> Result<(), Failure>;

    /// `KVM_SEV_SNP_LAUNCH_UPDATE`. The pages are in the staging area, at an offset of `request.uaddr`; the
    /// executor makes an address of it, and on return an offset again.
    fn update(
        &mut self,
        request: &mut kvm_sev_snp_launch_update,
        staging: &mut Self::Staging,
    ) -> Result<(), Failure>;

    /// `KVM_SEV_SNP_LAUNCH_FINISH`. Addresses are filled in by the executor, from the signature.
    fn finish(
        &mut self,
        request: &mut kvm_sev_snp_launch_finish,
        id: Option<&SignedId>,
    ) -> Result<(), Failure>;
}

/// What [`launch`] is done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Done {
    /// Whether the firmware had other answers of `cpuid` than those it was given.
    pub(crate) corrected: bool,
}

/// Launches a plan: everything from `START` to `FINISH`. Processors exist and have their state already.
pub(crate) fn launch<F: Firmware>(
    firmware: &mut F,
    staging: &mut F::Staging,
    plan: &Plan,
    cpuid: &[u8; PAGE],
    parameters: &Parameters,
) -> Result<Done, LaunchError> {
    let command = "KVM_SEV_SNP_LAUNCH_START";
    let mut start = start_request(parameters);
    insist(command, || firmware.start(&mut start))?;
    let mut done = Done { corrected: false };
    for (address, update) in plan.parts() {
        match update {
            // KVM makes them of the registers that were set.
            Update::Vmsa(_) => {}
            Update::Cpuid => done.corrected = put_cpuid(firmware, staging, address, cpuid)?,
            Update::Normal(bytes) => put(firmware, staging, address, PageType::Normal, bytes)?,
            Update::Unmeasured(bytes) => {
                put(firmware, staging, address, PageType::Unmeasured, bytes)?;
            }
            Update::Zero(length) => range(firmware, staging, address, PageType::Zero, length)?,
            Update::Secrets => {
                range(firmware, staging, address, PageType::Secrets, PAGE as u64)?;
            }
        }
    }
    let command = "KVM_SEV_SNP_LAUNCH_FINISH";
    let mut finish = finish_request(parameters);
    insist(command, || firmware.finish(&mut finish, parameters.id.as_ref()))?;
    Ok(done)
}

pub(crate) fn start_request(parameters: &Parameters) -> kvm_sev_snp_launch_start {
    kvm_sev_snp_launch_start {
        policy: parameters.policy.bits(),
        gosvw: parameters.gosvw,
        ..Default::default()
    }
}

pub(crate) fn finish_request(parameters: &Parameters) -> kvm_sev_snp_launch_finish {
    /// `AUTHOR_KEY_EN` is on if the authentication has an author's key.
    fn has_author(id: &SignedId) -> bool {
        launch_keys::check_id_auth(&id.block, &id.auth)
            .is_ok_and(|signers| signers.author_key.is_some())
    }
    let id = parameters.id.as_ref();
    kvm_sev_snp_launch_finish {
        id_block_en: id.is_some().into(),
        auth_key_en: id.is_some_and(has_author).into(),
        host_data: parameters.host_data,
        ..Default::default()
    }
}

/// Hands pages over, as many at a time as fit.
fn put<F: Firmware>(
    firmware: &mut F,
    staging: &mut F::Staging,
    address: u64,
    kind: PageType,
    bytes: &[u8],
) -> Result<(), LaunchError> {
    for (at, chunk) in (address..).step_by(STAGING).zip(bytes.chunks(STAGING)) {
        for (to, from) in staging.bytes().iter_mut().zip(chunk) {
            *to = *from;
        }
        range(firmware, staging, at, kind, chunk.len() as u64)?;
    }
    Ok(())
}

/// Hands the CPUID page over; whether the firmware had to correct it.
fn put_cpuid<F: Firmware>(
    firmware: &mut F,
    staging: &mut F::Staging,
    address: u64,
    page: &[u8; PAGE],
) -> Result<bool, LaunchError> {
    let first = put(firmware, staging, address, PageType::Cpuid, page);
    let Err(LaunchError::Command { status: INVALID_PARAM, .. }) = first else {
        return first.map(|()| false);
    };
    let Some(proposed) = staging.bytes().first_chunk::<PAGE>().copied() else { return Ok(false) };
    crate::cpuid::log_differences(page, &proposed);
    put(firmware, staging, address, PageType::Cpuid, &proposed)?;
    Ok(true)
}

/// Requests a range whose pages, if it has any, are in the staging area, until all of it is done.
fn range<F: Firmware>(
    firmware: &mut F,
    staging: &mut F::Staging,
    address: u64,
    kind: PageType,
    length: u64,
) -> Result<(), LaunchError> {
    const COMMAND: &str = "KVM_SEV_SNP_LAUNCH_UPDATE";
    const FRAME: u64 = PAGE as u64;
    let mut request = kvm_sev_snp_launch_update {
        gfn_start: address / FRAME,
        uaddr: 0,
        len: length,
        type_: kind as u8,
        ..Default::default()
    };
    let end = request.gfn_start + length / FRAME;
    let mut patience = PATIENCE;
    while request.len > 0 {
        let before = request.len;
        insist(COMMAND, || firmware.update(&mut request, staging))?;
        // What is left has to be the end of what was asked for.
        let is_rest = request.len.is_multiple_of(FRAME)
            && request.len <= before
            && request.gfn_start.checked_add(request.len / FRAME) == Some(end)
            && (kind == PageType::Zero || request.uaddr == length - request.len);
        if !is_rest {
            return Err(LaunchError::Progress(COMMAND));
        }
        patience = if request.len < before { PATIENCE } else { patience - 1 };
        if patience == 0 {
            return Err(LaunchError::Stuck(COMMAND));
        }
    }
    Ok(())
}

/// Asks again where a signal came in between, or the kernel says so.
fn insist(
    command: &'static str,
    mut request: impl FnMut() -> Result<(), Failure>,
) -> Result<(), LaunchError> {
    for _ in 0..PATIENCE {
        match request() {
            Err(Failure { source, .. })
                if matches!(source.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) =>
            {
                std::thread::yield_now();
            }
            Err(Failure { status, source }) => {
                return Err(LaunchError::Command { command, status, source });
            }
            Ok(()) => return Ok(()),
        }
    }
    Err(LaunchError::Stuck(command))
}

#[cfg(test)]
mod tests;
