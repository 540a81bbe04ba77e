// SPDX-License-Identifier: Apache-2.0

//! What Intel's services give out, verified piece by piece and without a quote: for who fetches and stores
//! it.
//!
//! The rules are those of a verdict. What is left out is what only a quote can say, and revocation where no
//! list is given: a document may arrive before the list does.

use std::borrow::Cow;
use std::sync::Arc;

use evidence_crypto::{Crypto, Scheme};
use evidence_pki::{Certificate, Crl};

use crate::collateral::{check_dates, not_on};
use crate::document::{QeIdentity, Signed, TcbInfo};
use crate::pck::PckExtensions;
use crate::refusal::{Document, List, Part};
use crate::{DcapRefusal, INTEL_ROOT, Tee, Time, chain, vendor};

/// Verifies single pieces of collateral under one root.
#[derive(Debug, Clone)]
pub struct Parts {
    crypto: Arc<dyn Crypto>,
    root: Cow<'static, [u8]>,
}

/// Who issues PCK certificates, and has a revocation list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PckCa {
    /// For single processors.
    Processor,
    /// For platforms that may have several packages.
    Platform,
}

impl PckCa {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Processor, Self::Platform];

    /// `processor` or `platform`, as in the URLs of Intel's service.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Processor => "processor",
            Self::Platform => "platform",
        }
    }

    fn of(certificate: &Certificate<'_>) -> Option<Self> {
        match certificate.common_name() {
            Some("Intel SGX PCK Processor CA") => Some(Self::Processor),
            Some("Intel SGX PCK Platform CA") => Some(Self::Platform),
            _ => None,
        }
    }
}

/// A revocation list that is genuine and current.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListFacts {
    /// Whose it is; `None` for the root's.
    pub issuer: Option<PckCa>,
    /// When it was issued.
    pub this_update: Time,
    /// When the next one is due, after which this one counts for nothing.
    pub next_update: Time,
    /// Its number: a later list has a greater one.
    pub number: Option<u64>,
    /// How many certificates it revokes.
    pub revoked: usize,
}

/// A PCK certificate that is genuine and current.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PckFacts {
    /// Who issued it.
    pub issuer: PckCa,
    /// What it says of its platform.
    pub extensions: PckExtensions,
    /// The end of its validity, or of its issuer's if that comes earlier.
    pub valid_until: Time,
}

impl Parts {
    /// Under Intel's root.
    #[must_use]
    pub fn new(crypto: Arc<dyn Crypto>) -> Self {
        Self { crypto, root: Cow::Borrowed(INTEL_ROOT) }
    }

    /// Under another root, in DER: for tests.
    ///
    /// # Errors
    ///
    /// [`DcapRefusal::Certificate`], [`DcapRefusal::CertificateRole`].
    pub fn with_root(crypto: Arc<dyn Crypto>, root: &[u8]) -> Result<Self, DcapRefusal> {
        chain::check_role(&chain::parse(root, Part::Root)?, Part::Root, &vendor::INTEL)?;
        Ok(Self { crypto, root: Cow::Owned(root.to_vec()) })
    }

    /// Verifies the root's revocation list.
    ///
    /// # Errors
    ///
    /// [`DcapRefusal`].
    pub fn root_list(&self, list: &[u8], now: Time) -> Result<ListFacts, DcapRefusal> {
        let root = self.root(now)?;
        let list = Crl::parse(list).map_err(DcapRefusal::Crl)?;
        chain::check_list(self.crypto(), &list, List::Root, &root, now)?;
        Ok(facts(&list, None))
    }

    /// Verifies the revocation list of a PCK authority, whose chain (itself, and the root) comes with it.
    ///
    /// # Errors
    ///
    /// [`DcapRefusal`].
    pub fn pck_list(
        &self,
        list: &[u8],
        issuer_chain: &[u8],
        root_list: Option<&[u8]>,
        now: Time,
    ) -> Result<ListFacts, DcapRefusal> {
        let root = self.root(now)?;
        let chain = chain::read(issuer_chain, Part::PckAuthority, 1, &root)?;
        let authority = only(&chain, Part::PckAuthority)?;
        let issuer = self.authority(&authority, &root, root_list, now)?;
        let list = Crl::parse(list).map_err(DcapRefusal::Crl)?;
        chain::check_list(self.crypto(), &list, List::Pck, &authority, now)?;
        Ok(facts(&list, Some(issuer)))
    }

    /// Verifies the chain of a PCK certificate: itself, its authority, and the root. With lists it must not
    /// be on them; they have to be good then.
    ///
    /// # Errors
    ///
    /// [`DcapRefusal`].
    pub fn pck_chain(
        &self,
        bytes: &[u8],
        root_list: Option<&[u8]>,
        pck_list: Option<&[u8]>,
        now: Time,
    ) -> Result<PckFacts, DcapRefusal> {
        let root = self.root(now)?;
        let chain = chain::read(bytes, Part::Pck, 2, &root)?;
        let [leaf, authority] = chain.as_slice() else {
            return Err(DcapRefusal::ChainLength(Part::Pck, chain.len()));
        };
        let (leaf, authority) =
            (chain::parse(leaf, Part::Pck)?, chain::parse(authority, Part::PckAuthority)?);
        let issuer = self.authority(&authority, &root, root_list, now)?;
        chain::check_role(&leaf, Part::Pck, &vendor::INTEL)?;
        chain::check_time(&leaf, Part::Pck, now)?;
        chain::check_issued(self.crypto(), &leaf, Part::Pck, &authority)?;
        if let Some(list) = pck_list {
            let list = Crl::parse(list).map_err(DcapRefusal::Crl)?;
            chain::check_list(self.crypto(), &list, List::Pck, &authority, now)?;
            not_on(&list, &leaf, Part::Pck)?;
        }
        let extensions = PckExtensions::read(&leaf)?;
        let valid_until = leaf.not_after.min(authority.not_after);
        Ok(PckFacts { issuer, extensions, valid_until })
    }

    /// Verifies TCB info, whose signer's chain (itself, and the root) comes with it.
    ///
    /// # Errors
    ///
    /// [`DcapRefusal`].
    pub fn tcb_info(
        &self,
        tee: Tee,
        body: &[u8],
        signer_chain: &[u8],
        root_list: Option<&[u8]>,
        now: Time,
    ) -> Result<TcbInfo, DcapRefusal> {
        let which = Document::TcbInfo;
        let text = self.signed(which, Part::TcbSigner, body, signer_chain, root_list, now)?;
        let info = TcbInfo::parse(text)?;
        if info.id != tee {
            return Err(DcapRefusal::Id(which, info.id.as_str().to_owned()));
        }
        check_dates(which, info.issue_date, info.next_update, now)?;
        Ok(info)
    }

    /// Verifies a QE identity, likewise.
    ///
    /// # Errors
    ///
    /// [`DcapRefusal`].
    pub fn qe_identity(
        &self,
        tee: Tee,
        body: &[u8],
        signer_chain: &[u8],
        root_list: Option<&[u8]>,
        now: Time,
    ) -> Result<QeIdentity, DcapRefusal> {
        let which = Document::QeIdentity;
        let part = Part::QeIdentitySigner;
        let text = self.signed(which, part, body, signer_chain, root_list, now)?;
        let identity = QeIdentity::parse(text)?;
        let name = match tee {
            Tee::Sgx => "QE",
            Tee::Tdx => "TD_QE",
        };
        if identity.id != name {
            return Err(DcapRefusal::Id(which, crate::document::short(identity.id)));
        }
        check_dates(which, identity.issue_date, identity.next_update, now)?;
        Ok(identity)
    }

    fn crypto(&self) -> &dyn Crypto {
        self.crypto.as_ref()
    }

    fn root(&self, now: Time) -> Result<Certificate<'_>, DcapRefusal> {
        let root = chain::parse(&self.root, Part::Root)?;
        chain::check_role(&root, Part::Root, &vendor::INTEL)?;
        chain::check_time(&root, Part::Root, now)?;
        Ok(root)
    }

    fn authority(
        &self,
        authority: &Certificate<'_>,
        root: &Certificate<'_>,
        root_list: Option<&[u8]>,
        now: Time,
    ) -> Result<PckCa, DcapRefusal> {
        self.below_root(authority, Part::PckAuthority, root, root_list, now)?;
        PckCa::of(authority).ok_or(DcapRefusal::CertificateName(Part::PckAuthority))
    }

    /// A certificate that the root issued, and has not revoked if there is a list.
    fn below_root(
        &self,
        certificate: &Certificate<'_>,
        part: Part,
        root: &Certificate<'_>,
        root_list: Option<&[u8]>,
        now: Time,
    ) -> Result<(), DcapRefusal> {
        chain::check_role(certificate, part, &vendor::INTEL)?;
        chain::check_time(certificate, part, now)?;
        chain::check_issued(self.crypto(), certificate, part, root)?;
        if let Some(list) = root_list {
            let list = Crl::parse(list).map_err(DcapRefusal::Crl)?;
            chain::check_list(self.crypto(), &list, List::Root, root, now)?;
            not_on(&list, certificate, part)?;
        }
        Ok(())
    }

    fn signed<'b>(
        &self,
        document: Document,
        part: Part,
        body: &'b [u8],
        signer_chain: &[u8],
        root_list: Option<&[u8]>,
        now: Time,
    ) -> Result<&'b [u8], DcapRefusal> {
        let root = self.root(now)?;
        let chain = chain::read(signer_chain, part, 1, &root)?;
        let signer = only(&chain, part)?;
        self.below_root(&signer, part, &root, root_list, now)?;
        let signed = Signed::read(document, body)?;
        let key = chain::p256(&signer, part)?;
        self.crypto()
            .verify(Scheme::P256Fixed, key, signed.text, &signed.signature)
            .map_err(|_| DcapRefusal::Signature(document))?;
        Ok(signed.text)
    }
}

/// The one certificate of a chain of one.
fn only<'c>(chain: &'c [Cow<'_, [u8]>], part: Part) -> Result<Certificate<'c>, DcapRefusal> {
    match chain {
        [one] => chain::parse(one, part),
        _ => Err(DcapRefusal::ChainLength(part, chain.len())),
    }
}

fn facts(list: &Crl<'_>, issuer: Option<PckCa>) -> ListFacts {
    ListFacts {
        issuer,
        this_update: list.this_update,
        next_update: list.next_update,
        number: list.number,
        revoked: list.serials().count(),
    }
}
