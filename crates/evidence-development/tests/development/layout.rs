// SPDX-License-Identifier: Apache-2.0

//! Evidence of stand-ins is laid out byte by byte as that of hardware: reports, quotes, certificates and
//! collateral are held against recorded ones.
//!
//! The recordings belong to others and are no part of this project: they are found by the environment variable
//! `ENARX_VECTORS`, and without them these tests say so and do nothing. The tables of fields here are written
//! from the specifications once more, so that they are not those of the code that is tested.
//!
//! What is known to differ, and on purpose: names, who signs (the development root is on P-384, AMD's keys are
//! RSA), lengths of serial numbers, and optional parts of JSON that say nothing of a made-up platform.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use evidence_claims::Format;
use evidence_crypto::AwsLc;
use evidence_development::{Guest, STAND_IN_TCB};
use evidence_pki::{Certificate, Cursor, Extension, PublicKey, certificates, tag, unhex};
use evidence_snp::{Development, Snp};
use serde_json::Value;

use crate::{NOW, composed, enclave, root};

/// The recordings; `None` with a printed reason if they are not there.
fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("ENARX_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    if folder.join("snp").is_dir() {
        return Some(folder);
    }
    println!("skipped: no recorded evidence in {}; set ENARX_VECTORS", folder.display());
    None
}

/// The cases of a platform that have such a file, with its content.
fn cases(folder: &Path, platform: &str, file: &str) -> Vec<(String, Vec<u8>)> {
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(folder.join(platform)).unwrap() {
        let path = entry.unwrap().path();
        if let Ok(content) = std::fs::read(path.join(file)) {
            cases.push((path.file_name().unwrap().to_string_lossy().into_owned(), content));
        }
    }
    cases.sort();
    assert!(cases.len() >= 4, "{platform}: {} cases", cases.len());
    cases
}

/// What of a report is zero by its version (AMD 56860, `ATTESTATION_REPORT`): from, to.
fn reserved_of_report(version: u32) -> Vec<(usize, usize)> {
    let cpuid = if version < 3 { 0x188 } else { 0x18b };
    let mitigations = if version < 5 { 0x1f8 } else { 0x208 };
    vec![
        (0x04c, 0x050),
        (cpuid, 0x1a0),
        (0x1eb, 0x1ec),
        (0x1ef, 0x1f0),
        (mitigations, 0x2a0),
        // R and S have 48 of 72 bytes each.
        (0x2a0 + 48, 0x2e8),
        (0x2e8 + 48, 0x330),
        (0x330, 0x4a0),
    ]
}

/// What of an enclave's report is zero (Intel SDM volume 3D, `REPORT`).
const RESERVED_OF_ENCLAVE: [(usize, usize); 4] = [(20, 32), (96, 128), (160, 192), (262, 304)];

fn zero(bytes: &[u8], (from, to): (usize, usize)) -> bool {
    bytes[from..to].iter().all(|byte| *byte == 0)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// What every report of a Keep-like guest has in common, whatever chip it is of.
fn report_facts(report: &[u8]) -> Vec<String> {
    let version = u32_at(report, 0);
    let mut facts = vec![
        format!("{} bytes of version {version}", report.len()),
        format!("signature algorithm {}", u32_at(report, 0x034)),
        format!("POLICY bit 17: {}", report[0x00a] >> 1 & 1),
        format!("POLICY beyond bit 25: {}", u32_at(report, 0x00c) | u32_at(report, 0x008) >> 26),
        format!("VMPL is one of four: {}", u32_at(report, 0x030) < 4),
        format!("KEY_INFO beyond bit 4: {}", u32_at(report, 0x048) >> 5),
        format!("REPORT_ID is there: {}", !zero(report, (0x140, 0x160))),
        format!("REPORT_ID_MA: {:x?}", &report[0x160..0x180]),
        format!(
            "R and S are there: {}",
            !zero(report, (0x2a0, 0x2d0)) && !zero(report, (0x2e8, 0x318))
        ),
    ];
    for at in [0x038, 0x180, 0x1e0, 0x1f0] {
        facts.push(format!("TCB at {at:#x}, unused bytes: {:x?}", &report[at + 2..at + 6]));
    }
    for range in reserved_of_report(version) {
        facts.push(format!("{range:x?} is zero: {}", zero(report, range)));
    }
    facts
}

#[test]
fn reports_are_laid_out_as_recorded_ones() {
    let Some(folder) = folder() else { return };
    let root = root();
    let attester = root.snp_stand_in(NOW).unwrap();
    let ours = Development::new(Arc::new(AwsLc), Vec::new());
    let amds = Snp::new(Arc::new(AwsLc));
    let names = |format: &dyn Format, report: &[u8]| -> Vec<(usize, usize, &'static str)> {
        let fields = format.fields(report).unwrap();
        fields.iter().map(|field| (field.offset, field.length, field.name)).collect()
    };
    let mut versions = Vec::new();
    for (case, recorded) in cases(&folder, "snp", "report.bin") {
        // Turin has another TCB_VERSION, and stand-ins have Milan's.
        if case.starts_with("turin") {
            continue;
        }
        let mut synthetic = composed(u32_at(&recorded, 0));
        attester.sign_report(&mut synthetic).unwrap();
        assert_eq!(report_facts(&synthetic), report_facts(&recorded), "{case}");
        assert_eq!(names(&ours, &synthetic), names(&amds, &recorded), "{case}");
        versions.push(u32_at(&recorded, 0));
    }
    assert!([2, 3, 5].iter().all(|version| versions.contains(version)), "{versions:?}");

    // The host agent's own reports are of version 2.
    let report = root.attester(NOW).unwrap().report(&Guest::default(), &[1; 64]).unwrap();
    for (from, to) in reserved_of_report(2) {
        assert!(zero(&report, (from, to)), "{from:#x} to {to:#x}");
    }
}

/// The elements of DER, with identifiers of objects and lengths of strings, but without values.
fn shape(der: &[u8]) -> String {
    fn list(mut cursor: Cursor<'_>, out: &mut String) {
        while !cursor.is_done() {
            let Ok(item) = cursor.next() else {
                out.push_str("? ");
                return;
            };
            *out += &format!("{:02x}", item.tag);
            match item.tag {
                tag::OID => *out += &format!("{:x?}", item.value),
                tag::OCTET_STRING => *out += &format!("[{}]", item.value.len()),
                constructed if constructed & 0x20 != 0 => {
                    out.push('(');
                    list(Cursor::new(item.value, "shape"), out);
                    out.push(')');
                }
                _ => {}
            }
            out.push(' ');
        }
    }
    let mut out = String::new();
    list(Cursor::new(der, "shape"), &mut out);
    out
}

/// `hwID` is no DER: the identity itself.
const HARDWARE_ID: &str = "1.3.6.1.4.1.3704.1.4";

fn shape_of_extension(extension: &Extension<'_>) -> String {
    let oid = extension.oid.to_string();
    let value = match oid == HARDWARE_ID {
        true => format!("{} bytes", extension.value.len()),
        false => shape(extension.value),
    };
    format!("{oid}, critical: {}, {value}", extension.critical)
}

fn extensions(certificate: &Certificate<'_>) -> Vec<String> {
    certificate.extensions().map(|extension| shape_of_extension(&extension)).collect()
}

/// All of a public key but its point.
fn key_without_point<'a>(certificate: &Certificate<'a>) -> &'a [u8] {
    let point = match certificate.key {
        PublicKey::P256(point) | PublicKey::P384(point) => point.len(),
        _ => 0,
    };
    &certificate.spki[..certificate.spki.len() - point]
}

#[test]
fn the_certificate_of_a_stand_ins_vcek_says_what_amds_say() {
    let Some(folder) = folder() else { return };
    let root = root();
    let attester = root.snp_stand_in(NOW).unwrap();
    let synthetic = Certificate::parse(attester.vek_der()).unwrap();
    let mut compared = 0;
    for (case, recorded) in cases(&folder, "snp", "vek.der") {
        let recorded = Certificate::parse(&recorded).unwrap();
        if !case.starts_with("milan") || recorded.common_name() != Some("SEV-VCEK") {
            continue;
        }
        assert_eq!(extensions(&synthetic), extensions(&recorded), "{case}");
        assert_eq!(key_without_point(&synthetic), key_without_point(&recorded), "{case}");
        compared += 1;
    }
    assert!(compared >= 3, "{compared}");
    // The levels are those that REPORTED_TCB has, in its order.
    let levels: Vec<u8> = synthetic
        .extensions()
        .filter(|one| one.oid.to_string().starts_with("1.3.6.1.4.1.3704.1.3."))
        .map(|one| *one.value.last().unwrap())
        .collect();
    assert_eq!(levels, STAND_IN_TCB);
}

/// The parts of a quote of version 3 (Intel SGX ECDSA Quote Library API, A.4) with their places, the chain
/// at the end aside; each length that is stated has to fit.
fn parts(quote: &[u8]) -> (Vec<(&'static str, usize, usize)>, &[u8]) {
    let mut parts = vec![("header", 0, 48), ("report", 48, 384), ("length", 432, 4)];
    let stated = u32_at(quote, 432) as usize;
    assert!(quote.len() >= 436 + stated, "the signature data are cut short");
    let mut at = 436;
    for (name, length) in [
        ("signature", 64),
        ("attestation key", 64),
        ("quoting enclave's report", 384),
        ("its signature", 64),
        ("length of its data", 2),
    ] {
        parts.push((name, at, length));
        at += length;
    }
    let data = usize::from(u16::from_le_bytes([quote[at - 2], quote[at - 1]]));
    parts.push(("its data", at, data));
    at += data;
    parts.push(("type", at, 2));
    parts.push(("length of the chain", at + 2, 4));
    let chain = u32_at(quote, at + 2) as usize;
    assert_eq!(at + 6 + chain, 436 + stated, "lengths do not fit");
    (parts, &quote[at + 6..at + 6 + chain])
}

/// What every quote of that version has in common, whatever platform and enclave it is of.
fn quote_facts(quote: &[u8]) -> Vec<String> {
    let (parts, chain) = parts(quote);
    let at = |name: &str| parts.iter().find(|part| part.0 == name).unwrap().1;
    let enclave = &quote[at("quoting enclave's report")..][..384];
    let mut facts = vec![
        format!("{parts:?}"),
        format!("version, key type, kind: {:x?}", &quote[..8]),
        format!("user data: {:x?}, platform: {}", &quote[44..48], !zero(quote, (28, 44))),
        format!("quoting enclave's MISCSELECT {:x?}", &enclave[16..20]),
        format!("ATTRIBUTES.FLAGS {:x?}", &enclave[48..56]),
        format!("ISVPRODID {:x?}", &enclave[256..258]),
        format!("its report data end in {:x?}", &enclave[352..384]),
        format!("certification data {:x?}", &quote[at("type")..][..2]),
        format!("PEM of {} certificates", certificates(chain).unwrap().len()),
        format!(
            "beginning with {:?}",
            String::from_utf8_lossy(chain).lines().map(str::len).take(3).collect::<Vec<_>>()
        ),
    ];
    for range in RESERVED_OF_ENCLAVE {
        let reports = [&quote[48..432], enclave];
        facts.push(format!("{range:?} is zero: {:?}", reports.map(|report| zero(report, range))));
    }
    facts
}

#[test]
fn quotes_are_laid_out_as_recorded_ones() {
    let Some(folder) = folder() else { return };
    let platform = root().sgx_stand_in(NOW).unwrap();
    let synthetic = platform.quote(&enclave()).unwrap();
    assert_eq!(synthetic[48..432], enclave());
    let end = |quote: &[u8]| {
        let (_, chain) = parts(quote);
        let text = String::from_utf8_lossy(chain).into_owned();
        text.rsplit("-----").next().unwrap().to_owned()
    };
    let mut ends = Vec::new();
    for (case, recorded) in cases(&folder, "sgx", "quote.bin") {
        assert_eq!(quote_facts(&synthetic), quote_facts(&recorded), "{case}");
        ends.push(end(&recorded));
    }
    assert!(ends.contains(&end(&synthetic)), "{ends:?}");
}

#[test]
fn the_chain_of_a_stand_ins_pck_says_what_intels_say() {
    let Some(folder) = folder() else { return };
    let platform = root().sgx_stand_in(NOW).unwrap();
    let quote = platform.quote(&enclave()).unwrap();
    let synthetic = certificates(parts(&quote).1).unwrap();
    let mut compared = 0;
    for (case, recorded) in cases(&folder, "sgx", "quote.bin") {
        let recorded = certificates(parts(&recorded).1).unwrap();
        let leaf = Certificate::parse(&recorded[0]).unwrap();
        // Those of the other authority have no configuration.
        if leaf.issuer_common_name() != Some("Intel SGX PCK Platform CA") {
            continue;
        }
        for (ours, theirs) in synthetic.iter().zip(&recorded) {
            let ours = Certificate::parse(ours).unwrap();
            let theirs = Certificate::parse(theirs).unwrap();
            let name = theirs.common_name().unwrap();
            assert_eq!(extensions(&ours), extensions(&theirs), "{case}: {name}");
            assert_eq!(key_without_point(&ours), key_without_point(&theirs), "{case}: {name}");
            for critical in ours.extensions().filter(|one| one.critical) {
                let same = theirs.extension(critical.oid).unwrap();
                assert_eq!(critical.value, same.value, "{case}: {name}: {}", critical.oid);
            }
        }
        compared += 1;
    }
    assert!(compared >= 2, "{compared}");
}

/// The extensions of a revocation list.
fn extensions_of_list(der: &[u8]) -> String {
    let mut outer = Cursor::whole(der, tag::SEQUENCE, "list").unwrap();
    let mut list = outer.enter(tag::SEQUENCE).unwrap();
    let mut last = None;
    while !list.is_done() {
        last = Some(list.next().unwrap());
    }
    let last = last.unwrap();
    assert_eq!(last.tag, tag::context_constructed(0));
    shape(last.raw)
}

/// Whether JSON has the same keys, in the same order, with values of the same kind and the same number of
/// digits. `optional` keys need not be there.
fn same_shape(ours: &Value, theirs: &Value, optional: &[&str]) -> Result<(), String> {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            for (key, value) in ours {
                let other = theirs.get(key).ok_or_else(|| format!("{key} is not there"))?;
                same_shape(value, other, optional).map_err(|why| format!("{key}: {why}"))?;
            }
            match theirs.keys().find(|key| !ours.contains_key(*key) && !optional.contains(&&***key))
            {
                Some(missing) => Err(format!("{missing} is missing")),
                None => Ok(()),
            }
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.iter().zip(theirs).try_for_each(|(one, other)| same_shape(one, other, optional))
        }
        (Value::String(ours), Value::String(theirs)) => {
            let digits = |text: &str| unhex(text).map(|bytes| bytes.len());
            let is_time = |text: &str| text.parse::<evidence_pki::Time>().is_ok();
            match digits(ours) == digits(theirs) && is_time(ours) == is_time(theirs) {
                true => Ok(()),
                false => Err(format!("{ours} and {theirs}")),
            }
        }
        (Value::Number(_), Value::Number(_)) => Ok(()),
        _ => Err(format!("{ours} and {theirs}")),
    }
}

/// The keys of an object as they stand in its text.
fn order<'v>(text: &str, value: &'v Value) -> Vec<&'v str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_by_key(|key| text.find(&format!("\"{key}\":")));
    keys
}

#[test]
fn collateral_says_what_intels_says() {
    let Some(folder) = folder() else { return };
    let platform = root().sgx_stand_in(NOW).unwrap();
    let find = |kind: &str| -> Vec<&[u8]> {
        let all = platform.endorsements().iter();
        all.filter(|one| one.0 == kind).map(|one| one.1.as_slice()).collect()
    };
    let file = std::fs::read(folder.join("sgx/sw-hardening-azure/collateral-2025-08-30.json"));
    let recorded: Value = serde_json::from_slice(&file.unwrap()).unwrap();
    let text = |name: &str| recorded[name].as_str().unwrap();

    for (list, name) in find("crl").into_iter().zip(["root_ca_crl", "pck_crl"]) {
        let theirs = unhex(text(name)).unwrap();
        assert_eq!(extensions_of_list(list), extensions_of_list(&theirs), "{name}");
    }
    let ours = certificates(find("tcb-info-chain")[0]).unwrap();
    let theirs = certificates(text("tcb_info_issuer_chain").as_bytes()).unwrap();
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let ours = Certificate::parse(ours).unwrap();
        assert_eq!(extensions(&ours), extensions(&Certificate::parse(theirs).unwrap()));
    }
    for (kind, outer, name) in
        [("tcb-info", "tcbInfo", "tcb_info"), ("qe-identity", "enclaveIdentity", "qe_identity")]
    {
        let body: Value = serde_json::from_slice(find(kind)[0]).unwrap();
        assert_eq!(body["signature"].as_str().unwrap().len(), 128);
        let theirs: Value = serde_json::from_str(text(name)).unwrap();
        let optional = ["advisoryIDs", "category", "type"];
        same_shape(&body[outer], &theirs, &optional).unwrap_or_else(|why| panic!("{name}: {why}"));
        let ours = String::from_utf8_lossy(find(kind)[0]);
        let begin = ours.find(&format!("\"{outer}\":")).unwrap() + outer.len() + 3;
        assert_eq!(order(&ours[begin..], &body[outer]), order(text(name), &theirs));
    }
}
