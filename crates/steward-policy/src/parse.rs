// SPDX-License-Identifier: Apache-2.0

//! From the text of a policy to a [`Policy`].
//!
//! The defaults are here, and each of them is the strict choice or the published one;
//! `docs/steward-policy.md` lists them.

use evidence_claims::{SnpProduct, TcbStatus, TcbVersion};
use evidence_pki::{Certificate, pem_blocks};
use semver::VersionReq;
use steward_claims::Workload;
use toml::de::{DeTable, DeValue};

use crate::flags;
use crate::policy::{
    CodePolicy, DevelopmentPolicy, IntelPolicy, PlatformInfo, PolicyFlags, SgxPolicy, SnpPolicy,
    TdxPolicy,
};
use crate::reader::{Table, bytes, fault, hex, shown, word};
use crate::{CertificatePolicy, Policy, PolicyError, WorkloadRule};

type Result<T> = core::result::Result<T, PolicyError>;

const DAY: u64 = 86_400;
/// The longest life of a certificate: what web browsers grant.
const MAX_LIFETIME: u64 = 398 * DAY;
const MIN_LIFETIME: u64 = 60;
const MAX_BACKDATE: u64 = DAY;
const MAX_ROOT: usize = 16 << 10;

pub(crate) fn policy(text: &str) -> Result<Policy> {
    if text.len() > Policy::MAX_SIZE {
        let message = format!("a policy has at most {} bytes", Policy::MAX_SIZE);
        return Err(fault("", 0..0, message));
    }
    let document = DeTable::parse(text).map_err(|error| {
        let message = format!("this is not TOML: {}", error.message());
        fault(text, error.span().unwrap_or_default(), message)
    })?;
    let document = Table::document(text, &document);
    document.only(&["sgx", "snp", "tdx", "development", "certificate", "workload"])?;
    Ok(Policy {
        text: text.to_owned(),
        sgx: document.table("sgx")?.map(|table| sgx(&table)).transpose()?,
        snp: document.table("snp")?.map(|table| snp(&table)).transpose()?,
        tdx: document.table("tdx")?.map(|table| tdx(&table)).transpose()?,
        development: document
            .table("development")?
            .map(|table| development(text, &table))
            .transpose()?,
        certificate: match document.table("certificate")? {
            Some(table) => certificate(&table)?,
            None => CertificatePolicy::default(),
        },
        workloads: workloads(&document)?,
    })
}

/// `signer`, `hash`, `hash_blacklist` and `any_code`; hashes are of `LENGTH` bytes.
fn code<const LENGTH: usize>(table: &Table<'_, '_>, signers: bool) -> Result<CodePolicy> {
    code_of(table, signers, |text| bytes::<LENGTH>(text).map(|hash| hash.to_vec()))
}

fn code_of(
    table: &Table<'_, '_>,
    signers: bool,
    hash_of: impl Copy + Fn(&str) -> core::result::Result<Vec<u8>, String>,
) -> Result<CodePolicy> {
    let code = CodePolicy {
        signer: if signers { table.allowed("signer", hash_of)? } else { Vec::new() },
        hash: table.allowed("hash", hash_of)?,
        hash_blacklist: table.each("hash_blacklist", hash_of)?.unwrap_or_default(),
        any_code: table.flag("any_code")?.unwrap_or(false),
    };
    if code.hash.iter().any(|hash| code.hash_blacklist.contains(hash)) {
        let message = "a hash is in `hash` and in `hash_blacklist`; take it out of one of them";
        return Err(table.fault_at("hash_blacklist", message));
    }
    let limited = !(code.signer.is_empty() && code.hash.is_empty());
    if code.any_code && limited {
        let message = "`any_code` says that code does not matter, and `signer` or `hash` that it does; \
                       take one of them out";
        return Err(table.fault_at("any_code", message));
    }
    Ok(code)
}

/// Refuses rules that say nothing about code.
fn says_which_code(table: &Table<'_, '_>, code: &CodePolicy, keys: &str) -> Result<()> {
    let silent = code.signer.is_empty() && code.hash.is_empty() && code.hash_blacklist.is_empty();
    if silent && !code.any_code {
        return Err(table.fault(format!(
            "nothing here says which code may run: give at least one of {keys}, or `any_code = true` if \
             whatever code there is shall get certificates"
        )));
    }
    Ok(())
}

fn small<T: TryFrom<u64>>(table: &Table<'_, '_>, key: &str, largest: u64) -> Result<Option<T>> {
    Ok(table.number(key, largest)?.and_then(|number| T::try_from(number).ok()))
}

/// The bits of a list of flags.
fn mask(table: &Table<'_, '_>, key: &str, words: &[flags::Flag]) -> Result<Option<u64>> {
    let bits = table.each(key, |text| word(text, words))?;
    Ok(bits.map(|bits| bits.into_iter().fold(0, |sum, bit| sum | bit)))
}

const INTEL_KEYS: [&str; 8] = [
    "accepted_tcb_statuses",
    "tcb_grace_days",
    "min_tcb_evaluation_data_number",
    "allowed_advisories",
    "require_qe_identity",
    "allow_smt",
    "allow_cached_keys",
    "allow_dynamic_platform",
];

fn intel(table: &Table<'_, '_>) -> Result<IntelPolicy> {
    let statuses = TcbStatus::ALL.map(|status| (status.as_str(), status));
    let accepted = table.allowed("accepted_tcb_statuses", |text| match word(text, &statuses)? {
        TcbStatus::Revoked => Err("a revoked platform is never accepted".to_owned()),
        status => Ok(status),
    })?;
    let advisory = |text: &str| {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("`{}` is no advisory like `INTEL-SA-00615`", shown(text)));
        }
        Ok(text.to_owned())
    };
    Ok(IntelPolicy {
        accepted_tcb_statuses: if accepted.is_empty() {
            vec![TcbStatus::UpToDate]
        } else {
            accepted
        },
        tcb_grace_days: table.number("tcb_grace_days", 3650)?.unwrap_or(0),
        min_tcb_evaluation_data_number: small(
            table,
            "min_tcb_evaluation_data_number",
            u64::from(u32::MAX),
        )?,
        allowed_advisories: table.each("allowed_advisories", advisory)?,
        require_qe_identity: table.flag("require_qe_identity")?.unwrap_or(true),
        allow_smt: table.flag("allow_smt")?.unwrap_or(true),
        allow_cached_keys: table.flag("allow_cached_keys")?.unwrap_or(true),
        allow_dynamic_platform: table.flag("allow_dynamic_platform")?.unwrap_or(true),
    })
}

fn sgx(table: &Table<'_, '_>) -> Result<SgxPolicy> {
    let own = [
        "signer",
        "hash",
        "hash_blacklist",
        "any_code",
        "features",
        "enclave_security_version",
        "enclave_product_id",
        "misc_select",
        "config_id",
        "config_svn",
        "family_id",
        "ext_prod_id",
    ];
    table.only(&[own.as_slice(), &INTEL_KEYS].concat())?;
    let code = code::<32>(table, true)?;
    says_which_code(table, &code, "`signer`, `hash` and `hash_blacklist`")?;
    let u16_max = u64::from(u16::MAX);
    Ok(SgxPolicy {
        code,
        intel: intel(table)?,
        features: mask(table, "features", flags::SGX_FEATURES)?,
        enclave_security_version: small(table, "enclave_security_version", u16_max)?,
        enclave_product_id: small(table, "enclave_product_id", u16_max)?,
        misc_select: mask(table, "misc_select", flags::SGX_MISC)?
            .and_then(|bits| u32::try_from(bits).ok()),
        config_id: table.one("config_id", bytes)?,
        config_svn: small(table, "config_svn", u16_max)?,
        family_id: table.one("family_id", bytes)?,
        ext_prod_id: table.one("ext_prod_id", bytes)?,
    })
}

fn snp(table: &Table<'_, '_>) -> Result<SnpPolicy> {
    table.only(&[
        "signer",
        "hash",
        "hash_blacklist",
        "any_code",
        "id_key_digest",
        "id_key_digest_blacklist",
        "abi",
        "policy_flags",
        "platform_info_flags",
        "vmpl",
        "min_guest_svn",
        "host_data",
        "family_id",
        "image_id",
        "products",
        "allow_vlek",
        "csp_ids",
        "chip_ids",
        "minimum_tcb",
    ])?;
    let code = code::<48>(table, true)?;
    says_which_code(table, &code, "`signer`, `hash` and `hash_blacklist`")?;
    let id_key_digest = table.allowed("id_key_digest", bytes)?;
    let id_key_digest_blacklist = table.each("id_key_digest_blacklist", bytes)?.unwrap_or_default();
    if id_key_digest.iter().any(|digest| id_key_digest_blacklist.contains(digest)) {
        let message = "a digest is in `id_key_digest` and in `id_key_digest_blacklist`; take it out of one \
                       of them";
        return Err(table.fault_at("id_key_digest_blacklist", message));
    }
    let vmpl = table.numbers("vmpl", 3)?;
    if vmpl.as_ref().is_some_and(Vec::is_empty) {
        return Err(table.fault_at("vmpl", "`vmpl` is empty and would let nothing in"));
    }
    let products = SnpProduct::ALL.map(|product| (product.as_str(), product));
    let csp_id = |text: &str| {
        if text.is_empty() { Err("this is empty".to_owned()) } else { Ok(text.to_owned()) }
    };
    Ok(SnpPolicy {
        code,
        id_key_digest,
        id_key_digest_blacklist,
        abi: table.one("abi", |text| {
            VersionReq::parse(text).map_err(|error| {
                format!("`abi` is a range of versions like `>=1.51`, and this is none: {error}")
            })
        })?,
        policy_flags: policy_flags(table)?,
        platform_info: platform_info(table)?,
        vmpl: vmpl.map_or_else(
            || vec![0],
            |list| list.into_iter().filter_map(|vmpl| u32::try_from(vmpl).ok()).collect(),
        ),
        min_guest_svn: small(table, "min_guest_svn", u64::from(u32::MAX))?.unwrap_or(0),
        host_data: table.allowed("host_data", bytes)?,
        family_id: table.allowed("family_id", bytes)?,
        image_id: table.allowed("image_id", bytes)?,
        products: table.allowed("products", |text| word(text, &products))?,
        allow_vlek: table.flag("allow_vlek")?.unwrap_or(true),
        csp_ids: table.allowed("csp_ids", csp_id)?,
        chip_ids: table.allowed("chip_ids", chip_id)?,
        minimum_tcb: minimum_tcb(table)?,
    })
}

/// 64 bytes, or the eight of a Turin, which reports fill up with zeros.
fn chip_id(text: &str) -> core::result::Result<[u8; 64], String> {
    let given = hex(text)?;
    let mut id = [0; 64];
    match id.split_at_mut_checked(given.len()) {
        Some((front, _)) if matches!(given.len(), 8 | 64) => front.copy_from_slice(&given),
        _ => {
            return Err(format!(
                "64 bytes are wanted here, or 8 for a Turin, and there are {}",
                given.len()
            ));
        }
    }
    Ok(id)
}

fn policy_flags(table: &Table<'_, '_>) -> Result<Option<PolicyFlags>> {
    let all = [flags::SNP_MAY, flags::SNP_MUST].concat();
    let may: u64 = flags::SNP_MAY.iter().map(|(_, bit)| bit).sum();
    Ok(mask(table, "policy_flags", &all)?
        .map(|bits| PolicyFlags { may: bits & may, must: bits & !may }))
}

/// `"SME"` and `"TSME"` are the published form: one of two values that are exact. `SME` is a misname: bit
/// 0 says whether SMT is on.
fn platform_info(table: &Table<'_, '_>) -> Result<PlatformInfo> {
    const KEY: &str = "platform_info_flags";
    match table.get(KEY).map(|value| value.get_ref()) {
        Some(DeValue::String(_)) => {
            let value = table.one(KEY, |text| word(text, &[("SME", 1), ("TSME", 2)]))?;
            Ok(PlatformInfo { mask: 3, value: value.unwrap_or_default() })
        }
        _ => {
            let bits = mask(table, KEY, flags::SNP_PLATFORM)?.unwrap_or(0);
            Ok(PlatformInfo { mask: bits, value: bits })
        }
    }
}

fn minimum_tcb(table: &Table<'_, '_>) -> Result<Vec<(SnpProduct, TcbVersion)>> {
    let Some(minima) = table.table("minimum_tcb")? else { return Ok(Vec::new()) };
    minima.only(&["milan", "genoa", "turin"])?;
    let mut out = Vec::new();
    for (name, product) in
        [("milan", SnpProduct::Milan), ("genoa", SnpProduct::Genoa), ("turin", SnpProduct::Turin)]
    {
        let Some(minimum) = minima.table(name)? else { continue };
        let keys = ["bootloader", "tee", "snp", "microcode", "fmc"];
        // Only Turin measures its FMC.
        minimum.only(if product == SnpProduct::Turin { &keys } else { &keys[..4] })?;
        let part = |key| small::<u8>(&minimum, key, 255);
        let tcb = TcbVersion {
            fmc: part("fmc")?,
            bootloader: part("bootloader")?.unwrap_or(0),
            tee: part("tee")?.unwrap_or(0),
            snp: part("snp")?.unwrap_or(0),
            microcode: part("microcode")?.unwrap_or(0),
        };
        out.push((product, tcb));
    }
    Ok(out)
}

fn tdx(table: &Table<'_, '_>) -> Result<TdxPolicy> {
    let own = [
        "hash",
        "hash_blacklist",
        "any_code",
        "mr_config_id",
        "mr_owner",
        "mr_owner_config",
        "rtmr0",
        "rtmr1",
        "rtmr2",
        "rtmr3",
        "mr_seam",
        "mr_service_td",
        "require_sept_ve_disable",
        "allow_pks",
        "allow_key_locker",
        "xfam",
        "min_tee_tcb_svn",
    ];
    table.only(&[own.as_slice(), &INTEL_KEYS].concat())?;
    let code = code::<48>(table, false)?;
    says_which_code(table, &code, "`hash` and `hash_blacklist`")?;
    Ok(TdxPolicy {
        code,
        intel: intel(table)?,
        mr_config_id: table.allowed("mr_config_id", bytes)?,
        mr_owner: table.allowed("mr_owner", bytes)?,
        mr_owner_config: table.allowed("mr_owner_config", bytes)?,
        rtmrs: [
            table.allowed("rtmr0", bytes)?,
            table.allowed("rtmr1", bytes)?,
            table.allowed("rtmr2", bytes)?,
            table.allowed("rtmr3", bytes)?,
        ],
        mr_seam: table.allowed("mr_seam", bytes)?,
        mr_service_td: table.allowed("mr_service_td", bytes)?,
        require_sept_ve_disable: table.flag("require_sept_ve_disable")?.unwrap_or(true),
        allow_pks: table.flag("allow_pks")?.unwrap_or(false),
        allow_key_locker: table.flag("allow_key_locker")?.unwrap_or(false),
        xfam: table.number("xfam", u64::MAX)?,
        min_tee_tcb_svn: table.one("min_tee_tcb_svn", bytes)?,
    })
}

fn development(source: &str, table: &Table<'_, '_>) -> Result<DevelopmentPolicy> {
    table.only(&["root", "signer", "hash", "hash_blacklist", "any_code", "sgx", "snp"])?;
    let wanted = "a certificate in PEM, or a list of such";
    let entries: Vec<_> = match table.get("root") {
        None => {
            return Err(table.fault(
                "`root` is missing: the PEM text of the certificate under which development evidence is \
                 signed",
            ));
        }
        Some(value) => match value.get_ref() {
            DeValue::Array(array) => array.iter().collect(),
            _ => vec![value],
        },
    };
    let mut roots = Vec::new();
    for entry in &entries {
        let bad = |message: &str| fault(source, entry.span(), message);
        let DeValue::String(text) = entry.get_ref() else {
            return Err(bad(&format!("`root` is {wanted}")));
        };
        if text.len() > MAX_ROOT {
            return Err(bad("this `root` is too long for a certificate"));
        }
        let blocks = pem_blocks(text.as_bytes(), "CERTIFICATE")
            .map_err(|_| bad("this is no certificate in PEM (`-----BEGIN CERTIFICATE-----`)"))?;
        for block in blocks {
            Certificate::parse(&block).map_err(|error| bad(&format!("in this PEM: {error}")))?;
            roots.push(block);
        }
    }
    if roots.is_empty() || roots.len() > 8 {
        return Err(table.fault_at("root", "there are from one to eight roots"));
    }
    Ok(DevelopmentPolicy {
        code: code_of(table, true, hash_of_either)?,
        roots,
        sgx: table.table("sgx")?.map(|table| sgx(&table)).transpose()?,
        snp: table.table("snp")?.map(|table| snp(&table)).transpose()?,
    })
}

/// A hash as SGX has it, or as SNP has it.
fn hash_of_either(text: &str) -> core::result::Result<Vec<u8>, String> {
    match hex(text)? {
        hash if matches!(hash.len(), 32 | 48) => Ok(hash),
        other => Err(format!(
            "32 bytes (SGX) or 48 (SNP) are wanted here, and there are {}",
            other.len()
        )),
    }
}

fn certificate(table: &Table<'_, '_>) -> Result<CertificatePolicy> {
    table.only(&["lifetime", "backdate", "dns_names", "require_nonce", "require_workload"])?;
    let default = CertificatePolicy::default();
    Ok(CertificatePolicy {
        lifetime: table
            .one("lifetime", |text| span_of_time(text, MIN_LIFETIME, MAX_LIFETIME, "398d"))?
            .unwrap_or(default.lifetime),
        backdate: table
            .one("backdate", |text| span_of_time(text, 0, MAX_BACKDATE, "1d"))?
            .unwrap_or(default.backdate),
        dns_names: table.each("dns_names", dns_name)?.unwrap_or_default(),
        require_nonce: table.flag("require_nonce")?.unwrap_or(false),
        require_workload: table.flag("require_workload")?.unwrap_or(false),
    })
}

fn workloads(document: &Table<'_, '_>) -> Result<Vec<WorkloadRule>> {
    let mut out: Vec<WorkloadRule> = Vec::new();
    for table in document.tables("workload")? {
        table.only(&["digest", "slug", "dns_names"])?;
        let Some(digest) = table.text("digest")? else {
            return Err(table.fault("`digest` is missing: `sha256:` and 64 hexadecimal digits"));
        };
        let slug = table.text("slug")?;
        Workload::new(None, digest).map_err(|error| table.fault_at("digest", error.to_string()))?;
        Workload::new(slug, digest).map_err(|error| table.fault_at("slug", error.to_string()))?;
        let rule = WorkloadRule {
            digest: digest.to_owned(),
            slug: slug.map(str::to_owned),
            dns_names: table.each("dns_names", dns_name)?.unwrap_or_default(),
        };
        if out.iter().any(|other| other.digest == rule.digest && other.slug == rule.slug) {
            return Err(table.fault_at("digest", "this workload is given twice"));
        }
        out.push(rule);
    }
    Ok(out)
}

/// `28d`, `12h`, `90m` or `3600s`, in seconds.
fn span_of_time(
    text: &str,
    least: u64,
    most: u64,
    most_text: &str,
) -> core::result::Result<u64, String> {
    let bad = || {
        format!(
            "`{}` is no span of time like `28d`, `12h`, `90m` or `3600s`, from {least}s to {most_text}",
            shown(text)
        )
    };
    let unit = text.chars().next_back().ok_or_else(bad)?;
    let factor = match unit {
        'd' => DAY,
        'h' => 3600,
        'm' => 60,
        's' => 1,
        _ => return Err(bad()),
    };
    let digits = text.strip_suffix(unit).unwrap_or_default();
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad());
    }
    let number: u64 = digits.parse().map_err(|_| bad())?;
    match number.checked_mul(factor) {
        Some(seconds) if (least..=most).contains(&seconds) => Ok(seconds),
        _ => Err(bad()),
    }
}

/// A name as certificates carry it: lower-case letters, digits and `-`, no wildcard.
fn dns_name(text: &str) -> core::result::Result<String, String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    let numeric = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    if text.contains('*') {
        return Err("a wildcard would let one Keep speak for others; write each name".to_owned());
    }
    let good = text.len() <= 253
        && text.split('.').all(label)
        && !text.rsplit('.').next().is_some_and(numeric);
    if good {
        Ok(text.to_owned())
    } else {
        Err(format!("`{}` is no DNS name in lower case, like `keep.example.com`", shown(text)))
    }
}
