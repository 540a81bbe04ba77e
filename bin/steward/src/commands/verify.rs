// SPDX-License-Identifier: Apache-2.0

//! `steward verify`: what a relying party would do with a certificate, step by step, for people.

use std::path::Path;

use evidence_claims::Time;
use evidence_crypto::{AwsLc, Crypto};
use evidence_pki::{Certificate, PkiError, oid};
use serde_json::{Value, json};
use steward_claims::CertificateClaims;

use crate::cli::VerifyArgs;
use crate::exit::{self, Code, Failure, OrExit, Style, print, print_json};
use crate::files::{self, hex};
use crate::{claims, clock};

/// Critical extensions that are looked at here, or that limit nothing that is done here.
const KNOWN: [evidence_pki::ObjectIdentifier; 4] =
    [oid::BASIC_CONSTRAINTS, oid::KEY_USAGE, oid::EXT_KEY_USAGE, oid::SUBJECT_ALT_NAME];

pub(crate) fn run(args: &VerifyArgs) -> Result<(), Failure> {
    let now = args.at.unwrap_or_else(clock::now);
    let sent = files::read_certificates(&args.cert)?;
    let roots = args.ca.as_deref().map(files::read_certificates).transpose()?;
    let sent = parse(&sent, &args.cert)?;
    let roots = match &roots {
        Some(roots) => Some(parse(roots, args.ca.as_deref().unwrap_or(&args.cert))?),
        None => None,
    };
    let (leaf, claims) = find_leaf(&sent, &args.cert)?;
    let chain = roots.as_ref().map(|roots| build_chain(leaf, &sent, roots, now));
    let time = leaf.check_time(now);
    let good = time.is_ok() && chain.as_ref().is_none_or(Result::is_ok);

    if args.json {
        let verdict = |result: &Result<(), String>| match result {
            Ok(()) => json!({ "outcome": "pass" }),
            Err(why) => json!({ "outcome": "fail", "detail": why }),
        };
        let chain = chain.map(|chain| chain.map(|_| ()));
        print_json(&json!({
            "good": good,
            "at": now.to_string(),
            "serial": hex(leaf.serial),
            "subject": leaf.common_name(),
            "issuer": leaf.issuer_common_name(),
            "not_before": leaf.not_before.to_string(),
            "not_after": leaf.not_after.to_string(),
            "fingerprint": hex(&AwsLc.sha256(&[leaf.raw])),
            "validity": verdict(&time.map_err(|error| error.to_string())),
            "chain": chain.as_ref().map_or(Value::Null, verdict),
            "claims": claims::to_json(&claims),
        }))?;
    } else {
        print(&render(leaf, &claims, now, &time, chain.as_ref()))?;
    }
    if claims.platform == "development" {
        exit::warn("this certificate is for development evidence: it proves nothing about a Keep");
    }
    if roots.is_none() {
        exit::warn("without --ca nobody vouches for these claims: anybody can write them");
    }
    if good { Ok(()) } else { Err(Failure::told(Code::Check)) }
}

fn render(
    leaf: &Certificate<'_>,
    claims: &CertificateClaims,
    now: Time,
    time: &Result<(), PkiError>,
    chain: Option<&Result<Vec<String>, String>>,
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
    text += "\nchecks\n";
    text += &match time {
        Ok(()) => format!("  {pass}  valid at {now}\n"),
        Err(error) => format!("  {fail}  valid at {now}: it is {error}\n"),
    };
    text += &match chain {
        Some(Ok(path)) => format!("  {pass}  issued under the given root: {}\n", path.join(" < ")),
        Some(Err(why)) => format!("  {fail}  issued under the given root: {why}\n"),
        None => "  ----  issued under a root: no root was given (--ca)\n".into(),
    };
    text
}

fn parse<'a>(list: &'a [Vec<u8>], path: &Path) -> Result<Vec<Certificate<'a>>, Failure> {
    list.iter()
        .map(|der| Certificate::parse(der))
        .collect::<Result<_, _>>()
        .or_exit(Code::Input, || format!("cannot read {}", path.display()))
}

/// The certificate with claims: the first in PEM, the last in a PkiPath.
fn find_leaf<'a, 'b>(
    list: &'b [Certificate<'a>],
    path: &Path,
) -> Result<(&'b Certificate<'a>, CertificateClaims), Failure> {
    for certificate in list {
        if let Some(extension) = certificate.extension(steward_claims::OID) {
            let claims = CertificateClaims::from_der(extension.value)
                .or_exit(Code::Check, || format!("cannot read the claims in {}", path.display()))?;
            return Ok((certificate, claims));
        }
    }
    Err(Failure::msg(
        Code::Check,
        format!("{} has no claims in it: no Steward of this kind issued it", path.display()),
    ))
}

/// The way from the leaf up to a root that was given, by common names; or why there is none.
fn build_chain(
    leaf: &Certificate<'_>,
    sent: &[Certificate<'_>],
    roots: &[Certificate<'_>],
    now: Time,
) -> Result<Vec<String>, String> {
    let name = |one: &Certificate<'_>| one.common_name().unwrap_or("unnamed").to_owned();
    leaf.check_critical(&KNOWN).map_err(|error| format!("`{}`: {error}", name(leaf)))?;
    let mut path = vec![name(leaf)];
    let mut below = leaf;
    // No chain has more certificates than are at hand.
    for depth in 0..=sent.len() as u64 {
        let issuer = |list: &[Certificate<'_>]| {
            list.iter().position(|one| below.check_issued_by(&AwsLc, one).is_ok())
        };
        let (above, is_root) = match (issuer(roots), issuer(sent)) {
            (Some(at), _) => (roots.get(at), true),
            (None, Some(at)) => (sent.get(at), false),
            (None, None) => (None, false),
        };
        let Some(above) = above else {
            return Err(format!(
                "no certificate at hand issued `{}`; its issuer is `{}`",
                name(below),
                below.issuer_common_name().unwrap_or("unnamed")
            ));
        };
        above
            .check_time(now)
            .and_then(|()| above.check_critical(&KNOWN))
            .and_then(|()| above.basic_constraints())
            .map_err(|error| format!("`{}`: {error}", name(above)))
            .and_then(|constraints| {
                let length = constraints.and_then(|constraints| constraints.path_length);
                if length.is_some_and(|length| length < depth) {
                    return Err(format!("`{}` allows no chain of this length", name(above)));
                }
                Ok(())
            })?;
        path.push(name(above));
        if is_root {
            return Ok(path);
        }
        below = above;
    }
    Err("the certificates lead in a circle".into())
}
