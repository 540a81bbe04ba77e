// SPDX-License-Identifier: Apache-2.0

//! Which TCB level a platform has, and how several statuses become one.
//!
//! The rules are Intel's (PCS API v4, "Get TCB Info"; Quote Verification Library, 4.1.2.4.17): of the
//! published levels, in their order, the first counts that asks for nothing the platform lacks. The
//! quoting enclave and the TDX module have levels of their own, and the worst of all counts.

use evidence_claims::TcbStatus;

use crate::DcapRefusal;
use crate::document::{SvnLevel, TcbInfo, TcbLevel, TdxModuleIdentity};
use crate::pck::PckExtensions;

/// Whether each of the first is at least as great as its partner.
fn all_at_least(have: &[u8], want: &[u8]) -> bool {
    have.iter().zip(want).all(|(have, want)| have >= want)
}

/// Whether a platform has what a level asks of SGX.
fn has_sgx(level: &TcbLevel, pck: &PckExtensions) -> bool {
    all_at_least(&pck.svns, &level.tcb.sgx) && pck.pce_svn >= level.tcb.pce_svn
}

/// Whether a TD had what a level asks of TDX. Of a module that has an identity of its own, the first two
/// components are that identity's business.
fn has_tdx(level: &TcbLevel, tcb_svn: &[u8; 16]) -> bool {
    let Some(want) = &level.tcb.tdx else { return false };
    let first = if generation(tcb_svn) > 0 { 2 } else { 0 };
    all_at_least(tcb_svn.get(first..).unwrap_or_default(), want.get(first..).unwrap_or_default())
}

/// Which generation of TDX modules it is: `TEE_TCB_SVN[1]`.
pub(crate) fn generation(tcb_svn: &[u8; 16]) -> u8 {
    let [_, generation, ..] = tcb_svn;
    *generation
}

/// SVN of the TDX module: `TEE_TCB_SVN[0]`.
pub(crate) fn module_svn(tcb_svn: &[u8; 16]) -> u8 {
    let [svn, ..] = tcb_svn;
    *svn
}

/// The level of a platform: the first that fits; for TDX, with what the TD started on.
///
/// # Errors
///
/// [`DcapRefusal::TcbLevel`]: the platform is below every level, and Intel says nothing of it.
pub(crate) fn of_platform<'i>(
    info: &'i TcbInfo,
    pck: &PckExtensions,
    tdx: Option<&[u8; 16]>,
) -> Result<&'i TcbLevel, DcapRefusal> {
    info.tcb_levels
        .iter()
        .find(|level| has_sgx(level, pck) && tdx.is_none_or(|tcb_svn| has_tdx(level, tcb_svn)))
        .ok_or(DcapRefusal::TcbLevel)
}

/// The level of a quoting enclave or a TDX module.
pub(crate) fn of_svn(levels: &[SvnLevel], svn: u16) -> Option<&SvnLevel> {
    levels.iter().find(|level| svn >= level.tcb.svn)
}

/// The identity of a TDX module's generation.
///
/// # Errors
///
/// [`DcapRefusal::ModuleIdentity`].
pub(crate) fn module_identity(
    info: &TcbInfo,
    generation: u8,
) -> Result<&TdxModuleIdentity, DcapRefusal> {
    let name = format!("TDX_{generation:02X}");
    info.tdx_module_identities
        .iter()
        .find(|identity| identity.id.eq_ignore_ascii_case(&name))
        .ok_or(DcapRefusal::ModuleIdentity(generation))
}

/// The status of a platform, with that of its quoting enclave or TDX module counted in.
pub(crate) fn converge(platform: TcbStatus, part: TcbStatus) -> TcbStatus {
    use TcbStatus::{
        ConfigurationAndSWHardeningNeeded, ConfigurationNeeded, OutOfDate,
        OutOfDateConfigurationNeeded, Revoked, SWHardeningNeeded, TDRelaunchAdvised,
        TDRelaunchAdvisedConfigurationNeeded, UpToDate,
    };
    match (platform, part) {
        (Revoked, _) | (_, Revoked) => Revoked,
        (UpToDate | SWHardeningNeeded | TDRelaunchAdvised, OutOfDate) => OutOfDate,
        (
            ConfigurationNeeded
            | ConfigurationAndSWHardeningNeeded
            | TDRelaunchAdvisedConfigurationNeeded,
            OutOfDate,
        ) => OutOfDateConfigurationNeeded,
        (platform, _) => platform,
    }
}

fn needs_configuration(status: TcbStatus) -> bool {
    matches!(
        status,
        TcbStatus::ConfigurationNeeded
            | TcbStatus::ConfigurationAndSWHardeningNeeded
            | TcbStatus::OutOfDateConfigurationNeeded
    )
}

/// What a TD's start and what runs now make of an out-of-date TD: if only the TDX module was too old when
/// it started, and the one that runs now is the newest, it is enough to start the TD again.
///
/// `status` is the TD's, with the module's counted in; `module` that of the module it started on. A
/// module that runs now and is revoked makes the TD so, whatever it started on.
///
/// # Errors
///
/// [`DcapRefusal::ModuleIdentity`] if nothing is published of the module that runs now.
pub(crate) fn relaunch(
    info: &TcbInfo,
    pck: &PckExtensions,
    now: &[u8; 16],
    status: TcbStatus,
    module: Option<TcbStatus>,
    quoting_enclave: Option<TcbStatus>,
) -> Result<TcbStatus, DcapRefusal> {
    use TcbStatus::{OutOfDate, OutOfDateConfigurationNeeded, Revoked, UpToDate};
    let ([svn, generation, late_microcode, ..], mut module_is_newest) = (*now, false);
    if generation != 0 {
        let levels = &module_identity(info, generation)?.tcb_levels;
        if of_svn(levels, svn.into()).is_some_and(|level| level.status == Revoked) {
            return Ok(Revoked);
        }
        // A newest level that is itself no longer good is none to start again for.
        module_is_newest = levels
            .first()
            .is_some_and(|level| level.status == UpToDate && u16::from(svn) >= level.tcb.svn);
    }
    let Some(sgx) = info.tcb_levels.iter().find(|level| has_sgx(level, pck)) else {
        return Ok(status);
    };
    let platform_is_current =
        !matches!(sgx.status, OutOfDate | OutOfDateConfigurationNeeded | Revoked);
    let was_out_of_date =
        matches!(status, OutOfDate | OutOfDateConfigurationNeeded) && module == Some(OutOfDate);
    let quoting_enclave_is_current = !matches!(quoting_enclave, Some(OutOfDate | Revoked));
    let Some(newest) = info.tcb_levels.first() else { return Ok(status) };
    if !(platform_is_current && was_out_of_date && quoting_enclave_is_current) {
        return Ok(status);
    }
    let [want_svn, _, want_late_microcode, ..] = newest.tcb.tdx.unwrap_or([0xff; 16]);
    if generation == 0 {
        module_is_newest = svn >= want_svn;
    }
    if !(module_is_newest && late_microcode >= want_late_microcode) {
        return Ok(status);
    }
    Ok(if needs_configuration(sgx.status) || needs_configuration(status) {
        TcbStatus::TDRelaunchAdvisedConfigurationNeeded
    } else {
        TcbStatus::TDRelaunchAdvised
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use TcbStatus::{
        ConfigurationAndSWHardeningNeeded, ConfigurationNeeded, OutOfDate,
        OutOfDateConfigurationNeeded, Revoked, SWHardeningNeeded, TDRelaunchAdvised,
        TDRelaunchAdvisedConfigurationNeeded, UpToDate,
    };

    #[test]
    fn the_worse_of_two_statuses_counts_and_configuration_is_kept() {
        // Platform, and what becomes of it with a part that is out of date.
        let table = [
            (UpToDate, OutOfDate),
            (SWHardeningNeeded, OutOfDate),
            (ConfigurationNeeded, OutOfDateConfigurationNeeded),
            (ConfigurationAndSWHardeningNeeded, OutOfDateConfigurationNeeded),
            (TDRelaunchAdvised, OutOfDate),
            (TDRelaunchAdvisedConfigurationNeeded, OutOfDateConfigurationNeeded),
            (OutOfDate, OutOfDate),
            (OutOfDateConfigurationNeeded, OutOfDateConfigurationNeeded),
            (Revoked, Revoked),
        ];
        assert!(TcbStatus::ALL.iter().all(|status| table.iter().any(|row| row.0 == *status)));
        for (platform, out_of_date) in table {
            assert_eq!(converge(platform, UpToDate), platform);
            assert_eq!(converge(platform, OutOfDate), out_of_date);
            assert_eq!(converge(platform, Revoked), Revoked);
        }
    }
}
