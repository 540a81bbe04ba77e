// SPDX-License-Identifier: Apache-2.0

//! `steward evidence`: what evidence says, and whether it holds, without a service and without a network.

use std::path::Path;
use std::sync::Arc;

use command_line::{OrExit, Style, files, hex, print, print_json};
use evidence_claims::{Check, Claims, Endorsements, Field, Outcome, Reason, Time, kind};
use evidence_crypto::{AwsLc, Crypto};
use evidence_dcap::SgxDevelopment;
use evidence_pki::{ObjectIdentifier, PublicKey};
use evidence_snp::Development;
use evidence_verifier::Verifier;
use serde_json::{Value, json};
use steward_core::{AttestedRequest, Form, RequestRefusal};
use steward_service::{clock, verifier};

use crate::cli::{EvidenceCommand, EvidenceVerifyArgs};
use crate::collateral;
use crate::exit::{Code, Failure};
use crate::recognise::{Kind, Subject};

pub(crate) fn run(command: &EvidenceCommand) -> Result<(), Failure> {
    match command {
        EvidenceCommand::Inspect { file, json } => inspect(file, *json),
        EvidenceCommand::Verify(args) => verify(args),
    }
}

/// The part of a file that a format of evidence gets to see.
struct Evidence<'a> {
    kind: ObjectIdentifier,
    bytes: &'a [u8],
    endorsements: Endorsements<'a>,
}

impl<'a> Evidence<'a> {
    fn of(subject: &'a Subject, request: Option<&AttestedRequest<'a>>) -> Self {
        match (request, subject.kind) {
            (Some(request), _) => Self {
                kind: request.platform,
                bytes: request.evidence,
                endorsements: request.endorsements.clone(),
            },
            (None, Kind::Evidence(kind)) => {
                Self { kind, bytes: &subject.bytes, endorsements: Endorsements::new() }
            }
            // `Subject::request` gives a request, or fails.
            (None, Kind::Request) => {
                let kind = evidence_claims::statement::BOUND;
                Self { kind, bytes: &[], endorsements: Endorsements::new() }
            }
        }
    }
}

fn all_formats(development_roots: &[Vec<u8>]) -> Verifier {
    let crypto: Arc<dyn Crypto> = Arc::new(AwsLc);
    verifier(&crypto, development_roots)
}

/// The name of a format, for people.
fn format_name(verifier: &Verifier, kind: ObjectIdentifier) -> &'static str {
    let mut formats = verifier.formats();
    formats.find(|one| one.statement_type() == kind).map_or("unknown", |one| one.name())
}

fn inspect(file: &Path, json: bool) -> Result<(), Failure> {
    let subject = Subject::read(file, false)?;
    let request = subject.request()?;
    let evidence = Evidence::of(&subject, request.as_ref());
    // Fields are shown as they are, so that no root has to be known.
    let crypto: Arc<dyn Crypto> = Arc::new(AwsLc);
    let verifier = Verifier::new(Arc::clone(&crypto))
        .with(Box::new(Development::new(Arc::clone(&crypto), Vec::new())))
        .with(Box::new(SgxDevelopment::new(crypto, Vec::new())));
    let fields =
        verifier.fields(evidence.kind, evidence.bytes).map_err(|refusal| refused(&*refusal))?;
    let name = format_name(&verifier, evidence.kind);
    if json {
        return print_json(&json!({
            "format": name,
            "statement_type": evidence.kind.to_string(),
            "request": request.as_ref().map(request_json),
            "fields": fields,
        }));
    }
    let mut text = String::new();
    if let Some(request) = &request {
        text += "certificate request\n";
        for (name, value) in request_lines(request) {
            text += &format!("  {name:<14}{value}\n");
        }
        text.push('\n');
    }
    text +=
        &format!("evidence: {name}, {} bytes; nothing of it is verified\n", evidence.bytes.len());
    text += &table(&fields);
    print(&text)
}

fn refused(reason: &dyn Reason) -> Failure {
    Failure::msg(
        Code::Check,
        format!("{reason} [{}]\n  what to do: {}", reason.code(), reason.remedy()),
    )
}

fn table(fields: &[Field]) -> String {
    let name_width = fields.iter().map(|field| field.name.len()).max().unwrap_or(0);
    let mut text = format!("{:>6} {:>6}  {:name_width$}  value\n", "offset", "bytes", "field");
    for field in fields {
        text += &format!("{:>6} {:>6}  {:name_width$}  ", field.offset, field.length, field.name);
        // Long values are cut into lines that a terminal can show, and zeros are not worth any.
        let indent = format!("\n{:1$}", "", name_width + 17);
        match field.value.len() > 64 && field.value.bytes().all(|digit| digit == b'0') {
            true => text += "00…00",
            false => text += &chunks(&field.value, 64).join(&indent),
        }
        if let Some(meaning) = &field.meaning {
            text += &format!("  ({meaning})");
        }
        text.push('\n');
    }
    text
}

/// Cuts ASCII text after so many characters; other text stays whole.
fn chunks(text: &str, width: usize) -> Vec<&str> {
    if !text.is_ascii() || text.contains(' ') || text.len() <= width {
        return vec![text];
    }
    (0..text.len())
        .step_by(width)
        .filter_map(|at| text.get(at..text.len().min(at + width)))
        .collect()
}

fn key_name(request: &AttestedRequest<'_>) -> &'static str {
    match request.request.key {
        PublicKey::P256(_) => "P-256",
        PublicKey::P384(_) => "P-384",
        PublicKey::Rsa(_) => "RSA",
        _ => "other",
    }
}

fn request_json(request: &AttestedRequest<'_>) -> Value {
    let binding = match request.form {
        Form::Key => json!({ "form": 1 }),
        Form::Bound(binding) => json!({
            "form": 2,
            "slug": binding.slug,
            "workload": binding.workload,
            "nonce": binding.nonce.map(hex),
        }),
    };
    let endorsements: Vec<Value> = request
        .endorsements
        .iter()
        .map(|one| json!({ "kind": one.kind, "bytes": one.bytes.len() }))
        .collect();
    json!({
        "key": key_name(request),
        "statement_type": request.statement.to_string(),
        "binding": binding,
        "endorsements": endorsements,
        "signature_verifies": request.check_signature(&AwsLc).is_ok(),
    })
}

fn request_lines(request: &AttestedRequest<'_>) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("key", key_name(request).to_owned()),
        ("statement", request.statement.to_string()),
        (
            "signature",
            match request.check_signature(&AwsLc) {
                Ok(()) => "verifies".into(),
                Err(error) => error.to_string(),
            },
        ),
    ];
    match request.form {
        Form::Key => lines.push(("binding", "form 1: the key".into())),
        Form::Bound(binding) => {
            lines.push(("binding", "form 2: key, workload and nonce".into()));
            lines.push(("workload", binding.workload.unwrap_or("none").into()));
            lines.push(("slug", binding.slug.unwrap_or("none").into()));
            lines.push(("nonce", binding.nonce.map_or("none".into(), hex)));
        }
    }
    for one in request.endorsements.iter() {
        lines.push(("endorsement", format!("{}, {} bytes", one.kind, one.bytes.len())));
    }
    lines
}

fn verify(args: &EvidenceVerifyArgs) -> Result<(), Failure> {
    let now = args.at.unwrap_or_else(clock::now);
    let roots = match &args.development_root {
        Some(path) => files::read_certificates(path)?,
        None => Vec::new(),
    };
    let verifier = all_formats(&roots);
    let subject = Subject::read(&args.file, !roots.is_empty())?;
    let request = subject.request()?;
    let mut evidence = Evidence::of(&subject, request.as_ref());
    // As a Steward does it: what comes with the request counts first.
    for one in collateral::load(&args.collateral)?.iter() {
        if one.kind == kind::CRL || evidence.endorsements.first(&one.kind).is_none() {
            let (kind, bytes) = (one.kind.to_string(), one.bytes.to_vec());
            evidence
                .endorsements
                .push(kind, bytes)
                .or_exit_with(Code::Input, || "there is too much collateral")?;
        }
    }
    let claims = verifier.verify(evidence.kind, evidence.bytes, &evidence.endorsements, now);
    let examined = verifier.examine(evidence.kind, evidence.bytes, &evidence.endorsements, now);
    let mut checks = Vec::new();
    if let Some(request) = &request {
        checks.push(request_signature(request));
    }
    checks.extend(examined.map_err(|refusal| refused(&refusal))?);
    if let Some(request) = &request {
        checks.push(binding(request, claims.as_ref().ok()));
    }
    let failed = checks.iter().any(|check| matches!(check.outcome, Outcome::Fail(_)));
    let genuine = claims.is_ok() && !failed;
    if args.json {
        print_json(&json!({
            "format": format_name(&verifier, evidence.kind),
            "at": now.to_string(),
            "genuine": genuine,
            "checks": checks.iter().map(check_json).collect::<Vec<_>>(),
            "claims": claims.as_ref().ok().map(claims_json),
            "refusal": claims.as_ref().err().map(|refusal| refusal_json(&**refusal)),
        }))?;
    } else {
        print(&render(format_name(&verifier, evidence.kind), now, &checks, claims.as_ref().ok()))?;
        // What the checks did not find, but the verdict did: it must not look as if all were well.
        if let (Err(refusal), false) = (&claims, failed) {
            return Err(refused(&**refusal));
        }
    }
    if claims.as_ref().is_ok_and(|claims| claims.debug) {
        command_line::warn(
            "debug is on: the host can look into this environment, and every policy refuses it",
        );
    }
    if genuine { Ok(()) } else { Err(Failure::told(Code::Check)) }
}

fn request_signature(request: &AttestedRequest<'_>) -> Check {
    let outcome = match request.check_signature(&AwsLc) {
        Ok(()) => Outcome::Pass(String::new()),
        Err(refusal) => Outcome::Fail(refusal.into()),
    };
    Check { what: "the request is signed by the key in it", outcome }
}

fn binding(request: &AttestedRequest<'_>, claims: Option<&Claims>) -> Check {
    let outcome = match (request.report_data(&AwsLc), claims) {
        (Err(refusal), _) => Outcome::Fail(refusal.into()),
        (Ok(_), None) => Outcome::Skipped("the evidence does not hold"),
        (Ok(wanted), Some(claims)) if wanted == claims.report_data => Outcome::Pass(String::new()),
        (Ok(_), Some(_)) => Outcome::Fail(RequestRefusal::Binding.into()),
    };
    Check { what: "the evidence is bound to the request", outcome }
}

fn render(format: &str, now: Time, checks: &[Check], claims: Option<&Claims>) -> String {
    let style = Style::stdout();
    let mut text = format!("{format}, at {now}\n\n");
    for check in checks {
        text += &match &check.outcome {
            Outcome::Pass(seen) if seen.is_empty() => {
                format!("{}  {}\n", style.green("pass"), check.what)
            }
            Outcome::Pass(seen) => format!("{}  {}: {seen}\n", style.green("pass"), check.what),
            Outcome::Fail(refusal) => format!(
                "{}  {}: {refusal} [{}]\n      what to do: {}\n      see {}\n",
                style.red("FAIL"),
                check.what,
                refusal.code(),
                refusal.remedy(),
                refusal.reference()
            ),
            Outcome::Skipped(why) => {
                format!("{}  {}: not checked, because of {why}\n", style.yellow("skip"), check.what)
            }
        };
    }
    match claims {
        Some(claims) => {
            text += "\nThe evidence is genuine. It says:\n";
            for (name, value) in claim_lines(claims) {
                text += &format!("  {name:<19}{value}\n");
            }
        }
        None => text += "\nThe evidence does not hold.\n",
    }
    text
}

fn claim_lines(claims: &Claims) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("platform", claims.platform.to_string()),
        ("product", claims.product.clone()),
        ("measurement", hex(&claims.measurement)),
        ("signer", claims.signer.as_deref().map_or("none".into(), hex)),
        ("report data", hex(&claims.report_data)),
        ("debug", if claims.debug { "YES" } else { "no" }.into()),
    ];
    if let Some(status) = claims.tcb_status {
        lines.push(("TCB status", status.to_string()));
        lines.push((
            "advisories",
            match claims.advisories.is_empty() {
                true => "none".into(),
                false => claims.advisories.join(", "),
            },
        ));
    }
    if let Some(number) = claims.evaluation_number {
        lines.push(("evaluation number", number.to_string()));
    }
    let svns: Vec<_> =
        claims.svns.iter().map(|svn| format!("{} {}", svn.name, svn.value)).collect();
    lines.push(("versions", svns.join(", ")));
    lines.push(("good until", claims.valid_until.to_string()));
    lines
}

fn claims_json(claims: &Claims) -> Value {
    let svns: serde_json::Map<String, Value> =
        claims.svns.iter().map(|svn| (svn.name.to_owned(), json!(svn.value))).collect();
    json!({
        "platform": claims.platform,
        "product": claims.product,
        "measurement": hex(&claims.measurement),
        "signer": claims.signer.as_deref().map(hex),
        "report_data": hex(&claims.report_data),
        "debug": claims.debug,
        "tcb_status": claims.tcb_status,
        "advisories": claims.advisories,
        "svns": svns,
        "evaluation_number": claims.evaluation_number,
        "valid_until": claims.valid_until.to_string(),
    })
}

fn refusal_json(refusal: &dyn Reason) -> Value {
    json!({
        "code": refusal.code(),
        "detail": refusal.to_string(),
        "remedy": refusal.remedy(),
        "reference": refusal.reference(),
    })
}

fn check_json(check: &Check) -> Value {
    let mut value = match &check.outcome {
        Outcome::Pass(seen) => json!({ "outcome": "pass", "detail": seen }),
        Outcome::Fail(refusal) => {
            let mut value = refusal_json(&**refusal);
            value["outcome"] = "fail".into();
            value
        }
        Outcome::Skipped(why) => json!({ "outcome": "skipped", "detail": why }),
    };
    value["what"] = check.what.into();
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_cut() {
        let digits = "0".repeat(130);
        assert_eq!(
            chunks(&digits, 64).iter().map(|part| part.len()).collect::<Vec<_>>(),
            [64, 64, 2]
        );
        assert_eq!(chunks("short", 64), ["short"]);
        let words = "many words ".repeat(10);
        assert_eq!(chunks(&words, 64), [words.as_str()]);
    }
}
