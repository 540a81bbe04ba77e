// SPDX-License-Identifier: Apache-2.0

//! From the VEK to AMD's root: the rules for certificates and revocation lists.

use core::cmp::Reverse;

use evidence_claims::{Endorsements, SigningKey, SnpProduct, Time, kind as kind_of};
use evidence_crypto::Crypto;
use evidence_pki::{Certificate, Crl, PkiError, PublicKey};

use crate::authority::{Authority, CRITICAL, Roots, intermediate};
use crate::report::TcbLayout;
use crate::vek::VekExtensions;
use crate::{Part, SnpRefusal};

/// What a verified chain says of the key that signs reports.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) kind: SigningKey,
    /// `None` for development evidence.
    pub(crate) product: Option<SnpProduct>,
    pub(crate) extensions: VekExtensions,
    /// The key, an uncompressed point on P-384.
    pub(crate) key: [u8; 97],
    /// The times at which the same certificates and lists lead to the same result.
    pub(crate) window: Window,
    /// The end of the first part of the chain to end.
    pub(crate) valid_until: Time,
}

impl Chain {
    /// The layout of `TCB_VERSION` on that product.
    pub(crate) fn layout(&self) -> TcbLayout {
        self.product.map_or(TcbLayout::Milan, TcbLayout::of)
    }
}

/// A span of time, both ends included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) from: Time,
    pub(crate) to: Time,
}

impl Window {
    /// All time.
    pub(crate) const ALL: Self = Self { from: Time::from_unix(0), to: Time::MAX };

    pub(crate) fn contains(&self, now: Time) -> bool {
        self.from <= now && now <= self.to
    }

    /// Leaves only what is in `from` to `to`.
    pub(crate) fn narrow(&mut self, from: Time, to: Time) {
        self.from = self.from.max(from);
        self.to = self.to.min(to);
    }
}

/// The one VEK among the endorsements.
pub(crate) fn find_vek<'e>(endorsements: &'e Endorsements<'_>) -> Result<&'e [u8], SnpRefusal> {
    let mut veks = endorsements.all(kind_of::VEK);
    match (veks.next(), veks.next()) {
        (Some(vek), None) => Ok(vek),
        (None, _) => Err(SnpRefusal::VekMissing),
        _ => Err(SnpRefusal::VekAmbiguous),
    }
}

/// Reads the VEK's certificate.
pub(crate) fn read_vek(raw: &[u8]) -> Result<Certificate<'_>, SnpRefusal> {
    let vek = Certificate::parse(raw).map_err(SnpRefusal::vek)?;
    vek.check_critical(CRITICAL).map_err(SnpRefusal::vek)?;
    Ok(vek)
}

/// The product whose authority issues such a VEK, if its names are those of that kind.
pub(crate) fn product(vek: &Certificate<'_>, kind: SigningKey) -> Result<SnpProduct, SnpRefusal> {
    let (subject, issuer) = names(kind);
    let product = vek.issuer_common_name().and_then(|name| name.strip_prefix(issuer));
    match SnpProduct::ALL.into_iter().find(|one| product == Some(one.as_str())) {
        Some(product) if vek.common_name() == Some(subject) => Ok(product),
        _ => Err(wrong_name(kind)),
    }
}

/// That the names are not those of such a VEK.
pub(crate) fn wrong_name(kind: SigningKey) -> SnpRefusal {
    SnpRefusal::VekName(match kind {
        SigningKey::Vcek => "VCEK",
        SigningKey::Vlek => "VLEK",
    })
}

/// Common name of the subject, and beginning of that of the issuer.
fn names(kind: SigningKey) -> (&'static str, &'static str) {
    match kind {
        SigningKey::Vcek => ("SEV-VCEK", "SEV-"),
        SigningKey::Vlek => ("SEV-VLEK", "SEV-VLEK-"),
    }
}

/// The VEK's key.
pub(crate) fn key(vek: &Certificate<'_>) -> Result<[u8; 97], SnpRefusal> {
    match vek.key {
        PublicKey::P384(point) => point.try_into().map_err(|_| SnpRefusal::VekKey),
        _ => Err(SnpRefusal::VekKey),
    }
}

/// The VEK's extensions, if they are what that product's VEKs of that kind have.
pub(crate) fn extensions(
    vek: &Certificate<'_>,
    product: SnpProduct,
    kind: SigningKey,
) -> Result<VekExtensions, SnpRefusal> {
    let extensions = VekExtensions::read(vek)?;
    let turin = TcbLayout::of(product) == TcbLayout::Turin;
    if extensions.struct_version != u8::from(turin) {
        return Err(SnpRefusal::VekStructVersion(extensions.struct_version));
    }
    // With the stepping for Milan (`Milan-B0`), without for the others.
    match extensions.product_name.strip_prefix(product.as_str()) {
        Some(rest) if rest.is_empty() || rest.starts_with('-') => {}
        _ => return Err(SnpRefusal::VekProductName),
    }
    if extensions.tcb.fmc.is_some() != turin {
        return Err(SnpRefusal::VekExtension("fmcSPL"));
    }
    let id_length = extensions.hw_id.as_ref().map(Vec::len);
    let expected = match kind {
        SigningKey::Vcek => Some(if turin { 8 } else { 64 }),
        SigningKey::Vlek => None,
    };
    if id_length != expected {
        return Err(SnpRefusal::VekExtension("hwID"));
    }
    if extensions.csp_id.is_some() != (kind == SigningKey::Vlek) {
        return Err(SnpRefusal::VekExtension("cspID"));
    }
    Ok(extensions)
}

/// The VEK's issuer: an intermediate authority among the endorsements whose name that is, or else the
/// built-in one. Either way the root issued it.
///
/// That the root issued the built-in one is found out once and remembered, also if its bytes come among
/// the endorsements. Its time and its revocation are never remembered.
pub(crate) fn issuer(
    crypto: &dyn Crypto,
    roots: &Roots,
    kind: SigningKey,
    vek: &Certificate<'_>,
    endorsements: &Endorsements<'_>,
) -> Result<Authority, SnpRefusal> {
    let ark = roots.ark()?;
    for raw in endorsements.all(kind_of::ASK) {
        if roots.is_built_in(kind, raw) {
            break;
        }
        let certificate =
            Certificate::parse(raw).map_err(|error| SnpRefusal::Certificate(Part::Ask, error))?;
        if certificate.subject == vek.issuer {
            return intermediate(crypto, ark, &certificate);
        }
    }
    roots.built_in(crypto, kind).cloned()
}

/// The revocation lists among the endorsements, and what is wrong with the first that cannot be read.
/// One that cannot be read is as good as absent: nobody can say whose it is.
pub(crate) fn lists<'e>(endorsements: &'e Endorsements<'_>) -> (Vec<Crl<'e>>, Option<PkiError>) {
    let (mut lists, mut unreadable) = (Vec::new(), None);
    for raw in endorsements.all(kind_of::CRL) {
        match Crl::parse(raw) {
            Ok(list) => lists.push(list),
            Err(error) => unreadable = unreadable.or(Some(error)),
        }
    }
    (lists, unreadable)
}

/// The newest list of that issuer which holds at `now`; `None` if there is none of that issuer at all.
///
/// `window` is narrowed to the times at which the choice would be the same.
pub(crate) fn newest<'l, 'e>(
    crypto: &dyn Crypto,
    part: Part,
    issuer: &Authority,
    lists: &'l [Crl<'e>],
    now: Time,
    window: &mut Window,
) -> Result<Option<&'l Crl<'e>>, SnpRefusal> {
    let mut own: Vec<_> = lists.iter().filter(|list| list.issuer == issuer.subject).collect();
    own.sort_by_key(|list| Reverse((list.number, list.this_update)));
    let mut first = None;
    for list in own {
        let checked = match list.check_time(now) {
            Err(error @ PkiError::NotYetValid(begin)) => {
                window.narrow(Window::ALL.from, begin.minus(1));
                Err(error)
            }
            Err(error @ PkiError::Expired(end)) => {
                window.narrow(end.plus(1), Window::ALL.to);
                Err(error)
            }
            other => other.and_then(|()| issuer.check_issued_list(crypto, list)),
        };
        match checked {
            Ok(()) => {
                window.narrow(list.this_update, list.next_update);
                return Ok(Some(list));
            }
            Err(error) => first = first.or(Some(error)),
        }
    }
    first.map_or(Ok(None), |error| Err(SnpRefusal::Crl(part, error)))
}

/// The root's list, without which there is no verdict.
pub(crate) fn root_list<'l, 'e>(
    crypto: &dyn Crypto,
    ark: &Authority,
    (lists, unreadable): (&'l [Crl<'e>], Option<PkiError>),
    now: Time,
    window: &mut Window,
) -> Result<&'l Crl<'e>, SnpRefusal> {
    let missing = || match unreadable {
        Some(error) => SnpRefusal::Crl(Part::Ark, error),
        None => SnpRefusal::CrlMissing,
    };
    newest(crypto, Part::Ark, ark, lists, now, window)?.ok_or_else(missing)
}

/// The VEK is not on its issuer's own list, if there is one; returns the end of that list.
///
/// AMD publishes the root's list only, and its present intermediates may not sign lists. VCEKs have the
/// serial number 0, each of them: a list of the intermediate that names it revokes them all. On the root's
/// list that number says nothing of VEKs, which the root does not issue.
pub(crate) fn vek_not_revoked(
    crypto: &dyn Crypto,
    issuer: &Authority,
    lists: &[Crl<'_>],
    vek: &Certificate<'_>,
    now: Time,
    window: &mut Window,
) -> Result<Option<Time>, SnpRefusal> {
    let Some(list) = newest(crypto, Part::Ask, issuer, lists, now, window)? else {
        return Ok(None);
    };
    if list.revokes(vek.serial) { Err(SnpRefusal::VekRevoked) } else { Ok(Some(list.next_update)) }
}

/// The issuer's key signed the VEK, and the names fit.
pub(crate) fn issued(
    crypto: &dyn Crypto,
    issuer: &Authority,
    vek: &Certificate<'_>,
) -> Result<(), SnpRefusal> {
    issuer.check_issued(crypto, vek.issuer, &vek.signature).map_err(SnpRefusal::vek)
}

/// The VEK's issuer is not on the root's list.
pub(crate) fn issuer_not_revoked(list: &Crl<'_>, issuer: &Authority) -> Result<(), SnpRefusal> {
    if list.revokes(&issuer.serial) { Err(SnpRefusal::AskRevoked) } else { Ok(()) }
}
