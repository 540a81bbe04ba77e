// SPDX-License-Identifier: Apache-2.0

//! VCEKs and VLEKs: certificates without the usual extensions, but with AMD's own (AMD 57230, 3.1).

use evidence_pki::Time;

use super::report::{Tcb, chip_id};
use super::{Product, amd_name};
use crate::certificate::CertificateBuilder;
use crate::der_writer::Der;
use crate::keys::Key;
use crate::{DAY, NOW};

/// OIDs of the extensions, as numbers with dots.
pub mod kds {
    /// `structVersion`.
    pub const STRUCT_VERSION: &str = "1.3.6.1.4.1.3704.1.1";
    /// `productName1`.
    pub const PRODUCT_NAME: &str = "1.3.6.1.4.1.3704.1.2";
    /// `blSPL`.
    pub const BOOTLOADER: &str = "1.3.6.1.4.1.3704.1.3.1";
    /// `teeSPL`.
    pub const TEE: &str = "1.3.6.1.4.1.3704.1.3.2";
    /// `snpSPL`.
    pub const SNP: &str = "1.3.6.1.4.1.3704.1.3.3";
    /// `spl4`.
    pub const SPL4: &str = "1.3.6.1.4.1.3704.1.3.4";
    /// `spl5`.
    pub const SPL5: &str = "1.3.6.1.4.1.3704.1.3.5";
    /// `spl6`.
    pub const SPL6: &str = "1.3.6.1.4.1.3704.1.3.6";
    /// `spl7`.
    pub const SPL7: &str = "1.3.6.1.4.1.3704.1.3.7";
    /// `ucodeSPL`.
    pub const MICROCODE: &str = "1.3.6.1.4.1.3704.1.3.8";
    /// `fmcSPL`.
    pub const FMC: &str = "1.3.6.1.4.1.3704.1.3.9";
    /// `hwID`.
    pub const HARDWARE_ID: &str = "1.3.6.1.4.1.3704.1.4";
    /// `cspID`.
    pub const CSP_ID: &str = "1.3.6.1.4.1.3704.1.5";
}

/// Who a VEK belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VekKind {
    /// A chip.
    Vcek,
    /// A cloud provider.
    Vlek,
}

/// A VCEK or VLEK in the making. Setters replace; nothing is checked.
#[derive(Debug, Clone)]
pub struct VekBuilder {
    certificate: CertificateBuilder,
}

impl VekBuilder {
    /// A VEK of AMD's shape: serial number 0, seven years (a VLEK one year), the given TCB, and the chip id
    /// that reports have by default.
    #[must_use]
    pub fn new(product: Product, kind: VekKind, key: &Key, tcb: Tcb) -> Self {
        let (issuer, subject) = match kind {
            VekKind::Vcek => (format!("SEV-{}", product.name()), "SEV-VCEK"),
            VekKind::Vlek => (format!("SEV-VLEK-{}", product.name()), "SEV-VLEK"),
        };
        let product_name = match (kind, product) {
            (VekKind::Vcek, Product::Milan) => "Milan-B0",
            (VekKind::Vcek, Product::Genoa) => "Genoa-B1",
            _ => product.name(),
        };
        let years = if kind == VekKind::Vcek { 7 } else { 1 };
        let begin = NOW.minus(100 * DAY);
        let certificate =
            CertificateBuilder::new(&amd_name(&issuer), &amd_name(subject), key.spki())
                .serial(&[0])
                .validity(begin, begin.plus(years * 365 * DAY));
        let vek = Self { certificate }
            .struct_version(u64::from(product == Product::Turin))
            .product_name(product_name)
            .tcb(product, tcb);
        match kind {
            VekKind::Vcek => vek.hardware_id(&chip_id(product)[..product.chip_id_length()]),
            VekKind::Vlek => vek.csp_id("CN=cc-eu-test-1.example"),
        }
    }

    /// `structVersion`.
    #[must_use]
    pub fn struct_version(self, version: u64) -> Self {
        self.number(kds::STRUCT_VERSION, version)
    }

    /// `productName1`.
    #[must_use]
    pub fn product_name(self, name: &str) -> Self {
        let value = Der::build(|der| {
            der.ia5(name);
        });
        self.extension(kds::PRODUCT_NAME, value)
    }

    /// All security patch levels that a product has.
    #[must_use]
    pub fn tcb(self, product: Product, tcb: Tcb) -> Self {
        let vek = match product {
            Product::Turin => self.number(kds::FMC, tcb.fmc.into()),
            _ => self.number(kds::SPL4, 0),
        };
        vek.number(kds::BOOTLOADER, tcb.bootloader.into())
            .number(kds::TEE, tcb.tee.into())
            .number(kds::SNP, tcb.snp.into())
            .number(kds::SPL5, 0)
            .number(kds::SPL6, 0)
            .number(kds::SPL7, 0)
            .number(kds::MICROCODE, tcb.microcode.into())
    }

    /// `hwID`: the bytes themselves, as AMD writes them.
    #[must_use]
    pub fn hardware_id(self, id: &[u8]) -> Self {
        self.extension(kds::HARDWARE_ID, id.into())
    }

    /// `cspID`.
    #[must_use]
    pub fn csp_id(self, id: &str) -> Self {
        let value = Der::build(|der| {
            der.ia5(id);
        });
        self.extension(kds::CSP_ID, value)
    }

    /// An extension that is an `INTEGER`, such as a security patch level.
    #[must_use]
    pub fn number(self, oid: &str, number: u64) -> Self {
        let value = Der::build(|der| {
            der.number(number);
        });
        self.extension(oid, value)
    }

    /// An extension with that value, whatever it is.
    #[must_use]
    pub fn extension(self, oid: &str, value: Vec<u8>) -> Self {
        self.change(|certificate| certificate.extension(oid, false, value))
    }

    /// No extension of that kind.
    #[must_use]
    pub fn without(self, oid: &str) -> Self {
        self.change(|certificate| certificate.without(oid))
    }

    /// Validity, both ends included.
    #[must_use]
    pub fn validity(self, not_before: Time, not_after: Time) -> Self {
        self.change(|certificate| certificate.validity(not_before, not_after))
    }

    /// The common name of its issuer.
    #[must_use]
    pub fn issuer(self, common_name: &str) -> Self {
        self.change(|certificate| certificate.issuer(&amd_name(common_name)))
    }

    /// Its own common name.
    #[must_use]
    pub fn subject(self, common_name: &str) -> Self {
        self.change(|certificate| certificate.subject(&amd_name(common_name)))
    }

    /// Its key; a report has to be signed with the same.
    #[must_use]
    pub fn key(self, key: &Key) -> Self {
        self.change(|certificate| certificate.spki(key.spki()))
    }

    /// Whether the parameters of the signature name their default trailer field, as AMD's older VCEKs do.
    #[must_use]
    pub fn explicit_trailer(self, explicit: bool) -> Self {
        self.change(|certificate| certificate.explicit_trailer(explicit))
    }

    /// Changes what every certificate has.
    #[must_use]
    pub fn change(self, change: impl FnOnce(CertificateBuilder) -> CertificateBuilder) -> Self {
        Self { certificate: change(self.certificate) }
    }

    /// DER of the certificate, signed by that key.
    #[must_use]
    pub fn sign(&self, issuer: &Key) -> Vec<u8> {
        self.certificate.sign(issuer)
    }
}
