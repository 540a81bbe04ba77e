// SPDX-License-Identifier: Apache-2.0

//! Which key a platform signs its reports with: product, chip and TCB.

use evidence_claims::{SigningKey, SnpProduct, TcbVersion};
use evidence_snp::{Report, TcbLayout, VekFacts, offset, product_of_cpuid};

/// Why it is not clear which key it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The processor is none of those whose roots are built in.
    #[error("a processor of family {0:#x}, model {1:#x} is not one of Milan, Genoa and Turin")]
    Product(u8, u8),
    /// A report of version 2 does not say which processor made it.
    #[error("the report does not say on which product it was made; name it")]
    ProductUnknown,
    /// Not a report.
    #[error("this is no attestation report: it has {0} bytes instead of 1184")]
    NoReport(usize),
    /// A report that no key signs.
    #[error("the report is signed by neither a VCEK nor a VLEK (signing key {0})")]
    NoKey(u8),
    /// The firmware hides the chip.
    #[error("the platform hides the chip's id, and without it there is no VCEK to ask for")]
    ChipMasked,
    /// A chip id of a length or form that the product does not have.
    #[error("a chip id of {0} has {1} bytes")]
    ChipId(&'static str, usize),
    /// Bytes of a TCB that the product does not use are not zero.
    #[error("this is no TCB of {0}")]
    Tcb(&'static str),
    /// The certificate is of another key.
    #[error("the certificate is another's: {0}")]
    Other(&'static str),
}

/// Which key it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The family of processors.
    pub product: SnpProduct,
    /// The chip's own key, or a cloud provider's.
    pub key: SigningKey,
    /// The chip, 64 bytes, on Turin 8; empty for a VLEK.
    pub chip_id: Vec<u8>,
    /// The TCB that the key is derived for: the reported one.
    pub tcb: TcbVersion,
}

impl Identity {
    /// From the `CHIP_ID` that firmware and reports have (64 bytes, where a shorter one is followed by
    /// zeros), and `REPORTED_TCB`.
    ///
    /// # Errors
    ///
    /// [`IdentityError`].
    pub fn new(
        product: SnpProduct,
        key: SigningKey,
        chip_id: &[u8],
        reported_tcb: [u8; 8],
    ) -> Result<Self, IdentityError> {
        let tcb = TcbLayout::of(product)
            .decode(reported_tcb)
            .ok_or(IdentityError::Tcb(product.as_str()))?;
        let chip_id = match key {
            SigningKey::Vlek => &[],
            SigningKey::Vcek => chip(product, chip_id)?,
        };
        Ok(Self { product, key, chip_id: chip_id.to_vec(), tcb })
    }

    /// From a report, which is not verified: whoever forges one gets somebody else's certificate, and those
    /// are public. `product` is for reports that do not say it, and counts for nothing otherwise.
    ///
    /// # Errors
    ///
    /// [`IdentityError`].
    pub fn of_report(report: &[u8], product: Option<SnpProduct>) -> Result<Self, IdentityError> {
        let length = report.len();
        let report = Report::new(report).ok_or(IdentityError::NoReport(length))?;
        let product = match report.cpuid() {
            Some((family, model, _)) => {
                product_of_cpuid(family, model).ok_or(IdentityError::Product(family, model))?
            }
            None => product.ok_or(IdentityError::ProductUnknown)?,
        };
        let key = match report.signing_key() {
            0 => SigningKey::Vcek,
            1 => SigningKey::Vlek,
            other => return Err(IdentityError::NoKey(u8::try_from(other).unwrap_or(u8::MAX))),
        };
        Self::new(product, key, &report.chip_id(), report.tcb(offset::REPORTED_TCB))
    }

    /// Whether a certificate is of this key.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Other`].
    pub fn check(&self, vek: &VekFacts) -> Result<(), IdentityError> {
        let other = |what| Err(IdentityError::Other(what));
        if vek.product != self.product {
            return other("it is for another product");
        }
        if vek.kind != self.key {
            return other("it is a VCEK where a VLEK is needed, or the other way round");
        }
        if vek.extensions.hw_id.as_deref().unwrap_or_default() != self.chip_id {
            return other("it is for another chip");
        }
        if vek.extensions.tcb != self.tcb {
            return other("it is for another TCB");
        }
        Ok(())
    }

    /// The parts of the TCB with the names of the KDS, in its order.
    #[must_use]
    pub fn levels(&self) -> Vec<(&'static str, u8)> {
        let TcbVersion { fmc, bootloader, tee, snp, microcode } = self.tcb;
        let fmc = fmc.map(|fmc| ("fmcSPL", fmc));
        let rest =
            [("blSPL", bootloader), ("teeSPL", tee), ("snpSPL", snp), ("ucodeSPL", microcode)];
        fmc.into_iter().chain(rest).collect()
    }
}

/// The chip's id as its product has it.
fn chip(product: SnpProduct, id: &[u8]) -> Result<&[u8], IdentityError> {
    let wanted = match TcbLayout::of(product) {
        TcbLayout::Turin => 8,
        TcbLayout::Milan => 64,
    };
    let wrong = IdentityError::ChipId(product.as_str(), id.len());
    let (chip, rest) = id.split_at_checked(wanted).ok_or(wrong.clone())?;
    if rest.iter().any(|byte| *byte != 0) || !matches!(id.len(), 8 | 64) {
        return Err(wrong);
    }
    if chip.iter().all(|byte| *byte == 0) {
        return Err(IdentityError::ChipMasked);
    }
    Ok(chip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn padded(id: &[u8]) -> [u8; 64] {
        let mut out = [0; 64];
        out[..id.len()].copy_from_slice(id);
        out
    }

    #[test]
    fn chips_are_named_as_their_products_name_them() {
        let tcb = [4, 0, 0, 0, 0, 0, 24, 219];
        let milan = |id: &[u8]| Identity::new(SnpProduct::Milan, SigningKey::Vcek, id, tcb);
        assert_eq!(milan(&[7; 64]).unwrap().chip_id, [7; 64]);
        assert_eq!(milan(&[7; 8]), Err(IdentityError::ChipId("Milan", 8)));
        assert_eq!(milan(&[0; 64]), Err(IdentityError::ChipMasked));
        let tcb = [1, 1, 1, 4, 0, 0, 0, 81];
        let turin = |id: &[u8]| Identity::new(SnpProduct::Turin, SigningKey::Vcek, id, tcb);
        assert_eq!(turin(&padded(&[7; 8])).unwrap().chip_id, [7; 8]);
        assert_eq!(turin(&[7; 8]).unwrap().chip_id, [7; 8]);
        assert_eq!(turin(&[7; 64]), Err(IdentityError::ChipId("Turin", 64)));
        assert_eq!(turin(&[7; 9]), Err(IdentityError::ChipId("Turin", 9)));
        // A VLEK is of no chip.
        let tcb = [4, 0, 0, 0, 0, 0, 24, 217];
        let vlek = Identity::new(SnpProduct::Genoa, SigningKey::Vlek, &[0; 64], tcb).unwrap();
        assert!(vlek.chip_id.is_empty());
    }

    #[test]
    fn the_levels_of_turin_are_its_own() {
        let raw = [1, 2, 3, 4, 0, 0, 0, 81];
        let turin = Identity::new(SnpProduct::Turin, SigningKey::Vcek, &[7; 8], raw).unwrap();
        let expected =
            [("fmcSPL", 1), ("blSPL", 2), ("teeSPL", 3), ("snpSPL", 4), ("ucodeSPL", 81)];
        assert_eq!(turin.levels(), expected);
        let milan = Identity::new(SnpProduct::Milan, SigningKey::Vcek, &[7; 64], raw);
        assert_eq!(milan, Err(IdentityError::Tcb("Milan")));
    }
}
