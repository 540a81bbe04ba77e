// SPDX-License-Identifier: Apache-2.0

//! What AMD gives out, verified piece by piece and without a report: for who fetches and stores it.
//!
//! The rules are those of a verdict. What is left out is what only a report can say, and revocation where no
//! list is given: a certificate may arrive before the list does.

use evidence_claims::{Endorsements, SigningKey, SnpProduct, Time, kind};
use evidence_pki::{Certificate, Crl};

use crate::authority::Authority;
use crate::chain::{self, Window};
use crate::snp::Snp;
use crate::vek::VekExtensions;
use crate::{Part, SnpRefusal};

/// A VEK that AMD issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VekFacts {
    /// Whether it is a chip's or a cloud provider's.
    pub kind: SigningKey,
    /// Whose authority issued it.
    pub product: SnpProduct,
    /// For which chip or provider, and for which TCB.
    pub extensions: VekExtensions,
    /// The end of its validity, or of its issuer's or the list's if that comes earlier.
    pub valid_until: Time,
    /// Whether a revocation list was there to ask.
    pub revocation_checked: bool,
}

/// A revocation list of one of AMD's roots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListFacts {
    /// When it was issued.
    pub this_update: Time,
    /// When the next one is due, after which this one counts for nothing.
    pub next_update: Time,
    /// Its number: a later list has a greater one.
    pub number: Option<u64>,
    /// How many certificates it revokes.
    pub revoked: usize,
}

impl Snp {
    /// Verifies a VEK: names, key and extensions, the signatures up to the product's root, the times, and
    /// that its issuer is not revoked if there is a list. `endorsements` are those of
    /// [`Snp::verify_report`], of which only the VEK is needed.
    ///
    /// # Errors
    ///
    /// [`SnpRefusal`], the first rule that does not hold.
    pub fn verify_vek(
        &self,
        endorsements: &Endorsements<'_>,
        now: Time,
    ) -> Result<VekFacts, SnpRefusal> {
        let crypto = self.crypto();
        let vek = chain::read_vek(chain::find_vek(endorsements)?)?;
        let kind = match vek.common_name() {
            Some("SEV-VLEK") => SigningKey::Vlek,
            _ => SigningKey::Vcek,
        };
        let product = chain::product(&vek, kind)?;
        chain::key(&vek)?;
        let extensions = chain::extensions(&vek, product, kind)?;
        let roots = self.roots(product)?;
        let issuer = chain::issuer(crypto, roots, kind, &vek, endorsements)?;
        chain::issued(crypto, &issuer, &vek)?;
        let mut window = Window::ALL;
        crate::snp::check_times(&vek, &issuer, roots.ark()?, now, &mut window)?;
        let mut valid_until = window.to;
        let revocation_checked = endorsements.first(kind::CRL).is_some();
        if revocation_checked {
            let (lists, unreadable) = chain::lists(endorsements);
            let ark = roots.ark()?;
            let list = chain::root_list(crypto, ark, (&lists, unreadable), now, &mut window)?;
            chain::issuer_not_revoked(list, &issuer)?;
            chain::vek_not_revoked(crypto, &issuer, &lists, &vek, now, &mut window)?;
            valid_until = valid_until.min(list.next_update);
        }
        Ok(VekFacts { kind, product, extensions, valid_until, revocation_checked })
    }

    /// Verifies the revocation list of a product's root.
    ///
    /// # Errors
    ///
    /// [`SnpRefusal::Crl`] if it is another's, not genuine or not current; [`SnpRefusal::NoRoot`].
    pub fn verify_list(
        &self,
        product: SnpProduct,
        list: &[u8],
        now: Time,
    ) -> Result<ListFacts, SnpRefusal> {
        let wrong = |error| SnpRefusal::Crl(Part::Ark, error);
        let list = Crl::parse(list).map_err(wrong)?;
        let ark = self.roots(product)?.ark()?;
        list.check_time(now)
            .and_then(|()| ark.check_issued_list(self.crypto(), &list))
            .map_err(wrong)?;
        Ok(ListFacts {
            this_update: list.this_update,
            next_update: list.next_update,
            number: list.number,
            revoked: list.serials().count(),
        })
    }

    /// Verifies an intermediate authority of a product: that the root issued it, its name, its time, and
    /// that it is not on the root's list if there is one, which has to be good then.
    ///
    /// # Errors
    ///
    /// [`SnpRefusal`].
    pub fn verify_authority(
        &self,
        product: SnpProduct,
        authority: &[u8],
        list: Option<&[u8]>,
        now: Time,
    ) -> Result<SigningKey, SnpRefusal> {
        let wrong = |error| SnpRefusal::Certificate(Part::Ask, error);
        let certificate = Certificate::parse(authority).map_err(wrong)?;
        let roots = self.roots(product)?;
        let issuer: Authority =
            crate::authority::intermediate(self.crypto(), roots.ark()?, &certificate)?;
        issuer.check_time(now).map_err(wrong)?;
        if let Some(list) = list {
            self.verify_list(product, list, now)?;
            let list = Crl::parse(list).map_err(|error| SnpRefusal::Crl(Part::Ark, error))?;
            chain::issuer_not_revoked(&list, &issuer)?;
        }
        let name = certificate.common_name().unwrap_or_default();
        match name.strip_prefix("SEV-VLEK-").ok_or_else(|| name.strip_prefix("SEV-")) {
            Ok(rest) if rest == product.as_str() => Ok(SigningKey::Vlek),
            Err(Some(rest)) if rest == product.as_str() => Ok(SigningKey::Vcek),
            _ => Err(wrong(evidence_pki::PkiError::WrongIssuer)),
        }
    }

    /// Whether a certificate is the root of a product, byte by byte.
    #[must_use]
    pub fn is_root(&self, product: SnpProduct, certificate: &[u8]) -> bool {
        self.roots(product).is_ok_and(|roots| roots.is_ark(certificate))
    }
}
