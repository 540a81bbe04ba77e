// SPDX-License-Identifier: Apache-2.0

//! Claims against a policy.
//!
//! Every rule is looked at, whatever the others said: who has to repair a deployment wants the whole
//! list. The gravest come first, because the first one is what a service answers.

use core::fmt::Write;

use evidence_claims::{
    Claims, Detail, Platform, QuotePlatform, SgxDetail, SigningKey, SnpDetail, TcbStatus,
    TcbVersion, TdxDetail,
};
use evidence_pki::hex;
use semver::Version;

use crate::policy::{CodePolicy, IntelPolicy, PlatformInfo, SgxPolicy, SnpPolicy, TdxPolicy};
use crate::refusal::statuses;
use crate::{Policy, PolicyRefusal as No, Workload, WorkloadRule, flags};

const DAY: u64 = 86_400;

/// What a Keep that is let in gets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Admitted {
    /// DNS names for the certificate: those of `[certificate]` and of the workload, each once.
    pub dns_names: Vec<String>,
    /// How long the certificate is valid at most, in seconds from the time of issue. What the claims
    /// say (`valid_until`) is for the caller to hold against it.
    pub lifetime: u64,
    /// How far before the time of issue the certificate begins, in seconds.
    pub backdate: u64,
}

/// Holds what genuine evidence says against a policy.
///
/// `workload` is what was bound to the evidence, and `fresh` whether a nonce of the Steward was.
///
/// # Errors
///
/// Every rule that is not satisfied; at least one, the gravest first.
pub fn appraise(
    claims: &Claims,
    workload: Option<&Workload>,
    fresh: bool,
    policy: &Policy,
) -> Result<Admitted, Vec<No>> {
    let mut out = Vec::new();
    if claims.debug || says_debug(&claims.detail) {
        out.push(No::Debug);
    }
    let platform = claims.platform;
    let has_section = policy.platforms().contains(&platform);
    if !has_section {
        out.insert(0, No::Platform { platform });
    }
    match (platform, &claims.detail) {
        (Platform::Sgx, Detail::Sgx(detail)) => {
            if let Some(section) = &policy.sgx {
                sgx(claims, detail, section, &mut out);
            }
        }
        (Platform::Snp, Detail::Snp(detail)) => {
            if let Some(section) = &policy.snp {
                snp(claims, detail, section, &mut out);
            }
        }
        (Platform::Tdx, Detail::Tdx(detail)) => {
            if let Some(section) = &policy.tdx {
                tdx(claims, detail, section, &mut out);
            }
        }
        (Platform::Development, Detail::Snp(detail)) => {
            if let Some(section) = &policy.development {
                match &section.snp {
                    Some(rules) => snp(claims, detail, rules, &mut out),
                    None => {
                        migration(detail, &mut out);
                        code(claims, &section.code, &mut out);
                    }
                }
            }
        }
        (Platform::Development, Detail::Sgx(detail)) => {
            if let Some(section) = &policy.development {
                match &section.sgx {
                    Some(rules) => sgx(claims, detail, rules, &mut out),
                    None => code(claims, &section.code, &mut out),
                }
            }
        }
        _ => out.push(No::Format { platform }),
    }
    let rule = admit_workload(workload, policy, &mut out);
    if policy.certificate.require_nonce && !fresh {
        out.push(No::Nonce);
    }
    if !out.is_empty() {
        return Err(out);
    }
    let mut dns_names = policy.certificate.dns_names.clone();
    for name in rule.map_or(&[][..], |rule| &rule.dns_names) {
        if !dns_names.contains(name) {
            dns_names.push(name.clone());
        }
    }
    let (lifetime, backdate) = (policy.certificate.lifetime, policy.certificate.backdate);
    Ok(Admitted { dns_names, lifetime, backdate })
}

/// Whether the bits say so themselves. A format says it in its claims; that one rule which no policy can
/// turn off does not rest on that alone.
fn says_debug(detail: &Detail) -> bool {
    match detail {
        Detail::Snp(detail) => detail.policy & flags::SNP_DEBUG != 0,
        Detail::Sgx(detail) => detail.attributes & flags::SGX_DEBUG != 0,
        Detail::Tdx(detail) => detail.td_attributes & flags::TD_UNDER_DEBUG != 0,
        _ => false,
    }
}

/// The rule that lets the workload in, if there are such rules. One that names the slug goes before one
/// that does not.
fn admit_workload<'p>(
    workload: Option<&Workload>,
    policy: &'p Policy,
    out: &mut Vec<No>,
) -> Option<&'p WorkloadRule> {
    let Some(workload) = workload else {
        if policy.certificate.require_workload || !policy.workloads.is_empty() {
            out.push(No::WorkloadMissing);
        }
        return None;
    };
    let rule = policy
        .workloads
        .iter()
        .filter(|rule| rule.digest == workload.digest())
        .filter(|rule| rule.slug.is_none() || rule.slug.as_deref() == workload.slug())
        .max_by_key(|rule| rule.slug.is_some());
    if rule.is_none() && !policy.workloads.is_empty() {
        out.push(No::Workload { found: workload.to_string() });
    }
    rule
}

fn code(claims: &Claims, rules: &CodePolicy, out: &mut Vec<No>) {
    let found = || hex(&claims.measurement);
    if rules.hash_blacklist.contains(&claims.measurement) {
        out.push(No::HashBlacklist { found: found() });
    }
    if !rules.hash.is_empty() && !rules.hash.contains(&claims.measurement) {
        out.push(No::Hash { found: found() });
    }
    if !rules.signer.is_empty()
        && !claims.signer.as_ref().is_some_and(|signer| rules.signer.contains(signer))
    {
        let found = claims.signer.as_deref().map_or_else(|| "(none)".to_owned(), hex);
        out.push(No::Signer { found });
    }
}

/// The status that counts: a grace period excuses the platform's own delay, and nothing else.
fn status_after_grace(
    status: TcbStatus,
    claims: &Claims,
    platform: &QuotePlatform,
    module: Option<TcbStatus>,
    days: u64,
) -> TcbStatus {
    let late = |status: TcbStatus| {
        matches!(status, TcbStatus::OutOfDate | TcbStatus::OutOfDateConfigurationNeeded)
    };
    // The date is that of the platform's level; it says nothing of a quoting enclave or of a module that
    // is out of date for itself.
    let excused = days > 0
        && late(platform.platform_status)
        && !platform.qe_status.is_some_and(late)
        && !module.is_some_and(late)
        && claims.verified_at <= platform.tcb_date.plus(days.saturating_mul(DAY));
    match status {
        TcbStatus::OutOfDate if excused => TcbStatus::UpToDate,
        TcbStatus::OutOfDateConfigurationNeeded if excused => TcbStatus::ConfigurationNeeded,
        status => status,
    }
}

fn intel(
    claims: &Claims,
    platform: &QuotePlatform,
    module: Option<TcbStatus>,
    rules: &IntelPolicy,
    out: &mut Vec<No>,
) {
    let status = claims
        .tcb_status
        .map(|status| status_after_grace(status, claims, platform, module, rules.tcb_grace_days));
    if !status.is_some_and(|status| {
        status != TcbStatus::Revoked && rules.accepted_tcb_statuses.contains(&status)
    }) {
        out.push(No::TcbStatus {
            found: claims.tcb_status.map_or("not stated", TcbStatus::as_str).to_owned(),
            accepted: statuses(&rules.accepted_tcb_statuses),
        });
    }
    if let Some(allowed) = &rules.allowed_advisories {
        let found: Vec<_> =
            claims.advisories.iter().filter(|one| !allowed.contains(one)).cloned().collect();
        if !found.is_empty() {
            out.push(No::Advisories { found: found.join(", ") });
        }
    }
    if let Some(wanted) = rules.min_tcb_evaluation_data_number
        && claims.evaluation_number.is_none_or(|number| number < wanted)
    {
        let found = claims.evaluation_number.map_or("(none)".to_owned(), |it| it.to_string());
        out.push(No::EvaluationNumber { found, wanted });
    }
    if rules.require_qe_identity && platform.qe_status.is_none() {
        out.push(No::QeIdentity);
    }
    // What a certificate does not say is not known to be off.
    for (allowed, found, refusal) in [
        (rules.allow_smt, platform.smt_enabled, No::Smt),
        (rules.allow_cached_keys, platform.cached_keys, No::CachedKeys),
        (rules.allow_dynamic_platform, platform.dynamic_platform, No::DynamicPlatform),
    ] {
        if !allowed && found != Some(false) {
            out.push(refusal);
        }
    }
}

fn sgx(claims: &Claims, detail: &SgxDetail, rules: &SgxPolicy, out: &mut Vec<No>) {
    code(claims, &rules.code, out);
    intel(claims, &detail.platform, None, &rules.intel, out);
    if let Some(allowed) = rules.features {
        let beyond = detail.attributes & !(allowed | flags::SGX_ALWAYS);
        if beyond != 0 {
            out.push(No::Features { found: flags::names(beyond, flags::SGX_FEATURES) });
        }
    }
    if let Some(wanted) = rules.enclave_security_version
        && detail.isv_svn < wanted
    {
        out.push(No::EnclaveSecurityVersion { found: detail.isv_svn, wanted });
    }
    if let Some(wanted) = rules.enclave_product_id
        && detail.isv_prod_id != wanted
    {
        out.push(No::EnclaveProductId { found: detail.isv_prod_id, wanted });
    }
    if let Some(allowed) = rules.misc_select {
        let beyond = detail.misc_select & !allowed;
        if beyond != 0 {
            out.push(No::MiscSelect { found: flags::names(u64::from(beyond), flags::SGX_MISC) });
        }
    }
    if rules.config_id.is_some_and(|wanted| wanted != detail.config_id) {
        out.push(No::ConfigId { found: hex(&detail.config_id) });
    }
    if let Some(wanted) = rules.config_svn
        && detail.config_svn < wanted
    {
        out.push(No::ConfigSvn { found: detail.config_svn, wanted });
    }
    if rules.family_id.is_some_and(|wanted| wanted != detail.isv_family_id) {
        out.push(No::FamilyId { found: hex(&detail.isv_family_id) });
    }
    if rules.ext_prod_id.is_some_and(|wanted| wanted != detail.isv_ext_prod_id) {
        out.push(No::ExtProdId { found: hex(&detail.isv_ext_prod_id) });
    }
}

fn migration(detail: &SnpDetail, out: &mut Vec<No>) {
    if detail.policy & flags::SNP_MIGRATE_MA != 0 {
        out.push(No::Migration);
    }
}

fn snp(claims: &Claims, detail: &SnpDetail, rules: &SnpPolicy, out: &mut Vec<No>) {
    migration(detail, out);
    code(claims, &rules.code, out);
    if rules.id_key_digest_blacklist.contains(&detail.id_key_digest) {
        out.push(No::IdKeyBlacklist { found: hex(&detail.id_key_digest) });
    }
    if is_other(&rules.id_key_digest, &detail.id_key_digest) {
        out.push(No::IdKey { found: hex(&detail.id_key_digest) });
    }
    snp_machine(detail, rules, out);
    if let Some(wanted) = rules.policy_flags {
        let may: u64 = flags::SNP_MAY.iter().map(|(_, bit)| bit).sum();
        let beyond = detail.policy & may & !wanted.may;
        if beyond != 0 {
            out.push(No::PolicyFlagSet { found: flags::names(beyond, flags::SNP_MAY) });
        }
        let missing = wanted.must & !detail.policy;
        if missing != 0 {
            out.push(No::PolicyFlagMissing { found: flags::names(missing, flags::SNP_MUST) });
        }
    }
    if !rules.vmpl.contains(&detail.vmpl) {
        out.push(No::Vmpl { found: detail.vmpl });
    }
    if detail.guest_svn < rules.min_guest_svn {
        out.push(No::GuestSvn { found: detail.guest_svn, wanted: rules.min_guest_svn });
    }
    if is_other(&rules.host_data, &detail.host_data) {
        out.push(No::HostData { found: hex(&detail.host_data) });
    }
    if is_other(&rules.family_id, &detail.family_id) {
        out.push(No::FamilyId { found: hex(&detail.family_id) });
    }
    if is_other(&rules.image_id, &detail.image_id) {
        out.push(No::ImageId { found: hex(&detail.image_id) });
    }
}

/// The rules of `[snp]` about the machine rather than the guest.
fn snp_machine(detail: &SnpDetail, rules: &SnpPolicy, out: &mut Vec<No>) {
    if let Some((_, wanted)) =
        rules.minimum_tcb.iter().find(|(product, _)| Some(*product) == detail.product)
    {
        for (which, found) in [
            ("reported", &detail.reported_tcb),
            ("committed", &detail.committed_tcb),
            ("launch", &detail.launch_tcb),
        ] {
            if !found.is_at_least(wanted) {
                out.push(No::MinimumTcb { which, found: tcb(found), wanted: tcb(wanted) });
            }
        }
    }
    if let Some(wanted) = &rules.abi {
        let firmware = detail.current_firmware;
        let found =
            Version::new(firmware.major.into(), firmware.minor.into(), firmware.build.into());
        if !wanted.matches(&found) {
            out.push(No::Abi { found: found.to_string(), wanted: wanted.to_string() });
        }
    }
    if !rules.products.is_empty()
        && !detail.product.is_some_and(|product| rules.products.contains(&product))
    {
        let found = detail.product.map_or("processor of no known product", |it| it.as_str());
        out.push(No::Product { found: found.to_owned() });
    }
    // Each list is about one kind of key; with either of them given, the other kind has to be named too.
    let anywhere = rules.chip_ids.is_empty() && rules.csp_ids.is_empty();
    match detail.signing_key {
        SigningKey::Vlek => {
            if !rules.allow_vlek {
                out.push(No::Vlek);
            }
            let csp = detail.csp_id.as_ref();
            if !anywhere && !csp.is_some_and(|csp| rules.csp_ids.contains(csp)) {
                let found = csp.map_or_else(|| "not named".to_owned(), Clone::clone);
                out.push(No::CspId { found });
            }
        }
        SigningKey::Vcek => {
            let masked = detail.chip_id == [0; 64];
            if !anywhere && (masked || !rules.chip_ids.contains(&detail.chip_id)) {
                out.push(No::ChipId { found: hex(&detail.chip_id) });
            }
        }
    }
    let PlatformInfo { mask, value } = rules.platform_info;
    if detail.platform_info & mask != value {
        out.push(No::PlatformInfo {
            found: flags::names(detail.platform_info, flags::SNP_PLATFORM),
            wanted: flags::names(value, flags::SNP_PLATFORM),
        });
    }
}

fn tdx(claims: &Claims, detail: &TdxDetail, rules: &TdxPolicy, out: &mut Vec<No>) {
    // A TD moves by way of a service TD, so who names that one has agreed to it. Without one yet, one
    // could come later.
    let migratable = detail.td_attributes & flags::TD_MIGRATABLE != 0;
    let service_td = detail.mr_service_td.unwrap_or([0; 48]);
    let is_named = rules.mr_service_td.contains(&service_td);
    if migratable && !(is_named && service_td != [0; 48]) {
        out.push(No::Migration);
    }
    code(claims, &rules.code, out);
    intel(claims, &detail.platform, detail.module_status, &rules.intel, out);
    // Without rules, none may be bound; with rules, it has to be one of them.
    if !(is_named || (rules.mr_service_td.is_empty() && service_td == [0; 48])) {
        out.push(No::ServiceTd { found: hex(&service_td) });
    }
    if is_other(&rules.mr_seam, &detail.mr_seam) {
        out.push(No::MrSeam { found: hex(&detail.mr_seam) });
    }
    if is_other(&rules.mr_config_id, &detail.mr_config_id) {
        out.push(No::MrConfigId { found: hex(&detail.mr_config_id) });
    }
    if is_other(&rules.mr_owner, &detail.mr_owner) {
        out.push(No::MrOwner { found: hex(&detail.mr_owner) });
    }
    if is_other(&rules.mr_owner_config, &detail.mr_owner_config) {
        out.push(No::MrOwnerConfig { found: hex(&detail.mr_owner_config) });
    }
    for (index, (wanted, found)) in rules.rtmrs.iter().zip(&detail.rtmrs).enumerate() {
        if is_other(wanted, found) {
            out.push(No::Rtmr { index, found: hex(found) });
        }
    }
    let has = |bit: u64| detail.td_attributes & bit != 0;
    for (bad, refusal) in [
        (rules.require_sept_ve_disable && !has(flags::TD_SEPT_VE_DISABLE), No::SeptVe),
        (!rules.allow_pks && has(flags::TD_PKS), No::Pks),
        (!rules.allow_key_locker && has(flags::TD_KEY_LOCKER), No::KeyLocker),
    ] {
        if bad {
            out.push(refusal);
        }
    }
    if let Some(allowed) = rules.xfam
        && detail.xfam & !allowed != 0
    {
        out.push(No::Xfam { found: detail.xfam, allowed });
    }
    if let Some(wanted) = rules.min_tee_tcb_svn
        && detail.tee_tcb_svn.iter().zip(&wanted).any(|(found, wanted)| found < wanted)
    {
        out.push(No::TeeTcbSvn { found: hex(&detail.tee_tcb_svn), wanted: hex(&wanted) });
    }
}

/// Whether a list says something and does not name the value.
fn is_other<const N: usize>(list: &[[u8; N]], found: &[u8; N]) -> bool {
    !list.is_empty() && !list.contains(found)
}

pub(crate) fn tcb(tcb: &TcbVersion) -> String {
    let mut out = String::new();
    if let Some(fmc) = tcb.fmc {
        let _ = write!(out, "fmc {fmc}, ");
    }
    let TcbVersion { bootloader, tee, snp, microcode, .. } = tcb;
    let _ = write!(out, "bootloader {bootloader}, tee {tee}, snp {snp}, microcode {microcode}");
    out
}
