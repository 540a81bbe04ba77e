// SPDX-License-Identifier: Apache-2.0

//! A synthetic AMD: roots, intermediates, revocation lists, VEKs and reports of SEV-SNP, in the form that
//! AMD's Key Distribution Service gives them out (AMD 57230) and the firmware signs them (AMD 56860).

mod report;
mod vek;

use std::sync::LazyLock;

use evidence_pki::Time;

pub use report::{ReportBuilder, Tcb, offset};
pub use vek::{VekBuilder, VekKind, kds};

use crate::certificate::{CertificateBuilder, CrlBuilder, name, usage};
use crate::keys::Key;
use crate::{DAY, NOW};

/// A family of processors with roots of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Product {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004 and 8004.
    Genoa,
    /// EPYC 9005.
    Turin,
}

impl Product {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// The name as AMD writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }

    /// Family, model and stepping, as reports from version 3 on hold them.
    #[must_use]
    pub fn cpuid(self) -> [u8; 3] {
        match self {
            Self::Milan => [0x19, 0x01, 0x01],
            Self::Genoa => [0x19, 0x11, 0x02],
            Self::Turin => [0x1a, 0x02, 0x01],
        }
    }

    /// Length of the chip id in certificates, in bytes.
    #[must_use]
    pub fn chip_id_length(self) -> usize {
        if self == Self::Turin { 8 } else { 64 }
    }

    fn serial(self, below: [u8; 2]) -> [u8; 3] {
        [self as u8 + 1, below[0], below[1]]
    }
}

/// DER `Name` with that common name, otherwise as in AMD's certificates.
#[must_use]
pub fn amd_name(common_name: &str) -> Vec<u8> {
    name(&[
        ("2.5.4.11", "Engineering", false),
        ("2.5.4.6", "US", true),
        ("2.5.4.7", "Santa Clara", false),
        ("2.5.4.8", "CA", false),
        ("2.5.4.10", "Advanced Micro Devices", false),
        ("2.5.4.3", common_name, false),
    ])
}

/// The vendor. One root key, one ASK key and one ASVK key serve all products, because such keys take long
/// to make; names and serial numbers differ between products as they do in truth.
#[derive(Debug)]
pub struct Amd {
    ark: Key,
    ask: Key,
    asvk: Key,
    vek: Key,
    /// ARK, ASK, ASVK and revocation list by product, signed once: they are pinned byte by byte, and each
    /// signature is another one.
    issued: Vec<[Vec<u8>; 4]>,
}

/// A report and all that belongs to it, valid at [`NOW`].
#[derive(Debug, Clone)]
pub struct SnpSample {
    /// The product that signed it.
    pub product: Product,
    /// The report, 1,184 bytes.
    pub report: Vec<u8>,
    /// DER of the VCEK or VLEK.
    pub vek: Vec<u8>,
    /// DER of its issuer: ASK, or ASVK for a VLEK.
    pub issuer: Vec<u8>,
    /// DER of the root.
    pub ark: Vec<u8>,
    /// DER of the root's revocation list, empty.
    pub crl: Vec<u8>,
}

impl Amd {
    /// The vendor of this process.
    #[must_use]
    pub fn get() -> &'static Self {
        static AMD: LazyLock<Amd> = LazyLock::new(Amd::new);
        &AMD
    }

    /// An impostor: the same names, other keys.
    #[must_use]
    pub fn impostor() -> &'static Self {
        static IMPOSTOR: LazyLock<Amd> = LazyLock::new(Amd::new);
        &IMPOSTOR
    }

    fn new() -> Self {
        let mut amd = Self {
            ark: Key::rsa(),
            ask: Key::rsa(),
            asvk: Key::rsa(),
            vek: Key::p384(),
            issued: Vec::new(),
        };
        let issue = |product| {
            [
                amd.ark(product).sign(&amd.ark),
                amd.ask(product).sign(&amd.ark),
                amd.asvk(product).sign(&amd.ark),
                amd.crl_builder(product).sign(&amd.ark),
            ]
        };
        amd.issued = Product::ALL.map(issue).into();
        amd
    }

    /// The key of the roots.
    #[must_use]
    pub fn ark_key(&self) -> &Key {
        &self.ark
    }

    /// The key of the issuers of VCEKs.
    #[must_use]
    pub fn ask_key(&self) -> &Key {
        &self.ask
    }

    /// The key of the issuers of VLEKs.
    #[must_use]
    pub fn asvk_key(&self) -> &Key {
        &self.asvk
    }

    /// The key that VEKs have by default and with which reports are to be signed.
    #[must_use]
    pub fn vek_key(&self) -> &Key {
        &self.vek
    }

    /// The root of a product, self-signed, to be changed. Sign it with [`Amd::ark_key`].
    #[must_use]
    pub fn ark(&self, product: Product) -> CertificateBuilder {
        let name = amd_name(&format!("ARK-{}", product.name()));
        CertificateBuilder::new(&name, &name, self.ark.spki())
            .serial(&product.serial([0, 0]))
            .validity(NOW.minus(6 * 365 * DAY), NOW.plus(19 * 365 * DAY))
            .key_usage(usage::CERTIFICATES_AND_CRLS)
            .subject_key_id(&self.ark.identifier())
            .basic_constraints(true, None)
            .crl_at(&crl_url("vcek", product))
            .explicit_trailer(true)
    }

    /// The issuer of VCEKs of a product, to be changed. Sign it with [`Amd::ark_key`].
    #[must_use]
    pub fn ask(&self, product: Product) -> CertificateBuilder {
        self.intermediate(product, "SEV-", &self.ask).serial(&product.serial([0, 1]))
    }

    /// The issuer of VLEKs of a product, to be changed. Sign it with [`Amd::ark_key`].
    #[must_use]
    pub fn asvk(&self, product: Product) -> CertificateBuilder {
        self.intermediate(product, "SEV-VLEK-", &self.asvk)
            .serial(&product.serial([1, 1]))
            .crl_at(&crl_url("vlek", product))
    }

    fn intermediate(&self, product: Product, prefix: &str, key: &Key) -> CertificateBuilder {
        let issuer = amd_name(&format!("ARK-{}", product.name()));
        let subject = amd_name(&format!("{prefix}{}", product.name()));
        CertificateBuilder::new(&issuer, &subject, key.spki())
            .validity(NOW.minus(6 * 365 * DAY), NOW.plus(19 * 365 * DAY))
            .subject_key_id(&key.identifier())
            .authority_key_id(&self.ark.identifier())
            .basic_constraints(true, Some(0))
            .key_usage(usage::CERTIFICATES)
            .crl_at(&crl_url("vcek", product))
            .explicit_trailer(true)
    }

    /// DER of the root of a product.
    #[must_use]
    pub fn ark_der(&self, product: Product) -> Vec<u8> {
        self.issued[product as usize][0].clone()
    }

    /// DER of the issuer of VCEKs of a product.
    #[must_use]
    pub fn ask_der(&self, product: Product) -> Vec<u8> {
        self.issued[product as usize][1].clone()
    }

    /// DER of the issuer of VLEKs of a product.
    #[must_use]
    pub fn asvk_der(&self, product: Product) -> Vec<u8> {
        self.issued[product as usize][2].clone()
    }

    /// Serial number of [`Amd::ask_der`], to revoke it.
    #[must_use]
    pub fn ask_serial(&self, product: Product) -> [u8; 3] {
        product.serial([0, 1])
    }

    /// Serial number of [`Amd::asvk_der`], to revoke it.
    #[must_use]
    pub fn asvk_serial(&self, product: Product) -> [u8; 3] {
        product.serial([1, 1])
    }

    /// The root's revocation list, to be changed. Sign it with [`Amd::ark_key`].
    #[must_use]
    pub fn crl_builder(&self, product: Product) -> CrlBuilder {
        let issuer = amd_name(&format!("ARK-{}", product.name()));
        CrlBuilder::new(&issuer, NOW.minus(10 * DAY), NOW.plus(35 * DAY))
            .authority_key_id(&self.ark.identifier())
            .number(10)
    }

    /// DER of the root's revocation list.
    #[must_use]
    pub fn crl(
        &self,
        product: Product,
        this_update: Time,
        next_update: Time,
        revoked: &[&[u8]],
    ) -> Vec<u8> {
        let issuer = amd_name(&format!("ARK-{}", product.name()));
        let mut crl = CrlBuilder::new(&issuer, this_update, next_update)
            .authority_key_id(&self.ark.identifier())
            .number(10);
        for serial in revoked {
            crl = crl.revoke(serial);
        }
        crl.sign(&self.ark)
    }

    /// DER of the root's revocation list: empty, and current at [`NOW`].
    #[must_use]
    pub fn crl_der(&self, product: Product) -> Vec<u8> {
        self.issued[product as usize][3].clone()
    }

    /// A VCEK of a product, to be changed. Sign it with [`Amd::ask_key`].
    #[must_use]
    pub fn vcek(&self, product: Product) -> VekBuilder {
        VekBuilder::new(product, VekKind::Vcek, &self.vek, Tcb::of(product))
    }

    /// A VLEK of a product, to be changed. Sign it with [`Amd::asvk_key`].
    #[must_use]
    pub fn vlek(&self, product: Product) -> VekBuilder {
        VekBuilder::new(product, VekKind::Vlek, &self.vek, Tcb::of(product))
    }

    /// A report of that version (2 to 5), to be changed. Sign it with [`Amd::vek_key`].
    #[must_use]
    pub fn report(&self, product: Product, version: u32) -> ReportBuilder {
        ReportBuilder::new(product, version)
    }

    /// A report of that version (2 to 5) under a VCEK, and all that belongs to it.
    #[must_use]
    pub fn sample(&self, product: Product, version: u32) -> SnpSample {
        SnpSample {
            product,
            report: self.report(product, version).sign(&self.vek),
            vek: self.vcek(product).sign(&self.ask),
            issuer: self.ask_der(product),
            ark: self.ark_der(product),
            crl: self.crl_der(product),
        }
    }

    /// A report of that version (2 to 5) under a VLEK, and all that belongs to it.
    #[must_use]
    pub fn sample_vlek(&self, product: Product, version: u32) -> SnpSample {
        SnpSample {
            product,
            report: self.report(product, version).vlek().sign(&self.vek),
            vek: self.vlek(product).sign(&self.asvk),
            issuer: self.asvk_der(product),
            ark: self.ark_der(product),
            crl: self.crl_der(product),
        }
    }
}

fn crl_url(kind: &str, product: Product) -> String {
    format!("https://kdsintf.amd.com/{kind}/v1/{}/crl", product.name())
}
