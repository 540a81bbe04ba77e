// SPDX-License-Identifier: Apache-2.0

//! A report field by field, for people.

use evidence_claims::Field;
use evidence_pki::hex;

use crate::report::{Report, TcbLayout, is_zero, offset, product_of_cpuid};
use crate::{REPORT_SIZE, platform_bits, policy_bits};

/// Fields as they are listed.
struct Fields<'r> {
    report: &'r Report<'r>,
    list: Vec<Field>,
}

impl Fields<'_> {
    fn push(
        &mut self,
        name: &'static str,
        offset: usize,
        length: usize,
        value: String,
        meaning: Option<String>,
    ) {
        self.list.push(Field { offset, length, name, value, meaning });
    }

    fn bytes(&mut self, name: &'static str, at: usize, length: usize) {
        let bytes = self.report.slice(at, length);
        let meaning = is_zero(bytes).then(|| "all zero".to_owned());
        self.push(name, at, length, hex(bytes), meaning);
    }

    fn reserved(&mut self, at: usize, end: usize) {
        let length = end.saturating_sub(at);
        let bytes = self.report.slice(at, length);
        let meaning = if is_zero(bytes) { "zero, as it should be" } else { "should be zero" };
        self.push("RESERVED", at, length, hex(bytes), Some(meaning.to_owned()));
    }

    fn number(&mut self, name: &'static str, at: usize, length: usize, meaning: Option<String>) {
        let bytes = self.report.slice(at, length);
        let value = bytes.iter().rev().fold(0, |sum: u64, byte| (sum << 8) | u64::from(*byte));
        self.push(name, at, length, value.to_string(), meaning);
    }

    fn flags(&mut self, name: &'static str, at: usize, value: u64, length: usize, meaning: String) {
        self.push(name, at, length, format!("{value:#x}"), Some(meaning));
    }

    fn tcb(&mut self, names: TcbNames, at: usize, layout: TcbLayout) {
        let [name, fmc, bootloader, tee, snp, microcode] = names;
        let raw = self.report.tcb(at);
        let unused = layout.decode(raw).is_none();
        let meaning = unused.then(|| "unused bytes should be zero".to_owned());
        self.push(name, at, 8, hex(&raw), meaning);
        let parts: &[(&'static str, usize)] = match layout {
            TcbLayout::Milan => &[(bootloader, 0), (tee, 1), (snp, 6), (microcode, 7)],
            TcbLayout::Turin => &[(fmc, 0), (bootloader, 1), (tee, 2), (snp, 3), (microcode, 7)],
        };
        for (name, place) in parts {
            self.number(name, at + place, 1, None);
        }
    }

    fn firmware(&mut self, names: [&'static str; 3], at: usize) {
        for (place, name) in names.into_iter().enumerate() {
            self.number(name, at + place, 1, None);
        }
    }
}

/// A `TCB_VERSION`, FMC, boot loader, TEE, SNP, microcode.
type TcbNames = [&'static str; 6];

/// Names of a `TCB_VERSION` and its parts.
macro_rules! tcb_names {
    ($name:literal) => {
        [
            $name,
            concat!($name, ".fmc"),
            concat!($name, ".bootloader"),
            concat!($name, ".tee"),
            concat!($name, ".snp"),
            concat!($name, ".microcode"),
        ]
    };
}

/// The fields of a report. `layout` is that of its `TCB_VERSION`s; `None` if CPUID says it. Reports of
/// version 2, which have no CPUID, are older than Turin.
pub(crate) fn of(report: &Report<'_>, layout: Option<TcbLayout>) -> Vec<Field> {
    let cpuid = report.cpuid();
    let product = cpuid.and_then(|(family, model, _)| product_of_cpuid(family, model));
    let layout = layout.or_else(|| product.map(TcbLayout::of)).unwrap_or(TcbLayout::Milan);
    let version = report.version();
    let mut fields = Fields { report, list: Vec::with_capacity(72) };
    let known = if (2..=5).contains(&version) { None } else { Some("not known".to_owned()) };
    fields.number("VERSION", offset::VERSION, 4, known);
    fields.number("GUEST_SVN", offset::GUEST_SVN, 4, None);
    policy(&mut fields, report.policy());
    fields.bytes("FAMILY_ID", offset::FAMILY_ID, 16);
    fields.bytes("IMAGE_ID", offset::IMAGE_ID, 16);
    let host = (report.vmpl() == u32::MAX).then(|| "requested by the host".to_owned());
    fields.number("VMPL", offset::VMPL, 4, host);
    let algorithm = match report.signature_algorithm() {
        1 => "ECDSA over P-384 with SHA-384",
        _ => "not known",
    };
    fields.number("SIGNATURE_ALGO", offset::SIGNATURE_ALGO, 4, Some(algorithm.to_owned()));
    fields.tcb(tcb_names!("CURRENT_TCB"), offset::CURRENT_TCB, layout);
    let platform = report.platform_info();
    let meaning = names(platform, platform_bits::NAMES);
    fields.flags("PLATFORM_INFO", offset::PLATFORM_INFO, platform, 8, meaning);
    key_info(&mut fields, report);
    fields.reserved(offset::RESERVED_AFTER_KEY_INFO, offset::REPORT_DATA);
    fields.bytes("REPORT_DATA", offset::REPORT_DATA, 64);
    fields.bytes("MEASUREMENT", offset::MEASUREMENT, 48);
    fields.bytes("HOST_DATA", offset::HOST_DATA, 32);
    fields.bytes("ID_KEY_DIGEST", offset::ID_KEY_DIGEST, 48);
    fields.bytes("AUTHOR_KEY_DIGEST", offset::AUTHOR_KEY_DIGEST, 48);
    fields.bytes("REPORT_ID", offset::REPORT_ID, 32);
    fields.bytes("REPORT_ID_MA", offset::REPORT_ID_MA, 32);
    fields.tcb(tcb_names!("REPORTED_TCB"), offset::REPORTED_TCB, layout);
    if cpuid.is_some() {
        let name = product.map_or("no processor whose root is known", |one| one.as_str());
        fields.number("CPUID_FAM_ID", offset::CPUID_FAM_ID, 1, Some(name.to_owned()));
        fields.number("CPUID_MOD_ID", offset::CPUID_MOD_ID, 1, None);
        fields.number("CPUID_STEP", offset::CPUID_STEP, 1, None);
        fields.reserved(offset::RESERVED_AFTER_CPUID, offset::CHIP_ID);
    } else {
        fields.reserved(offset::CPUID_FAM_ID, offset::CHIP_ID);
    }
    fields.bytes("CHIP_ID", offset::CHIP_ID, 64);
    fields.tcb(tcb_names!("COMMITTED_TCB"), offset::COMMITTED_TCB, layout);
    fields.firmware(["CURRENT_BUILD", "CURRENT_MINOR", "CURRENT_MAJOR"], offset::CURRENT_BUILD);
    fields.reserved(offset::RESERVED_AFTER_CURRENT, offset::COMMITTED_BUILD);
    fields.firmware(
        ["COMMITTED_BUILD", "COMMITTED_MINOR", "COMMITTED_MAJOR"],
        offset::COMMITTED_BUILD,
    );
    fields.reserved(offset::RESERVED_AFTER_COMMITTED, offset::LAUNCH_TCB);
    fields.tcb(tcb_names!("LAUNCH_TCB"), offset::LAUNCH_TCB, layout);
    if let (Some(launch), Some(current)) =
        (report.launch_mitigations(), report.current_mitigations())
    {
        let bits = |vector: u64| format!("{} mitigations on", vector.count_ones());
        fields.flags("LAUNCH_MIT_VECTOR", offset::LAUNCH_MIT_VECTOR, launch, 8, bits(launch));
        fields.flags("CURRENT_MIT_VECTOR", offset::CURRENT_MIT_VECTOR, current, 8, bits(current));
        fields.reserved(offset::RESERVED_BEFORE_SIGNATURE, offset::SIGNATURE);
    } else {
        fields.reserved(offset::LAUNCH_MIT_VECTOR, offset::SIGNATURE);
    }
    let little = Some("little-endian; the upper 24 bytes are zero".to_owned());
    for (name, at) in [("SIGNATURE.R", offset::SIGNATURE), ("SIGNATURE.S", offset::SIGNATURE_S)] {
        fields.push(name, at, 72, hex(report.slice(at, 72)), little.clone());
    }
    fields.reserved(offset::SIGNATURE_END, REPORT_SIZE);
    fields.list
}

fn policy(fields: &mut Fields<'_>, policy: u64) {
    let meaning = names(policy & !policy_bits::RESERVED_ONE & !0xffff, policy_bits::NAMES);
    fields.flags("POLICY", offset::POLICY, policy, 8, meaning);
    fields.number("POLICY.ABI_MINOR", offset::POLICY, 1, Some("lowest that is allowed".to_owned()));
    fields.number(
        "POLICY.ABI_MAJOR",
        offset::POLICY + 1,
        1,
        Some("lowest that is allowed".to_owned()),
    );
}

fn key_info(fields: &mut Fields<'_>, report: &Report<'_>) {
    let mut words = vec![match report.signing_key() {
        0 => "signed by the VCEK",
        1 => "signed by a VLEK",
        7 => "not signed",
        _ => "signed by a key of an unknown kind",
    }];
    if report.author_key_enabled() {
        words.push("AUTHOR_KEY_EN");
    }
    if report.chip_key_masked() {
        words.push("MASK_CHIP_KEY");
    }
    if report.key_info() >> 5 != 0 {
        words.push("reserved bits should be zero");
    }
    let value = u64::from(report.key_info());
    fields.flags("KEY_INFO", offset::KEY_INFO, value, 4, words.join(", "));
}

/// The names of the bits that are set, and the rest of them as a number.
fn names(bits: u64, known: &[(u64, &str)]) -> String {
    let mut rest = bits;
    let mut words = Vec::new();
    for (mask, name) in known {
        if bits & mask != 0 {
            words.push((*name).to_owned());
            rest &= !mask;
        }
    }
    if rest != 0 {
        words.push(format!("unknown {rest:#x}"));
    }
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}
