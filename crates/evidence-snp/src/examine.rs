// SPDX-License-Identifier: Apache-2.0

//! The rules one by one, for people: in the order in which verifying applies them, but going on.

use evidence_claims::{Check, Endorsements, Outcome, SigningKey, SnpProduct, Time};
use evidence_pki::{Certificate, hex};

use crate::authority::Authority;
use crate::chain::{self, Chain, Window};
use crate::report::{Report, TcbLayout};
use crate::vek::VekExtensions;
use crate::{Development, Part, Snp, SnpRefusal, development, offset, rules};

const NO_REPORT: &str = "the report cannot be read";
const NO_VEK: &str = "there is no VEK that can be read";
const NO_ISSUER: &str = "the VEK's issuer is not known to be genuine";

/// Checks as they are made.
#[derive(Default)]
struct Checks(Vec<Check>);

impl Checks {
    /// Makes a check, if what it needs is there; else it is skipped because of `missing`.
    fn make<N, T>(
        &mut self,
        what: &'static str,
        missing: &'static str,
        need: Option<N>,
        check: impl FnOnce(N) -> Result<T, SnpRefusal>,
        saw: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        let Some(need) = need else {
            self.0.push(Check { what, outcome: Outcome::Skipped(missing) });
            return None;
        };
        match check(need) {
            Ok(value) => {
                self.0.push(Check { what, outcome: Outcome::Pass(saw(&value)) });
                Some(value)
            }
            Err(refusal) => {
                self.0.push(Check { what, outcome: Outcome::Fail(refusal.into()) });
                None
            }
        }
    }
}

fn nothing<T>(_: &T) -> String {
    String::new()
}

/// Examines an SNP report.
pub(crate) fn snp(
    snp: &Snp,
    evidence: &[u8],
    endorsements: &Endorsements<'_>,
    now: Time,
) -> Vec<Check> {
    let (mut checks, crypto) = (Checks::default(), snp.crypto());
    let report = length(&mut checks, rules::length(evidence));
    header(&mut checks, report.as_ref());
    let kind = checks.make(
        "the report is signed by a VCEK or a VLEK",
        NO_REPORT,
        report.as_ref(),
        rules::signing_key,
        |kind| format!("{kind:?}").to_uppercase(),
    );
    let processor = checks.make(
        "the processor is one whose root is known",
        NO_REPORT,
        report.as_ref(),
        rules::product,
        |product| product.map_or("version 2 does not name it", SnpProduct::as_str).to_owned(),
    );
    let vek = vek(&mut checks, endorsements);
    let product = checks.make(
        "the names in the VEK are those of its kind",
        "VEK or kind of key are not known",
        vek.as_ref().zip(kind),
        |(vek, kind)| chain::product(vek, kind),
        |product| format!("issued for {}", product.as_str()),
    );
    checks.make(
        "report and VEK are of the same product",
        "one of the two is not known",
        processor.zip(product),
        |(processor, product)| rules::same_product(processor, product),
        nothing,
    );
    let key = key(&mut checks, vek.as_ref());
    let extensions = checks.make(
        "the VEK has the extensions of its product",
        "the VEK's product is not known",
        vek.as_ref().zip(product).zip(kind),
        |((vek, product), kind)| chain::extensions(vek, product, kind),
        describe,
    );
    let ark = product.map(|product| snp.roots(product).and_then(crate::authority::Roots::ark));
    let issuer = checks.make(
        "the VEK's issuer is issued by AMD's root, which is built in",
        "the VEK's product is not known",
        vek.as_ref().zip(product).zip(kind),
        |((vek, product), kind)| {
            chain::issuer(crypto, snp.roots(product)?, kind, vek, endorsements)
        },
        |issuer| format!("serial number {}", hex(&issuer.serial)),
    );
    checks.make(
        "the VEK is issued by its issuer",
        NO_ISSUER,
        vek.as_ref().zip(issuer.as_ref()),
        |(vek, issuer)| chain::issued(crypto, issuer, vek),
        nothing,
    );
    vek_time(&mut checks, vek.as_ref(), now);
    authority_time(
        &mut checks,
        "the VEK's issuer is valid at that time",
        (Part::Ask, issuer.as_ref()),
        now,
    );
    let ark = ark.and_then(Result::ok);
    authority_time(&mut checks, "the root is valid at that time", (Part::Ark, ark), now);
    lists(&mut checks, snp, ark, issuer.as_ref(), vek.as_ref(), endorsements, now);
    let chain =
        extensions.zip(key).zip(kind).zip(product).map(|(((extensions, key), kind), product)| {
            unverified(kind, Some(product), extensions, key)
        });
    body(&mut checks, snp.crypto(), report.as_ref(), chain.as_ref());
    checks.0
}

/// Examines development evidence.
pub(crate) fn development(
    format: &Development,
    evidence: &[u8],
    endorsements: &Endorsements<'_>,
    now: Time,
) -> Vec<Check> {
    let mut checks = Checks::default();
    let report = length(&mut checks, development::length(evidence));
    header(&mut checks, report.as_ref());
    checks.make(
        "the report is signed by a VCEK",
        NO_REPORT,
        report.as_ref(),
        development::signing_key,
        nothing,
    );
    let vek = vek(&mut checks, endorsements);
    let root = checks.make(
        "an accepted development root issued the VEK",
        NO_VEK,
        vek.as_ref(),
        |vek| format.issuer(vek),
        nothing,
    );
    let key = key(&mut checks, vek.as_ref());
    let extensions = checks.make(
        "the VEK has the extensions of development evidence",
        NO_VEK,
        vek.as_ref(),
        development::extensions,
        describe,
    );
    vek_time(&mut checks, vek.as_ref(), now);
    authority_time(&mut checks, "the root is valid at that time", (Part::Ark, root), now);
    let chain = extensions
        .zip(key)
        .map(|(extensions, key)| unverified(SigningKey::Vcek, None, extensions, key));
    body(&mut checks, format.crypto(), report.as_ref(), chain.as_ref());
    checks.0
}

fn length<'a>(checks: &mut Checks, report: Result<Report<'a>, SnpRefusal>) -> Option<Report<'a>> {
    checks.make("the report has exactly 1184 bytes", "", Some(report), |report| report, nothing)
}

fn header(checks: &mut Checks, report: Option<&Report<'_>>) {
    checks.make(
        "the version of the report is known",
        NO_REPORT,
        report,
        rules::version,
        |version| format!("version {version}"),
    );
    checks.make(
        "the report says that it is signed by ECDSA over P-384 with SHA-384",
        NO_REPORT,
        report,
        rules::signature_algorithm,
        nothing,
    );
}

fn vek<'e>(checks: &mut Checks, endorsements: &'e Endorsements<'_>) -> Option<Certificate<'e>> {
    checks.make(
        "there is one VEK, and it can be read",
        "",
        Some(endorsements),
        |endorsements| chain::read_vek(chain::find_vek(endorsements)?),
        nothing,
    )
}

fn key(checks: &mut Checks, vek: Option<&Certificate<'_>>) -> Option<[u8; 97]> {
    checks.make("the VEK's key is on P-384", NO_VEK, vek, chain::key, nothing)
}

fn describe(extensions: &VekExtensions) -> String {
    let VekExtensions { product_name, tcb, hw_id, csp_id, .. } = extensions;
    let fmc = tcb.fmc.map(|fmc| format!("fmc {fmc}, ")).unwrap_or_default();
    // One of the two is there: the chip of a VCEK or the provider of a VLEK.
    let chip = hw_id.as_ref().map(|id| format!("chip {}", hex(id)));
    let whose = chip.or(csp_id.as_ref().map(|id| format!("provider {id}"))).unwrap_or_default();
    format!(
        "{product_name}, TCB {fmc}boot loader {}, TEE {}, SNP {}, microcode {}, {whose}",
        tcb.bootloader, tcb.tee, tcb.snp, tcb.microcode
    )
}

fn vek_time(checks: &mut Checks, vek: Option<&Certificate<'_>>, now: Time) {
    checks.make(
        "the VEK is valid at that time",
        NO_VEK,
        vek,
        |vek| {
            vek.check_time(now).map_err(SnpRefusal::vek)?;
            Ok((vek.not_before, vek.not_after))
        },
        |(from, to)| format!("{from} to {to}"),
    );
}

fn authority_time(
    checks: &mut Checks,
    what: &'static str,
    (part, authority): (Part, Option<&Authority>),
    now: Time,
) {
    checks.make(
        what,
        NO_ISSUER,
        authority,
        |authority| {
            authority.check_time(now).map_err(|error| SnpRefusal::Certificate(part, error))?;
            Ok((authority.not_before, authority.not_after))
        },
        |(from, to)| format!("{from} to {to}"),
    );
}

fn lists(
    checks: &mut Checks,
    snp: &Snp,
    ark: Option<&Authority>,
    issuer: Option<&Authority>,
    vek: Option<&Certificate<'_>>,
    endorsements: &Endorsements<'_>,
    now: Time,
) {
    let (lists, unreadable) = chain::lists(endorsements);
    let mut window = Window::ALL;
    let list = checks.make(
        "a revocation list of the root is there and holds at that time",
        "the root is not known",
        ark,
        |ark| chain::root_list(snp.crypto(), ark, (&lists, unreadable), now, &mut window),
        |list| format!("{} to {}", list.this_update, list.next_update),
    );
    checks.make(
        "the VEK's issuer is not revoked",
        "there is no good revocation list, or no issuer",
        list.zip(issuer),
        |(list, issuer)| chain::issuer_not_revoked(list, issuer),
        nothing,
    );
    checks.make(
        "the VEK is not revoked",
        NO_ISSUER,
        issuer.zip(vek),
        |(issuer, vek)| chain::vek_not_revoked(snp.crypto(), issuer, &lists, vek, now, &mut window),
        |end| match end {
            Some(end) => format!("by a list of its issuer, until {end}"),
            None => "its issuer has no list here".to_owned(),
        },
    );
}

/// What the certificate says, for the rules of the report; how genuine it is has been said before.
fn unverified(
    kind: SigningKey,
    product: Option<SnpProduct>,
    extensions: VekExtensions,
    key: [u8; 97],
) -> Chain {
    Chain { kind, product, extensions, key, window: Window::ALL, valid_until: Time::MAX }
}

fn body(
    checks: &mut Checks,
    crypto: &dyn evidence_crypto::Crypto,
    report: Option<&Report<'_>>,
    chain: Option<&Chain>,
) {
    const MISSING: &str = "report or VEK cannot be read";
    let both = report.zip(chain);
    checks.make(
        "REPORTED_TCB is the TCB that the VEK is made for",
        MISSING,
        both,
        |(report, chain)| rules::tcb(report, chain),
        nothing,
    );
    checks.make(
        "CHIP_ID is the chip that the VEK is made for, or zero if there is none",
        MISSING,
        both,
        |(report, chain)| rules::chip_id(report, chain),
        nothing,
    );
    checks.make(
        "the report is signed by the VEK",
        MISSING,
        both,
        |(report, chain)| rules::signature(crypto, report, chain),
        nothing,
    );
    let layout = chain.map(Chain::layout);
    checks.make(
        "reserved fields are zero",
        MISSING,
        report.zip(layout),
        |(report, layout): (_, TcbLayout)| rules::reserved(report, layout),
        nothing,
    );
    checks.make(
        "reserved bits of POLICY have their values",
        NO_REPORT,
        report,
        rules::policy,
        nothing,
    );
    checks.make(
        "the firmware is not older than POLICY demands",
        NO_REPORT,
        report,
        |report| rules::abi(report).map(|()| report.tcb(offset::CURRENT_BUILD)),
        |[build, minor, major, ..]| format!("version {major}.{minor}.{build}"),
    );
}
