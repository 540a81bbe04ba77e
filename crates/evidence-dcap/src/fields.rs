// SPDX-License-Identifier: Apache-2.0

//! A quote field by field, for people.

use evidence_claims::Field;
use evidence_pki::hex;

use crate::quote::{Body, Certification, INTEL_VENDOR, Quote};
use crate::report::{EnclaveReport, TdReport};
use crate::vendor;

/// Fields that are written one after the other.
struct Writer {
    at: usize,
    out: Vec<Field>,
}

impl Writer {
    fn push(&mut self, name: &'static str, length: usize, value: String, meaning: Option<String>) {
        self.out.push(Field { offset: self.at, length, name, value, meaning });
        self.at = self.at.saturating_add(length);
    }

    fn bytes(&mut self, name: &'static str, bytes: &[u8]) {
        self.push(name, bytes.len(), hex(bytes), None);
    }

    fn said(&mut self, name: &'static str, bytes: &[u8], meaning: &str) {
        self.push(name, bytes.len(), hex(bytes), Some(meaning.to_owned()));
    }

    fn number(&mut self, name: &'static str, length: usize, value: u64, meaning: Option<&str>) {
        self.push(name, length, value.to_string(), meaning.map(str::to_owned));
    }

    fn flags(&mut self, name: &'static str, length: usize, value: u64, meaning: String) {
        self.push(name, length, format!("{value:#x}"), Some(meaning));
    }

    /// Bytes that have no meaning and must be zero.
    fn reserved(&mut self, length: usize) {
        self.at = self.at.saturating_add(length);
    }
}

/// Names of the bits that are set.
fn names(value: u64, bits: &[(u32, &str)]) -> String {
    let known: Vec<&str> =
        bits.iter().filter(|(bit, _)| value >> bit & 1 == 1).map(|(_, name)| *name).collect();
    if known.is_empty() { "none".to_owned() } else { known.join(", ") }
}

const SGX_FLAGS: &[(u32, &str)] = &[
    (0, "INIT"),
    (1, "DEBUG"),
    (2, "MODE64BIT"),
    (4, "PROVISION_KEY"),
    (5, "EINITTOKEN_KEY"),
    (6, "CET"),
    (7, "KSS"),
    (10, "AEX_NOTIFY"),
];

const TD_FLAGS: &[(u32, &str)] = &[
    (0, "DEBUG"),
    (4, "HGS_PLUS_PROF"),
    (5, "PERF_PROF"),
    (6, "PMT_PROF"),
    (16, "ICSSD"),
    (27, "LASS"),
    (28, "SEPT_VE_DISABLE"),
    (29, "MIGRATABLE"),
    (30, "PKS"),
    (31, "KL"),
    (62, "TPA"),
    (63, "PERFMON"),
];

/// All fields of a quote, in their order.
pub(crate) fn of(quote: &Quote<'_>) -> Vec<Field> {
    let mut writer = Writer { at: 0, out: Vec::new() };
    header(&mut writer, quote);
    match &quote.body {
        Body::Sgx(report) => enclave(&mut writer, report, &SGX_NAMES),
        Body::Tdx(report) => td(&mut writer, report),
    }
    signature(&mut writer, quote);
    writer.out
}

fn header(writer: &mut Writer, quote: &Quote<'_>) {
    writer.number("version", 2, quote.version.into(), None);
    let meaning = if quote.key_type == 2 { "ECDSA P-256" } else { "unknown" };
    writer.number("attestation_key_type", 2, quote.key_type.into(), Some(meaning));
    let tee = quote.tee.number().into();
    writer.flags("tee_type", 4, tee, quote.tee.as_str().to_owned());
    let [qe_low, qe_high, pce_low, pce_high] = quote.header_svns;
    if quote.version == 3 {
        writer.number("qe_svn", 2, u16::from_le_bytes([qe_low, qe_high]).into(), None);
        writer.number("pce_svn", 2, u16::from_le_bytes([pce_low, pce_high]).into(), None);
    } else {
        writer.reserved(4);
    }
    let meaning = match quote.vendor {
        INTEL_VENDOR => "Intel",
        id if id == vendor::DEVELOPMENT.id => "a stand-in",
        _ => "unknown",
    };
    writer.said("qe_vendor_id", &quote.vendor, meaning);
    writer.bytes("user_data", &quote.user_data);
    if let Some(kind) = quote.body_type {
        let (meaning, size) = match kind {
            1 => ("SGX enclave", 384),
            2 => ("TD, TDX 1.0", 584),
            _ => ("TD, TDX 1.5", 648),
        };
        writer.number("body_type", 2, kind.into(), Some(meaning));
        writer.number("body_size", 4, size, None);
    }
}

/// Names of a report's fields, in their order.
type Names = [&'static str; 13];

const SGX_NAMES: Names = [
    "cpu_svn",
    "misc_select",
    "isv_ext_prod_id",
    "attributes.flags",
    "attributes.xfrm",
    "mr_enclave",
    "mr_signer",
    "config_id",
    "isv_prod_id",
    "isv_svn",
    "config_svn",
    "isv_family_id",
    "report_data",
];

const QE_NAMES: Names = [
    "qe.cpu_svn",
    "qe.misc_select",
    "qe.isv_ext_prod_id",
    "qe.attributes.flags",
    "qe.attributes.xfrm",
    "qe.mr_enclave",
    "qe.mr_signer",
    "qe.config_id",
    "qe.isv_prod_id",
    "qe.isv_svn",
    "qe.config_svn",
    "qe.isv_family_id",
    "qe.report_data",
];

fn enclave(writer: &mut Writer, report: &EnclaveReport<'_>, names_of: &Names) {
    let [
        cpu_svn,
        misc_select,
        ext_product,
        flags,
        xfrm,
        measurement,
        signer,
        config_id,
        product,
        svn,
        config_svn,
        family,
        report_data,
    ] = *names_of;
    writer.bytes(cpu_svn, report.cpu_svn());
    let misc = report.misc_select().into();
    writer.flags(misc_select, 4, misc, names(misc, &[(0, "EXINFO"), (1, "CPINFO")]));
    writer.reserved(12);
    writer.bytes(ext_product, report.ext_product());
    writer.flags(flags, 8, report.flags(), names(report.flags(), SGX_FLAGS));
    writer.flags(xfrm, 8, report.xfrm(), "state components (XCR0)".to_owned());
    writer.bytes(measurement, report.measurement());
    writer.reserved(32);
    writer.bytes(signer, report.signer());
    writer.reserved(32);
    writer.bytes(config_id, report.config_id());
    writer.number(product, 2, report.product().into(), None);
    writer.number(svn, 2, report.svn().into(), None);
    writer.number(config_svn, 2, report.config_svn().into(), None);
    writer.reserved(42);
    writer.bytes(family, report.family());
    writer.bytes(report_data, report.report_data());
}

fn td(writer: &mut Writer, report: &TdReport<'_>) {
    writer.said(
        "tee_tcb_svn",
        report.tcb_svn(),
        "when the TD started; SVN and generation of the TDX module come first",
    );
    writer.said("mr_seam", report.mr_seam(), "the TDX module");
    let meaning =
        if report.mr_signer_seam().iter().all(|byte| *byte == 0) { "Intel" } else { "unknown" };
    writer.said("mr_signer_seam", report.mr_signer_seam(), meaning);
    let seam = u64::from_le_bytes(*report.seam_attributes());
    writer.flags("seam_attributes", 8, seam, names(seam, &[]));
    let attributes = report.td_attributes();
    writer.flags("td_attributes", 8, attributes, names(attributes, TD_FLAGS));
    writer.flags("xfam", 8, report.xfam(), "extended features (XCR0, IA32_XSS)".to_owned());
    writer.bytes("mr_td", report.measurement());
    writer.bytes("mr_config_id", report.mr_config_id());
    writer.bytes("mr_owner", report.mr_owner());
    writer.bytes("mr_owner_config", report.mr_owner_config());
    for (name, value) in ["rtmr0", "rtmr1", "rtmr2", "rtmr3"].into_iter().zip(report.rtmrs()) {
        writer.bytes(name, &value);
    }
    writer.bytes("report_data", report.report_data());
    if let (Some(tcb_svn), Some(service_td)) = (report.tcb_svn_2(), report.mr_service_td()) {
        writer.said("tee_tcb_svn_2", tcb_svn, "of the TDX module that ran at the quote");
        writer.bytes("mr_service_td", service_td);
    }
}

fn signature(writer: &mut Writer, quote: &Quote<'_>) {
    writer.at = quote.signature_offset;
    let length = quote.raw.len().saturating_sub(quote.signature_offset).saturating_sub(4);
    writer.number("signature_data_length", 4, length as u64, None);
    writer.said("signature", quote.signature, "ECDSA P-256, r and s");
    writer.said("attestation_key", quote.attestation_key, "x and y");
    if quote.version > 3 {
        let length = length.saturating_sub(134);
        writer.number("certification_data_type", 2, 6, Some("QE report certification data"));
        writer.number("certification_data_length", 4, length as u64, None);
    }
    enclave(writer, &quote.qe_report, &QE_NAMES);
    writer.said("qe.signature", quote.qe_report_signature, "ECDSA P-256, r and s");
    writer.number("qe.auth_data_length", 2, quote.qe_auth_data.len() as u64, None);
    writer.bytes("qe.auth_data", quote.qe_auth_data);
    match quote.certification {
        Certification::Chain(pem) => {
            writer.number("pck.type", 2, 5, Some("PCK certificate chain, PEM"));
            writer.number("pck.length", 4, pem.len() as u64, None);
            let end = pem.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let text = String::from_utf8_lossy(pem.get(..end).unwrap_or_default()).into_owned();
            writer.push("pck.chain", pem.len(), text, None);
        }
        Certification::Encrypted { pce_id } => {
            writer.number("pck.type", 2, 3, Some("PPID encrypted, CPUSVN, PCESVN, PCE-ID"));
            writer.number("pck.length", 4, 404, None);
            writer.reserved(402);
            writer.bytes("pck.pce_id", &pce_id);
        }
    }
}
