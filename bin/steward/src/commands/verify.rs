// SPDX-License-Identifier: Apache-2.0

//! `steward verify`: what a relying party would do with a certificate, step by step, for people.

use std::path::Path;

use command_line::{OrExit, Style, files, hex, print, print_json};
use evidence_claims::{Reason, Time};
use evidence_crypto::{AwsLc, Crypto};
use evidence_pki::Certificate;
use serde_json::{Value, json};
use steward_claims::CertificateClaims;
use steward_relying_party::Demands;
use steward_service::{claims, clock};

use crate::cli::VerifyArgs;
use crate::exit::{Code, Failure};

pub(crate) fn run(args: &VerifyArgs) -> Result<(), Failure> {
    let now = args.at.unwrap_or_else(clock::now);
    let sent = files::read_certificates(&args.cert)?;
    let roots = args.ca.as_deref().map(files::read_certificates).transpose()?;
    let (leaf, claims) = find_leaf(&sent, &args.cert)?;
    let mut checks = vec![Check {
        what: "valid at that time",
        outcome: Some(leaf.check_time(now).map_err(|error| error.to_string())),
    }];
    let chain = roots.as_ref().map(|roots| {
        let others: Vec<&[u8]> =
            sent.iter().map(Vec::as_slice).filter(|one| *one != leaf.raw).collect();
        let roots: Vec<&[u8]> = roots.iter().map(Vec::as_slice).collect();
        // What to demand of a Keep is for its peers to say; here every certificate is shown for what it is.
        let demands = Demands::new().allow_development();
        steward_relying_party::check(leaf.raw, &others, &demands, now, &AwsLc, &roots)
            .map(drop)
            .map_err(|refusal| format!("{refusal}; {}", Reason::remedy(&refusal)))
    });
    checks.push(Check { what: "issued under the given root", outcome: chain });
    let good = checks.iter().all(|check| !matches!(check.outcome, Some(Err(_))));

    if args.json {
        print_json(&json!({
            "good": good,
            "at": now.to_string(),
            "serial": hex(leaf.serial),
            "subject": leaf.common_name(),
            "issuer": leaf.issuer_common_name(),
            "not_before": leaf.not_before.to_string(),
            "not_after": leaf.not_after.to_string(),
            "fingerprint": hex(&AwsLc.sha256(&[leaf.raw])),
            "checks": checks.iter().map(Check::to_json).collect::<Vec<_>>(),
            "claims": claims::to_json(&claims),
        }))?;
    } else {
        print(&render(&leaf, &claims, now, &checks))?;
    }
    if claims.platform == "development" {
        command_line::warn(
            "this certificate is for development evidence: it proves nothing about a Keep",
        );
    }
    if roots.is_none() {
        command_line::warn("without --ca nobody vouches for these claims: anybody can write them");
    }
    if good { Ok(()) } else { Err(Failure::told(Code::Check)) }
}

/// Something that was checked.
struct Check {
    what: &'static str,
    /// `None` if it was not.
    outcome: Option<Result<(), String>>,
}

impl Check {
    fn to_json(&self) -> Value {
        let (outcome, detail) = match &self.outcome {
            Some(Ok(())) => ("pass", None),
            Some(Err(why)) => ("fail", Some(why)),
            None => ("skipped", None),
        };
        json!({ "what": self.what, "outcome": outcome, "detail": detail })
    }
}

fn render(
    leaf: &Certificate<'_>,
    claims: &CertificateClaims,
    now: Time,
    checks: &[Check],
) -> String {
    let style = Style::stdout();
    let (pass, fail) = (style.green("pass"), style.red("FAIL"));
    let mut text = format!(
        "certificate\n  subject        {}\n  issuer         {}\n  serial         {}\n  valid from     {}\n  \
         valid until    {}\n\nclaims\n",
        leaf.common_name().unwrap_or("none"),
        leaf.issuer_common_name().unwrap_or("none"),
        hex(leaf.serial),
        leaf.not_before,
        leaf.not_after,
    );
    let fields = claims.fields();
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in fields {
        text += &format!("  {name:width$}  {value}\n");
    }
    text += &format!("\nchecks, for {now}\n");
    for Check { what, outcome } in checks {
        text += &match outcome {
            Some(Ok(())) => format!("  {pass}  {what}\n"),
            Some(Err(why)) => format!("  {fail}  {what}: {why}\n"),
            None => format!("  skip  {what}: none was given (--ca)\n"),
        };
    }
    text
}

/// The certificate with claims: the first in PEM, the last in a PkiPath.
fn find_leaf<'a>(
    list: &'a [Vec<u8>],
    path: &Path,
) -> Result<(Certificate<'a>, CertificateClaims), Failure> {
    for der in list {
        let certificate = Certificate::parse(der)
            .or_exit_with(Code::Input, || format!("cannot read {}", path.display()))?;
        if let Some(extension) = certificate.extension(steward_claims::OID) {
            let claims = CertificateClaims::from_der(extension.value)
                .or_exit_with(Code::Check, || {
                    format!("cannot read the claims in {}", path.display())
                })?;
            return Ok((certificate, claims));
        }
    }
    Err(Failure::msg(
        Code::Check,
        format!("{} has no claims in it: no Steward of this kind issued it", path.display()),
    ))
}
