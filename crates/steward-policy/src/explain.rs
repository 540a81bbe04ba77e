// SPDX-License-Identifier: Apache-2.0

//! A policy in plain sentences, for who writes one and for who has to rely on it.
//!
//! What a rule means is said from the side of the Keep: what gets in. Weak spots come as warnings, each
//! right after the section's first sentence.

use evidence_pki::hex;

use crate::appraise::tcb;
use crate::flags;
use crate::policy::{
    CodePolicy, DevelopmentPolicy, IntelPolicy, PlatformInfo, SgxPolicy, SnpPolicy, TdxPolicy,
};
use crate::refusal::statuses;
use crate::{CertificatePolicy, Policy, WorkloadRule};

pub(crate) fn policy(policy: &Policy) -> Vec<String> {
    let mut out = Vec::new();
    let platforms = policy.platforms();
    if platforms.is_empty() {
        out.push("This policy has no section for a platform, so it refuses every Keep.".to_owned());
        return out;
    }
    let names: Vec<_> = platforms.iter().map(|platform| platform.as_str()).collect();
    out.push(format!("Keeps on these platforms can get certificates: {}.", names.join(", ")));
    out.push("Keeps in debug mode are refused, whatever else is written here.".to_owned());
    if let Some(section) = &policy.sgx {
        sgx(section, &mut out);
    }
    if let Some(section) = &policy.snp {
        snp(section, &mut out);
    }
    if let Some(section) = &policy.tdx {
        tdx(section, &mut out);
    }
    if let Some(section) = &policy.development {
        development(section, &mut out);
    }
    workloads(&policy.workloads, &policy.certificate, &mut out);
    certificate(&policy.certificate, &mut out);
    out
}

fn code(name: &str, what: &str, rules: &CodePolicy, out: &mut Vec<String>) {
    let CodePolicy { signer, hash, hash_blacklist, .. } = rules;
    let mut parts = Vec::new();
    if !hash.is_empty() {
        parts.push(format!("its measurement ({what}) is {}", listed(hash)));
    }
    if !signer.is_empty() {
        parts.push(format!("it is signed by {}", listed(signer)));
    }
    if !hash_blacklist.is_empty() {
        parts.push(format!("its measurement is not {}", listed(hash_blacklist)));
    }
    if parts.is_empty() {
        out.push(format!("[{name}] A Keep gets in whatever code it runs."));
    } else {
        out.push(format!("[{name}] A Keep gets in only if {}.", parts.join(", and ")));
    }
    if hash.is_empty() && signer.is_empty() {
        out.push(format!(
            "Warning: [{name}] names no code that is wanted, so ANY CODE on a genuine platform gets a \
             certificate{}.",
            if hash_blacklist.is_empty() { "" } else { ", the blacklisted aside" }
        ));
    } else if hash.is_empty() {
        out.push(format!(
            "Warning: [{name}] names signers and no measurements, so any version that they ever signed gets \
             in."
        ));
    }
}

fn intel(name: &str, rules: &IntelPolicy, out: &mut Vec<String>) {
    out.push(format!(
        "[{name}] Intel has to call the platform {}.",
        statuses(&rules.accepted_tcb_statuses).replace(", ", " or ")
    ));
    let beyond: Vec<_> = rules
        .accepted_tcb_statuses
        .iter()
        .filter(|status| status.as_str() != "UpToDate")
        .map(|status| status.as_str())
        .collect();
    if !beyond.is_empty() {
        out.push(format!(
            "Warning: [{name}] accepts {}: known faults of such platforms may be open.",
            beyond.join(", ")
        ));
    }
    if rules.tcb_grace_days > 0 {
        out.push(format!(
            "Warning: [{name}] a platform that is out of date gets in until {} days after the date of its \
             TCB level, although its faults are public.",
            rules.tcb_grace_days
        ));
    }
    match &rules.allowed_advisories {
        None => out.push(format!(
            "[{name}] Advisories are not looked at for themselves; the status counts."
        )),
        Some(list) if list.is_empty() => {
            out.push(format!("[{name}] No advisory may concern the platform."));
        }
        Some(list) => out.push(format!(
            "[{name}] No advisory may concern the platform but {}; the status counts all the same.",
            list.join(", ")
        )),
    }
    if let Some(number) = rules.min_tcb_evaluation_data_number {
        out.push(format!("[{name}] The collateral's evaluation number is at least {number}."));
    }
    if !rules.require_qe_identity {
        out.push(format!(
            "Warning: [{name}] evidence without a QE identity gets in, so a quoting enclave that Intel has \
             withdrawn is not noticed."
        ));
    }
    for (allowed, what) in [
        (rules.allow_smt, "multithreading is off"),
        (rules.allow_cached_keys, "its keys are not cached at Intel"),
        (rules.allow_dynamic_platform, "no packages can be added to it"),
    ] {
        if !allowed {
            out.push(format!("[{name}] The platform's certificate has to say that {what}."));
        }
    }
}

fn sgx(rules: &SgxPolicy, out: &mut Vec<String>) {
    code("sgx", "MRENCLAVE", &rules.code, out);
    intel("sgx", &rules.intel, out);
    if let Some(features) = rules.features {
        out.push(format!(
            "[sgx] Of the attributes of an enclave these may be set: {}.",
            flags::names(features, flags::SGX_FEATURES)
        ));
        if features & flags::SGX_DEBUG != 0 {
            out.push(
                "Warning: [sgx] `Debug` in `features` has no effect: enclaves in debug mode are refused all \
                 the same."
                    .to_owned(),
            );
        }
    }
    if let Some(version) = rules.enclave_security_version {
        out.push(format!("[sgx] The enclave's security version is at least {version}."));
    }
    if let Some(product) = rules.enclave_product_id {
        out.push(format!("[sgx] The enclave's product id is {product}."));
    }
    if let Some(bits) = rules.misc_select {
        let names = flags::names(bits.into(), flags::SGX_MISC);
        out.push(format!("[sgx] Of MISCSELECT these bits may be set: {names}."));
    }
    if let Some(id) = &rules.config_id {
        out.push(format!("[sgx] The enclave's CONFIGID is {}.", short(id)));
    }
    if let Some(svn) = rules.config_svn {
        out.push(format!("[sgx] The enclave's CONFIGSVN is at least {svn}."));
    }
    if let Some(id) = &rules.family_id {
        out.push(format!("[sgx] The enclave's family id is {}.", short(id)));
    }
    if let Some(id) = &rules.ext_prod_id {
        out.push(format!("[sgx] The enclave's extended product id is {}.", short(id)));
    }
}

fn snp(rules: &SnpPolicy, out: &mut Vec<String>) {
    code("snp", "MEASUREMENT", &rules.code, out);
    out.push("[snp] A guest that may be migrated is refused.".to_owned());
    one_of("snp", "ID key digest", &rules.id_key_digest, out);
    if !rules.id_key_digest_blacklist.is_empty() {
        out.push(format!(
            "[snp] The ID key digest is not {}.",
            listed(&rules.id_key_digest_blacklist)
        ));
    }
    if let Some(range) = &rules.abi {
        out.push(format!("[snp] The version of the SEV firmware is {range}."));
    }
    for (product, minimum) in &rules.minimum_tcb {
        out.push(format!(
            "[snp] On a {} the reported, committed and launch TCB are at least {}.",
            product.as_str(),
            tcb(minimum)
        ));
    }
    let without: Vec<_> = evidence_claims::SnpProduct::ALL
        .into_iter()
        .filter(|product| rules.products.is_empty() || rules.products.contains(product))
        .filter(|product| !rules.minimum_tcb.iter().any(|(other, _)| other == product))
        .map(|product| product.as_str())
        .collect();
    if !without.is_empty() {
        out.push(format!(
            "Warning: [snp] sets no minimum TCB for {}, so firmware with known faults gets in there.",
            without.join(", ")
        ));
    }
    if !rules.products.is_empty() {
        let names: Vec<_> = rules.products.iter().map(|product| product.as_str()).collect();
        out.push(format!("[snp] The processor is a {}.", names.join(" or ")));
    }
    if let Some(wanted) = rules.policy_flags {
        out.push(format!(
            "[snp] Of what a guest can permit its host this may be: {}; and these demands must be made: {}.",
            flags::names(wanted.may, flags::SNP_MAY),
            flags::names(wanted.must, flags::SNP_MUST)
        ));
        if wanted.may & (flags::SNP_DEBUG | flags::SNP_MIGRATE_MA) != 0 {
            out.push(
                "Warning: [snp] `Debug` and `MigrateMA` in `policy_flags` have no effect: such guests are \
                 refused all the same."
                    .to_owned(),
            );
        }
    }
    let PlatformInfo { mask, value } = rules.platform_info;
    if mask != value {
        out.push(format!(
            "[snp] Of the platform's flags SMT and TSME exactly this one is set: {}{}.",
            flags::names(value, flags::SNP_PLATFORM),
            if value == 1 { " (`SME` is its published name)" } else { "" }
        ));
    } else if mask != 0 {
        let names = flags::names(mask, flags::SNP_PLATFORM);
        out.push(format!("[snp] These flags of the platform are set: {names}."));
    }
    let vmpl: Vec<_> = rules.vmpl.iter().map(u32::to_string).collect();
    out.push(format!("[snp] The report was asked for at VMPL {}.", vmpl.join(" or ")));
    if rules.min_guest_svn > 0 {
        out.push(format!(
            "[snp] The guest's security version is at least {}.",
            rules.min_guest_svn
        ));
    }
    one_of("snp", "host data", &rules.host_data, out);
    one_of("snp", "family id", &rules.family_id, out);
    one_of("snp", "image id", &rules.image_id, out);
    if !rules.allow_vlek {
        out.push(
            "[snp] Reports are signed by the chip's own key (VCEK), not by a VLEK.".to_owned(),
        );
    }
    match (rules.chip_ids.is_empty(), rules.csp_ids.is_empty()) {
        (true, true) => {}
        (false, true) => {
            out.push(format!("[snp] The chip is {}.", listed(&rules.chip_ids)));
        }
        (true, false) => out.push(format!(
            "[snp] Reports are signed by a VLEK of one of these providers: {}.",
            rules.csp_ids.join(", ")
        )),
        (false, false) => out.push(format!(
            "[snp] The chip is {}, or the report is signed by a VLEK of one of these providers: {}.",
            listed(&rules.chip_ids),
            rules.csp_ids.join(", ")
        )),
    }
}

fn tdx(rules: &TdxPolicy, out: &mut Vec<String>) {
    code("tdx", "MRTD", &rules.code, out);
    intel("tdx", &rules.intel, out);
    one_of("tdx", "TDX module (MRSEAM)", &rules.mr_seam, out);
    one_of("tdx", "MRCONFIGID", &rules.mr_config_id, out);
    one_of("tdx", "MROWNER", &rules.mr_owner, out);
    one_of("tdx", "MROWNERCONFIG", &rules.mr_owner_config, out);
    for (index, list) in rules.rtmrs.iter().enumerate() {
        one_of("tdx", &format!("RTMR{index}"), list, out);
    }
    if rules.mr_service_td.is_empty() {
        out.push("[tdx] A TD that has a service TD or can be migrated is refused.".to_owned());
    } else {
        out.push(format!(
            "Warning: [tdx] the service TD is {}, which may be able to move the TD elsewhere.",
            listed(&rules.mr_service_td)
        ));
    }
    for (weak, what) in [
        (!rules.require_sept_ve_disable, "without SEPT_VE_DISABLE, which hosts can attack,"),
        (rules.allow_pks, "with PKS"),
        (rules.allow_key_locker, "with key locker"),
    ] {
        if weak {
            out.push(format!("Warning: [tdx] a TD {what} gets in."));
        }
    }
    if let Some(mask) = rules.xfam {
        out.push(format!("[tdx] Of XFAM only these bits may be set: {mask:#x}."));
    }
    if let Some(svn) = &rules.min_tee_tcb_svn {
        out.push(format!("[tdx] Each part of TEE_TCB_SVN is at least that of {}.", hex(svn)));
    }
}

fn development(rules: &DevelopmentPolicy, out: &mut Vec<String>) {
    out.push(format!(
        "Warning: [development] UNPROTECTED Keeps get certificates, under {} root{}: their hosts can read \
         and change them. The certificates say `development`.",
        rules.roots.len(),
        if rules.roots.len() == 1 { "" } else { "s" }
    ));
    let CodePolicy { signer, hash, hash_blacklist, .. } = &rules.code;
    if !(signer.is_empty() && hash.is_empty() && hash_blacklist.is_empty()) {
        code("development", "MEASUREMENT or MRENCLAVE", &rules.code, out);
    }
    // The same rules as for hardware, under another name.
    let mut nested = Vec::new();
    if let Some(rules) = &rules.sgx {
        sgx(rules, &mut nested);
    }
    if let Some(rules) = &rules.snp {
        snp(rules, &mut nested);
    }
    out.extend(nested.into_iter().map(|line: String| {
        line.replace("[sgx]", "[development.sgx]").replace("[snp]", "[development.snp]")
    }));
}

fn workloads(rules: &[WorkloadRule], certificate: &CertificatePolicy, out: &mut Vec<String>) {
    for rule in rules {
        let slug = match &rule.slug {
            Some(slug) => format!(" as {slug}"),
            None => String::new(),
        };
        let names = if rule.dns_names.is_empty() {
            String::new()
        } else {
            format!(", with the DNS names {}", rule.dns_names.join(", "))
        };
        out.push(format!("The workload {}{slug} gets certificates{names}.", rule.digest));
    }
    if !rules.is_empty() {
        out.push("No other workload gets a certificate.".to_owned());
    } else if certificate.require_workload {
        out.push(
            "Any workload gets a certificate, as long as one is bound to the evidence.".to_owned(),
        );
    } else {
        out.push(
            "Warning: the workload does not matter, so whatever runs in a Keep that gets in has a \
             certificate."
                .to_owned(),
        );
    }
}

fn certificate(rules: &CertificatePolicy, out: &mut Vec<String>) {
    out.push(format!(
        "A certificate is valid for {} at most, and never longer than the endorsements behind it.",
        duration(rules.lifetime)
    ));
    if rules.backdate > 0 {
        out.push(format!("It begins {} before it is issued.", duration(rules.backdate)));
    }
    if !rules.dns_names.is_empty() {
        out.push(format!(
            "Every certificate has the DNS names {}, so each Keep can speak for them.",
            rules.dns_names.join(", ")
        ));
    }
    out.push(
        if rules.require_nonce {
            "The evidence has to be made for a nonce of the Steward."
        } else {
            "The evidence need not be fresh: it may be as old as its endorsements."
        }
        .to_owned(),
    );
}

fn one_of<T: AsRef<[u8]>>(name: &str, what: &str, list: &[T], out: &mut Vec<String>) {
    if !list.is_empty() {
        out.push(format!("[{name}] The {what} is {}.", listed(list)));
    }
}

/// `4046ea25…`, or how many there are, and the first ones.
fn listed<T: AsRef<[u8]>>(list: &[T]) -> String {
    const SHOWN: usize = 4;
    let mut parts: Vec<_> = list.iter().take(SHOWN).map(|one| short(one.as_ref())).collect();
    if list.len() > SHOWN {
        parts.push("…".to_owned());
    }
    let parts = parts.join(", ");
    if list.len() == 1 { parts } else { format!("one of {} ({parts})", list.len()) }
}

/// The first eight bytes, which are enough to know a value again.
fn short(bytes: &[u8]) -> String {
    match bytes.get(..8) {
        Some(front) if bytes.len() > 16 => format!("{}…", hex(front)),
        _ => hex(bytes),
    }
}

fn duration(seconds: u64) -> String {
    for (unit, name) in [(86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")] {
        if seconds >= unit && seconds.is_multiple_of(unit) {
            let count = seconds / unit;
            return format!("{count} {name}{}", if count == 1 { "" } else { "s" });
        }
    }
    format!("{seconds} seconds")
}
