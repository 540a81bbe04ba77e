// SPDX-License-Identifier: Apache-2.0

//! An attester: it plays the secure processor, and signs whatever it is asked to.
//!
//! There are two kinds. The host's own makes reports itself, for Keeps whose platform says nothing: they have
//! version 2 of SEV-SNP's format, the one that does not name a processor, and for the same reason all TCBs
//! and the firmware's version are zero. A stand-in's signs what the stand-in's firmware composed, whatever
//! its version; only what belongs to the key is the attester's own. Their certificates tell them apart.

use core::time::Duration;

use attested_request::Binding;
use attested_request::attester::{self, Place};
use aws_lc_rs::digest;
use evidence_claims::{kind, statement};
use evidence_pki::{ObjectIdentifier, Time, encode, tag};

use crate::binding::{published_report_data, report_data};
use crate::certificate::{CertificateParts, certificate, random_serial};
use crate::{Curve, DevelopmentError, Key, ROOT_NAME};

/// `productName` in the certificates of attesters, which no product of AMD has.
pub const PRODUCT_NAME: &str = "Development";

/// `productName` in the certificates of stand-ins of SEV-SNP.
pub const SNP_STAND_IN_NAME: &str = "Development-SNP";

/// `TCB_VERSION` of stand-ins, in the layout of Milan (AMD 56860, 2.2): boot loader 4, TEE 0, SNP 24,
/// microcode 219. The levels are made up; they are those that a machine of that line may have.
pub const STAND_IN_TCB: [u8; 8] = [4, 0, 0, 0, 0, 0, 24, 219];

/// Who has the key of an attester.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttesterKind {
    /// The host agent.
    Host,
    /// What plays the firmware of a processor.
    SnpStandIn,
}

/// Development evidence, as a statement in a certificate request.
pub const STATEMENT: ObjectIdentifier = statement::DEVELOPMENT;

/// The bound evidence statement.
pub const BOUND_STATEMENT: ObjectIdentifier = statement::BOUND;

/// Extensions of a VEK's certificate (AMD 57230, 3.1).
mod kds {
    use evidence_pki::ObjectIdentifier as Oid;

    pub(super) const STRUCT_VERSION: Oid = Oid::new_unwrap("1.3.6.1.4.1.3704.1.1");
    pub(super) const PRODUCT_NAME: Oid = Oid::new_unwrap("1.3.6.1.4.1.3704.1.2");
    /// `blSPL`, `teeSPL`, `spl4` to `spl7`, `snpSPL`, `ucodeSPL`: in the order of a `TCB_VERSION` of Milan,
    /// which is also the one in which AMD writes them.
    pub(super) const LEVELS: [Oid; 8] = [
        Oid::new_unwrap("1.3.6.1.4.1.3704.1.3.1"),
        Oid::new_unwrap("1.3.6.1.4.1.3704.1.3.2"),
        Oid::new_unwrap("1.3.6.1.4.1.3704.1.3.4"),
        Oid::new_unwrap("1.3.6.1.4.1.3704.1.3.5"),
        Oid::new_unwrap("1.3.6.1.4.1.3704.1.3.6"),
        Oid::new_unwrap("1.3.6.1.4.1.3704.1.3.7"),
        Oid::new_unwrap("1.3.6.1.4.1.3704.1.3.3"),
        Oid::new_unwrap("1.3.6.1.4.1.3704.1.3.8"),
    ];
    pub(super) const HARDWARE_ID: Oid = Oid::new_unwrap("1.3.6.1.4.1.3704.1.4");
}

/// Offsets in a report, in bytes (AMD 56860, `ATTESTATION_REPORT`).
mod offset {
    pub(super) const VERSION: usize = 0x000;
    pub(super) const POLICY: usize = 0x008;
    pub(super) const VMPL: usize = 0x030;
    pub(super) const SIGNATURE_ALGO: usize = 0x034;
    pub(super) const KEY_INFO: usize = 0x048;
    pub(super) const REPORT_DATA: usize = 0x050;
    pub(super) const MEASUREMENT: usize = 0x090;
    pub(super) const HOST_DATA: usize = 0x0c0;
    pub(super) const ID_KEY_DIGEST: usize = 0x0e0;
    pub(super) const REPORT_ID_MA: usize = 0x160;
    pub(super) const REPORTED_TCB: usize = 0x180;
    pub(super) const CHIP_ID: usize = 0x1a0;
    pub(super) const SIGNATURE: usize = 0x2a0;
    pub(super) const SIGNATURE_S: usize = 0x2e8;
}

/// Length of a report, in bytes.
pub const REPORT_SIZE: usize = 1184;

/// What a report says of the guest. The default is a guest with a measurement of zeros, at VMPL 0, that may
/// not be debugged or migrated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// `MEASUREMENT`: the digest of what was launched.
    pub measurement: [u8; 48],
    /// `HOST_DATA`: what the host says.
    pub host_data: [u8; 32],
    /// `ID_KEY_DIGEST`: who signed what was launched; zeros if nobody did.
    pub id_key_digest: [u8; 48],
    /// `POLICY`; bit 17 is always set, bit 19 allows debugging.
    pub policy: u64,
    /// `VMPL`: 0 to 3.
    pub vmpl: u32,
}

impl Default for Guest {
    fn default() -> Self {
        Self {
            measurement: [0; 48],
            host_data: [0; 32],
            id_key_digest: [0; 48],
            // SMT is allowed, and the bit that is always set.
            policy: 1 << 16 | 1 << 17,
            vmpl: 0,
        }
    }
}

/// Makes reports under a development root.
#[derive(Debug)]
pub struct Attester {
    key: Key,
    certificate: Vec<u8>,
    chip_id: [u8; 64],
    tcb: [u8; 8],
}

impl Attester {
    /// For how long a root certifies an attester: a year.
    pub const LIFETIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

    pub(crate) fn issue(
        root: &Key,
        validity: (Time, Time),
        kind: AttesterKind,
    ) -> Result<Self, DevelopmentError> {
        let (product, tcb, subject) = match kind {
            AttesterKind::Host => (PRODUCT_NAME, [0; 8], "Enarx development VEK"),
            AttesterKind::SnpStandIn => {
                (SNP_STAND_IN_NAME, STAND_IN_TCB, "Enarx development VCEK of a stand-in")
            }
        };
        let key = Key::generate(Curve::P384)?;
        let mut chip_id = [0; 64];
        // Some identity that is no secret and that no other attester has.
        put(&mut chip_id, 0, digest::digest(&digest::SHA512, &key.spki()).as_ref());
        let zero = encode::integer(&[0]);
        let product = encode::element(tag::IA5_STRING, &[product.as_bytes()]);
        let mut extensions = vec![
            encode::extension(kds::STRUCT_VERSION, false, &zero),
            encode::extension(kds::PRODUCT_NAME, false, &product),
        ];
        extensions.extend(
            kds::LEVELS
                .iter()
                .zip(tcb)
                .map(|(level, svn)| encode::extension(*level, false, &encode::integer(&[svn]))),
        );
        extensions.push(encode::extension(kds::HARDWARE_ID, false, &chip_id));
        let certificate = certificate(&CertificateParts {
            serial: &random_serial()?,
            issuer: ROOT_NAME,
            subject,
            validity,
            spki: &key.spki(),
            extensions: &extensions,
            issuer_key: root,
        })?;
        Ok(Self { key, certificate, chip_id, tcb })
    }

    /// DER of the attester's certificate.
    #[must_use]
    pub fn vek_der(&self) -> &[u8] {
        &self.certificate
    }

    /// A signed report of version 2, [`REPORT_SIZE`] bytes.
    ///
    /// # Errors
    ///
    /// [`DevelopmentError::Library`].
    pub fn report(
        &self,
        guest: &Guest,
        report_data: &[u8; 64],
    ) -> Result<Vec<u8>, DevelopmentError> {
        let mut report = vec![0; REPORT_SIZE];
        put(&mut report, offset::VERSION, &2u32.to_le_bytes());
        put(&mut report, offset::POLICY, &guest.policy.to_le_bytes());
        put(&mut report, offset::VMPL, &guest.vmpl.to_le_bytes());
        put(&mut report, offset::SIGNATURE_ALGO, &1u32.to_le_bytes());
        put(&mut report, offset::REPORT_DATA, report_data);
        put(&mut report, offset::MEASUREMENT, &guest.measurement);
        put(&mut report, offset::HOST_DATA, &guest.host_data);
        put(&mut report, offset::ID_KEY_DIGEST, &guest.id_key_digest);
        // There is no migration agent.
        put(&mut report, offset::REPORT_ID_MA, &[0xff; 32]);
        self.finish(&mut report)?;
        Ok(report)
    }

    /// Signs a report that somebody else composed, of any version.
    ///
    /// Written are `SIGNATURE_ALGO`, `KEY_INFO.SIGNING_KEY` (a VCEK), `REPORTED_TCB`, `CHIP_ID`, which is zero
    /// if `KEY_INFO.MASK_CHIP_KEY` is set, and the signature; nothing else is changed or looked at.
    ///
    /// # Errors
    ///
    /// [`DevelopmentError::Library`]; the report is not signed then.
    pub fn sign_report(&self, report: &mut [u8; REPORT_SIZE]) -> Result<(), DevelopmentError> {
        put(report, offset::SIGNATURE_ALGO, &1u32.to_le_bytes());
        // SIGNING_KEY is bits 2 to 4.
        if let Some(info) = report.get_mut(offset::KEY_INFO) {
            *info &= !0x1c;
        }
        self.finish(report)
    }

    /// Writes what belongs to the key, and signs.
    fn finish(&self, report: &mut [u8]) -> Result<(), DevelopmentError> {
        let is_masked = report.get(offset::KEY_INFO).is_some_and(|info| info & 2 != 0);
        put(report, offset::REPORTED_TCB, &self.tcb);
        put(report, offset::CHIP_ID, if is_masked { &[0; 64] } else { &self.chip_id });
        let signed = report.get(..offset::SIGNATURE).unwrap_or_default();
        let (mut r, mut s) = self.key.sign_numbers::<48>(signed)?;
        // Big numbers are little-endian here (AMD 56860, 10, signature format).
        r.reverse();
        s.reverse();
        report.iter_mut().skip(offset::SIGNATURE).for_each(|byte| *byte = 0);
        put(report, offset::SIGNATURE, &r);
        put(report, offset::SIGNATURE_S, &s);
        Ok(())
    }

    /// Who has this key: the chip's identity, which is no secret.
    #[must_use]
    pub fn chip_id(&self) -> &[u8; 64] {
        &self.chip_id
    }

    /// The published statement, [`STATEMENT`]: the attester's certificate, no revocation lists, the report.
    #[must_use]
    pub fn statement(&self, report: &[u8]) -> Vec<u8> {
        self.published(report).value
    }

    /// The bound statement, [`BOUND_STATEMENT`], with a report whose report data are
    /// [`report_data`].
    #[must_use]
    pub fn bound_statement(&self, report: &[u8], binding: &Binding<'_>) -> Vec<u8> {
        self.bound(report, binding).value
    }

    fn published(&self, report: &[u8]) -> attester::Statement {
        attester::report_statement(STATEMENT, &self.certificate, &[], report)
    }

    fn bound(&self, report: &[u8], binding: &Binding<'_>) -> attester::Statement {
        let endorsements = [(kind::VEK, self.certificate.as_slice())];
        attester::bound_statement(STATEMENT, report, &endorsements, binding)
    }

    /// A certificate request (PKCS#10, DER) for `key` with a report that binds the key and `binding`: the
    /// bound statement, in the attribute `id-aa-attestation`.
    ///
    /// # Errors
    ///
    /// [`DevelopmentError::Library`].
    pub fn request(
        &self,
        key: &Key,
        guest: &Guest,
        binding: &Binding<'_>,
    ) -> Result<Vec<u8>, DevelopmentError> {
        let report = self.report(guest, &report_data(binding, &key.spki()))?;
        Ok(attester::request(key, &self.bound(&report, binding), Place::Attribute)?)
    }

    /// As [`Attester::request`], with a report that somebody else composed, see [`Attester::sign_report`]. Its
    /// report data are written as well.
    ///
    /// # Errors
    ///
    /// [`DevelopmentError::Library`].
    pub fn composed_request(
        &self,
        key: &Key,
        mut report: [u8; REPORT_SIZE],
        binding: &Binding<'_>,
    ) -> Result<Vec<u8>, DevelopmentError> {
        put(&mut report, offset::REPORT_DATA, &report_data(binding, &key.spki()));
        self.sign_report(&mut report)?;
        Ok(attester::request(key, &self.bound(&report, binding), Place::Attribute)?)
    }

    /// A certificate request (PKCS#10, DER) for `key` with a report that binds the key alone: the published
    /// statement, in an extension of `extensionRequest`.
    ///
    /// # Errors
    ///
    /// [`DevelopmentError::KeyType`] if the key is not on P-384, [`DevelopmentError::Library`].
    pub fn published_request(&self, key: &Key, guest: &Guest) -> Result<Vec<u8>, DevelopmentError> {
        if key.curve() != Curve::P384 {
            return Err(DevelopmentError::KeyType);
        }
        let report = self.report(guest, &published_report_data(&key.spki()))?;
        Ok(attester::request(key, &self.published(&report), Place::Extension)?)
    }
}

/// Writes bytes at a place, as far as there is room.
pub(crate) fn put(to: &mut [u8], at: usize, bytes: &[u8]) {
    to.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
}
