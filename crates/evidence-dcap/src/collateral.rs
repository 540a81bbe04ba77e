// SPDX-License-Identifier: Apache-2.0

//! Collateral: what Intel says about platforms of a kind. It is verified by itself, without a quote, so
//! that a set once verified can serve for many quotes.

use std::borrow::Cow;

use evidence_claims::{Endorsements, kind};
use evidence_crypto::{Crypto, Scheme};
use evidence_pki::{Certificate, Crl};

use crate::chain;
use crate::document::{QeIdentity, Signed, TcbInfo, short};
use crate::refusal::{Document, List, Part};
use crate::trace::Trace;
use crate::vendor::Vendor;
use crate::{DcapRefusal, Tee, Time, what};

/// Collateral as it came, unchecked.
#[derive(Debug, Clone, Default)]
pub struct Collateral<'a> {
    /// Revocation lists in DER. Which is whose, their issuers say.
    pub crls: Vec<&'a [u8]>,
    /// TCB info as Intel's PCS serves it, with its signature.
    pub tcb_info: Option<&'a [u8]>,
    /// Certificates of who signed the TCB info, lowest first, DER or PEM.
    pub tcb_info_chain: Option<&'a [u8]>,
    /// QE identity as Intel's PCS serves it, with its signature.
    pub qe_identity: Option<&'a [u8]>,
    /// Certificates of who signed the QE identity; those of the TCB info's signer if there are none.
    pub qe_identity_chain: Option<&'a [u8]>,
    /// The PCK certificate chain, for quotes that do not contain it.
    pub pck_chain: Option<&'a [u8]>,
}

impl<'a> Collateral<'a> {
    /// Finds it among endorsements. The first of a kind counts, and all revocation lists.
    #[must_use]
    pub fn new(endorsements: &'a Endorsements<'_>) -> Self {
        let mut found = Self::default();
        for one in endorsements.iter() {
            let bytes = one.bytes.as_ref();
            let place = match one.kind.as_ref() {
                kind::CRL => {
                    found.crls.push(bytes);
                    continue;
                }
                kind::TCB_INFO => &mut found.tcb_info,
                kind::TCB_INFO_CHAIN => &mut found.tcb_info_chain,
                kind::QE_IDENTITY => &mut found.qe_identity,
                kind::QE_IDENTITY_CHAIN => &mut found.qe_identity_chain,
                kind::PCK_CHAIN => &mut found.pck_chain,
                _ => continue,
            };
            place.get_or_insert(bytes);
        }
        found
    }

    /// A digest over all that [`verify`] looks at: who sends other bytes has another set.
    pub(crate) fn digest(&self, crypto: &dyn Crypto, tee: Tee, authority: &[u8]) -> [u8; 32] {
        let tee = tee.number().to_be_bytes();
        let some = |bytes: Option<&'a [u8]>| (bytes.is_some(), bytes.unwrap_or_default());
        let mut parts = vec![(true, &tee[..]), (true, authority)];
        parts.push(some(self.tcb_info));
        parts.push(some(self.tcb_info_chain));
        parts.push(some(self.qe_identity));
        parts.push(some(self.qe_identity_chain));
        parts.extend(self.crls.iter().map(|list| (true, *list)));
        // Each part with its length before it, so that nothing can move from one to the next.
        let lengths: Vec<[u8; 9]> = parts
            .iter()
            .map(|(there, bytes)| {
                let mut head = [0; 9];
                if let Some((flag, length)) = head.split_first_mut() {
                    *flag = u8::from(*there);
                    length.copy_from_slice(&(bytes.len() as u64).to_be_bytes());
                }
                head
            })
            .collect();
        let all: Vec<&[u8]> = lengths
            .iter()
            .zip(&parts)
            .flat_map(|(head, (_, bytes))| [head.as_slice(), *bytes])
            .collect();
        crypto.sha256(&all)
    }

    /// The latest revocation list that an authority issued, by its name.
    fn list<'l>(
        lists: &'l [Crl<'a>],
        which: List,
        issuer: &Certificate<'_>,
    ) -> Result<&'l Crl<'a>, DcapRefusal> {
        lists
            .iter()
            .filter(|list| list.issuer == issuer.subject)
            .max_by_key(|list| list.this_update)
            .ok_or(DcapRefusal::CrlMissing(which))
    }
}

/// Collateral that is genuine from `valid_from` to `valid_until`, both included.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) valid_from: Time,
    pub(crate) valid_until: Time,
    pub(crate) tcb_info: TcbInfo,
    pub(crate) qe_identity: Option<QeIdentity>,
    /// Serial numbers of revoked PCK certificates, each with its length before it.
    pub(crate) revoked: Vec<u8>,
}

impl Verified {
    /// Whether a PCK certificate is revoked.
    pub(crate) fn revokes(&self, serial: &[u8]) -> bool {
        let mut rest = self.revoked.as_slice();
        while let Some((length, tail)) = rest.split_first() {
            let Some((revoked, tail)) = tail.split_at_checked(usize::from(*length)) else { break };
            if revoked == serial {
                return true;
            }
            rest = tail;
        }
        false
    }
}

/// The time for which everything seen so far is valid.
struct Window(Time, Time);

impl Window {
    fn narrow(&mut self, from: Time, until: Time) {
        self.0 = self.0.max(from);
        self.1 = self.1.min(until);
    }

    fn certificate(&mut self, certificate: &Certificate<'_>) {
        self.narrow(certificate.not_before, certificate.not_after);
    }
}

/// What [`verify`] works with.
pub(crate) struct Task<'t, 'a> {
    pub(crate) crypto: &'t dyn Crypto,
    pub(crate) tee: Tee,
    pub(crate) vendor: &'static Vendor,
    pub(crate) root: &'t Certificate<'t>,
    /// The authority that issued the PCK certificate.
    pub(crate) authority: &'t Certificate<'t>,
    pub(crate) collateral: &'t Collateral<'a>,
    pub(crate) now: Time,
}

impl Task<'_, '_> {
    /// Verifies collateral. Each signature is checked once.
    pub(crate) fn verify(&self, trace: &mut impl Trace) -> Result<Verified, DcapRefusal> {
        let Self { crypto, tee, vendor, root, authority, collateral, now } = *self;
        let mut window = Window(root.not_before, root.not_after);
        window.certificate(authority);

        let lists = trace.value(what::CRLS, || {
            let lists = collateral.crls.iter().copied();
            lists
                .map(|raw| Crl::parse(raw).map_err(DcapRefusal::Crl))
                .collect::<Result<Vec<_>, _>>()
        })?;
        let root_list = trace.value(what::ROOT_CRL, || {
            chain::check_role(root, Part::Root, vendor)?;
            chain::check_time(root, Part::Root, now)?;
            let list = Collateral::list(&lists, List::Root, root)?;
            chain::check_list(crypto, list, List::Root, root, now)?;
            Ok(list)
        })?;
        trace.saw(|| format!("current until {}", root_list.next_update));
        window.narrow(root_list.this_update, root_list.next_update);

        trace.check(what::AUTHORITY, || {
            chain::check_role(authority, Part::PckAuthority, vendor)?;
            chain::check_time(authority, Part::PckAuthority, now)?;
            chain::check_issued(crypto, authority, Part::PckAuthority, root)?;
            not_on(root_list, authority, Part::PckAuthority)
        })?;
        trace.saw(|| authority.common_name().unwrap_or_default().to_owned());
        let pck_list = trace.value(what::PCK_CRL, || {
            let list = Collateral::list(&lists, List::Pck, authority)?;
            chain::check_list(crypto, list, List::Pck, authority, now)?;
            Ok(list)
        })?;
        trace.saw(|| format!("current until {}", pck_list.next_update));
        window.narrow(pck_list.this_update, pck_list.next_update);

        let tcb_chain = match (collateral.tcb_info, collateral.tcb_info_chain) {
            (Some(_), None) => Err(DcapRefusal::TcbInfoChainMissing),
            (None, _) => Err(DcapRefusal::TcbInfoMissing),
            (Some(_), Some(bytes)) => chain::read(bytes, Part::TcbSigner, 1, root),
        };
        let signer = trace.value(what::TCB_SIGNER, || {
            let raw = first(tcb_chain.as_deref())?;
            let signer = chain::parse(raw, Part::TcbSigner)?;
            self.check_signer(&signer, Part::TcbSigner, root_list)?;
            Ok(signer)
        })?;
        window.certificate(&signer);
        let signed = trace.value(what::TCB_INFO_SIGNATURE, || {
            self.check_signature(Document::TcbInfo, collateral.tcb_info, &signer, Part::TcbSigner)
        })?;
        let tcb_info = trace.value(what::TCB_INFO, || {
            let info = TcbInfo::parse(signed.text)?;
            if info.id != tee {
                return Err(DcapRefusal::Id(Document::TcbInfo, info.id.as_str().to_owned()));
            }
            check_dates(Document::TcbInfo, info.issue_date, info.next_update, now)?;
            Ok(info)
        })?;
        trace.saw(|| {
            format!(
                "evaluation number {}, current until {}",
                tcb_info.evaluation_number, tcb_info.next_update
            )
        });
        window.narrow(tcb_info.issue_date, tcb_info.next_update);

        let qe_identity = if collateral.qe_identity.is_some() {
            let identity = self.qe_identity(trace, &signer, root_list, &mut window)?;
            window.narrow(identity.issue_date, identity.next_update);
            Some(identity)
        } else {
            let why = "there is no QE identity";
            trace.skip(what::QE_SIGNER, why);
            trace.skip(what::QE_IDENTITY_SIGNATURE, why);
            trace.skip(what::QE_IDENTITY, why);
            None
        };

        let mut revoked = Vec::new();
        for serial in pck_list.serials() {
            // No certificate has a longer serial number (RFC 5280, 4.1.2.2: 20 octets).
            if let Ok(length) = u8::try_from(serial.len()) {
                revoked.push(length);
                revoked.extend_from_slice(serial);
            }
        }
        let Window(valid_from, valid_until) = window;
        Ok(Verified { valid_from, valid_until, tcb_info, qe_identity, revoked })
    }

    fn qe_identity(
        &self,
        trace: &mut impl Trace,
        tcb_signer: &Certificate<'_>,
        root_list: &Crl<'_>,
        window: &mut Window,
    ) -> Result<QeIdentity, DcapRefusal> {
        let part = Part::QeIdentitySigner;
        let chain = match self.collateral.qe_identity_chain {
            // As a rule it is the chain that was just verified, byte by byte.
            Some(bytes) if Some(bytes) != self.collateral.tcb_info_chain => {
                Some(chain::read(bytes, part, 1, self.root))
            }
            _ => None,
        };
        let signer = trace.value(what::QE_SIGNER, || {
            let Some(chain) = &chain else { return Ok(tcb_signer.clone()) };
            let raw = first(chain.as_deref())?;
            let signer = chain::parse(raw, part)?;
            if raw != tcb_signer.raw {
                self.check_signer(&signer, part, root_list)?;
            }
            Ok(signer)
        })?;
        window.certificate(&signer);
        let signed = trace.value(what::QE_IDENTITY_SIGNATURE, || {
            let body = self.collateral.qe_identity;
            self.check_signature(Document::QeIdentity, body, &signer, part)
        })?;
        let identity = trace.value(what::QE_IDENTITY, || {
            let identity = QeIdentity::parse(signed.text)?;
            let name = match self.tee {
                Tee::Sgx => "QE",
                Tee::Tdx => "TD_QE",
            };
            if identity.id != name {
                return Err(DcapRefusal::Id(Document::QeIdentity, short(identity.id)));
            }
            let (from, until) = (identity.issue_date, identity.next_update);
            check_dates(Document::QeIdentity, from, until, self.now)?;
            Ok(identity)
        })?;
        trace.saw(|| {
            format!(
                "evaluation number {}, current until {}",
                identity.evaluation_number, identity.next_update
            )
        });
        Ok(identity)
    }

    fn check_signer(
        &self,
        signer: &Certificate<'_>,
        part: Part,
        root_list: &Crl<'_>,
    ) -> Result<(), DcapRefusal> {
        chain::check_role(signer, part, self.vendor)?;
        chain::check_time(signer, part, self.now)?;
        chain::check_issued(self.crypto, signer, part, self.root)?;
        not_on(root_list, signer, part)
    }

    fn check_signature<'b>(
        &self,
        document: Document,
        body: Option<&'b [u8]>,
        signer: &Certificate<'_>,
        part: Part,
    ) -> Result<Signed<'b>, DcapRefusal> {
        let signed = Signed::read(document, body.ok_or(DcapRefusal::TcbInfoMissing)?)?;
        let key = chain::p256(signer, part)?;
        self.crypto
            .verify(Scheme::P256Fixed, key, signed.text, &signed.signature)
            .map_err(|_| DcapRefusal::Signature(document))?;
        Ok(signed)
    }
}

/// The only certificate of a chain.
fn first<'c>(chain: Result<&'c [Cow<'_, [u8]>], &DcapRefusal>) -> Result<&'c [u8], DcapRefusal> {
    let chain = chain.map_err(Clone::clone)?;
    Ok(chain.first().map(AsRef::as_ref).unwrap_or_default())
}

/// That a certificate is not on a list.
pub(crate) fn not_on(
    list: &Crl<'_>,
    certificate: &Certificate<'_>,
    part: Part,
) -> Result<(), DcapRefusal> {
    if list.revokes(certificate.serial) {
        return Err(DcapRefusal::CertificateRevoked(part));
    }
    Ok(())
}

/// That a document is for that time.
pub(crate) fn check_dates(
    document: Document,
    from: Time,
    until: Time,
    now: Time,
) -> Result<(), DcapRefusal> {
    if now < from {
        return Err(DcapRefusal::NotYetValid(document, from));
    }
    if now > until {
        return Err(DcapRefusal::Expired(document, until));
    }
    Ok(())
}
