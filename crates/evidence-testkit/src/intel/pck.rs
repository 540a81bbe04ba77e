// SPDX-License-Identifier: Apache-2.0

//! PCK certificates, with Intel's extension about the platform ("Intel SGX PCK Certificate and Certificate
//! Revocation List Profile Specification", 1.3.5).

use evidence_pki::Time;

use super::intel_name;
use crate::certificate::{CertificateBuilder, usage};
use crate::der_writer::Der;
use crate::keys::Key;
use crate::{DAY, NOW};

/// OIDs of the extension and of what is in it, as numbers with dots.
pub mod pck_oid {
    /// The extension.
    pub const SGX: &str = "1.2.840.113741.1.13.1";
    /// `PPID`.
    pub const PPID: &str = "1.2.840.113741.1.13.1.1";
    /// `TCB`.
    pub const TCB: &str = "1.2.840.113741.1.13.1.2";
    /// `PCESVN` in `TCB`; components are below it, from 1 to 16.
    pub const PCESVN: &str = "1.2.840.113741.1.13.1.2.17";
    /// `CPUSVN` in `TCB`.
    pub const CPUSVN: &str = "1.2.840.113741.1.13.1.2.18";
    /// `PCE-ID`.
    pub const PCE_ID: &str = "1.2.840.113741.1.13.1.3";
    /// `FMSPC`.
    pub const FMSPC: &str = "1.2.840.113741.1.13.1.4";
    /// `SGXType`.
    pub const SGX_TYPE: &str = "1.2.840.113741.1.13.1.5";
    /// `PlatformInstanceID`.
    pub const PLATFORM_INSTANCE: &str = "1.2.840.113741.1.13.1.6";
    /// `Configuration`.
    pub const CONFIGURATION: &str = "1.2.840.113741.1.13.1.7";
}

/// Who issues PCK certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Authority {
    /// For platforms that may have several packages.
    Platform,
    /// For single processors.
    Processor,
}

impl Authority {
    /// Its common name.
    #[must_use]
    pub fn common_name(self) -> &'static str {
        match self {
            Self::Platform => "Intel SGX PCK Platform CA",
            Self::Processor => "Intel SGX PCK Processor CA",
        }
    }
}

/// A PCK certificate in the making. Setters replace; nothing is checked.
#[derive(Debug, Clone)]
pub struct PckBuilder {
    certificate: CertificateBuilder,
    components: Vec<u64>,
    pce_svn: u64,
    cpu_svn: Option<Vec<u8>>,
    parts: Vec<(String, Vec<u8>)>,
    extension: Option<Vec<u8>>,
}

impl PckBuilder {
    /// Kind of processor of the default platform.
    pub const FMSPC: [u8; 6] = [0x00, 0x70, 0x6e, 0x47, 0x00, 0x00];

    /// SVNs of the 16 components of the default platform.
    pub const COMPONENTS: [u8; 16] = [5, 5, 2, 2, 3, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0];

    /// SVN of the PCE of the default platform.
    pub const PCE_SVN: u16 = 13;

    /// Serial number of the default platform's certificate.
    pub const SERIAL: [u8; 20] = [0x28; 20];

    /// The default platform's certificate, of seven years.
    #[must_use]
    pub fn new(authority: Authority, key: &Key, issuer_key_id: &[u8]) -> Self {
        let (issuer, kind) = match authority {
            Authority::Platform => (authority.common_name(), "platform"),
            Authority::Processor => (authority.common_name(), "processor"),
        };
        let url = format!(
            "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca={kind}&encoding=der"
        );
        let begin = NOW.minus(200 * DAY);
        let certificate = CertificateBuilder::new(
            &intel_name(issuer),
            &intel_name("Intel SGX PCK Certificate"),
            key.spki(),
        )
        .serial(&Self::SERIAL)
        .validity(begin, begin.plus(7 * 365 * DAY))
        .authority_key_id(issuer_key_id)
        .crl_at(&url)
        .subject_key_id(&key.identifier())
        .key_usage(usage::SIGN)
        .basic_constraints(false, None);
        let pck = Self {
            certificate,
            components: Self::COMPONENTS.iter().map(|svn| u64::from(*svn)).collect(),
            pce_svn: Self::PCE_SVN.into(),
            cpu_svn: None,
            parts: Vec::new(),
            extension: None,
        };
        let pck = pck
            .part(pck_oid::PPID, octets(&[0x27; 16]))
            .part(pck_oid::TCB, Vec::new())
            .part(pck_oid::PCE_ID, octets(&[0; 2]))
            .part(pck_oid::FMSPC, octets(&Self::FMSPC));
        match authority {
            Authority::Processor => pck.sgx_type(0),
            Authority::Platform => pck
                .sgx_type(1)
                .part(pck_oid::PLATFORM_INSTANCE, octets(&[0x6d; 16]))
                .configuration(&[(1, true), (2, true), (3, true)]),
        }
    }

    /// SVNs of the components; there should be 16, each below 256.
    #[must_use]
    pub fn components(mut self, svns: &[u64]) -> Self {
        self.components = svns.into();
        self
    }

    /// `PCESVN`.
    #[must_use]
    pub fn pce_svn(mut self, svn: u64) -> Self {
        self.pce_svn = svn;
        self
    }

    /// `CPUSVN`, which otherwise are the components' SVNs.
    #[must_use]
    pub fn cpu_svn(mut self, svn: &[u8]) -> Self {
        self.cpu_svn = Some(svn.into());
        self
    }

    /// `FMSPC`.
    #[must_use]
    pub fn fmspc(self, fmspc: &[u8]) -> Self {
        self.part(pck_oid::FMSPC, octets(fmspc))
    }

    /// `PCE-ID`.
    #[must_use]
    pub fn pce_id(self, id: &[u8]) -> Self {
        self.part(pck_oid::PCE_ID, octets(id))
    }

    /// `PPID`.
    #[must_use]
    pub fn ppid(self, id: &[u8]) -> Self {
        self.part(pck_oid::PPID, octets(id))
    }

    /// `SGXType`: 0 standard, 1 scalable, 2 scalable with integrity.
    #[must_use]
    pub fn sgx_type(self, kind: u8) -> Self {
        let value = Der::build(|der| {
            der.enumerated(kind);
        });
        self.part(pck_oid::SGX_TYPE, value)
    }

    /// `Configuration`: 1 dynamic platform, 2 cached keys, 3 SMT enabled.
    #[must_use]
    pub fn configuration(self, flags: &[(u8, bool)]) -> Self {
        let value = Der::build(|der| {
            der.sequence(|der| {
                for (number, value) in flags {
                    der.sequence(|der| {
                        der.oid(&format!("{}.{number}", pck_oid::CONFIGURATION)).boolean(*value);
                    });
                }
            });
        });
        self.part(pck_oid::CONFIGURATION, value)
    }

    /// A part of the extension with that DER value; of [`pck_oid::TCB`] an empty one stands for what the
    /// other setters say.
    #[must_use]
    pub fn part(mut self, oid: &str, value: Vec<u8>) -> Self {
        match self.parts.iter_mut().find(|part| part.0 == oid) {
            Some(part) => part.1 = value,
            None => self.parts.push((oid.into(), value)),
        }
        self
    }

    /// No such part in the extension.
    #[must_use]
    pub fn without_part(mut self, oid: &str) -> Self {
        self.parts.retain(|part| part.0 != oid);
        self
    }

    /// The extension's value, whatever the other setters say.
    #[must_use]
    pub fn extension(mut self, value: Vec<u8>) -> Self {
        self.extension = Some(value);
        self
    }

    /// No extension about the platform.
    #[must_use]
    pub fn without_extension(mut self) -> Self {
        self.extension = Some(Vec::new());
        self
    }

    /// Validity, both ends included.
    #[must_use]
    pub fn validity(self, not_before: Time, not_after: Time) -> Self {
        self.change(|certificate| certificate.validity(not_before, not_after))
    }

    /// The serial number, big-endian.
    #[must_use]
    pub fn serial(self, serial: &[u8]) -> Self {
        self.change(|certificate| certificate.serial(serial))
    }

    /// The common name of its issuer.
    #[must_use]
    pub fn issuer(self, common_name: &str) -> Self {
        self.change(|certificate| certificate.issuer(&intel_name(common_name)))
    }

    /// Its key; the report of the quoting enclave has to be signed with the same.
    #[must_use]
    pub fn key(self, key: &Key) -> Self {
        self.change(|certificate| certificate.spki(key.spki()))
    }

    /// Changes what every certificate has.
    #[must_use]
    pub fn change(mut self, change: impl FnOnce(CertificateBuilder) -> CertificateBuilder) -> Self {
        self.certificate = change(self.certificate);
        self
    }

    /// DER of the certificate, signed by that key.
    #[must_use]
    pub fn sign(&self, issuer: &Key) -> Vec<u8> {
        let value = self.extension.clone().unwrap_or_else(|| self.sgx_extension());
        if value.is_empty() {
            return self.certificate.sign(issuer);
        }
        self.certificate.clone().extension(pck_oid::SGX, false, value).sign(issuer)
    }

    /// The value of the extension as the setters say.
    #[must_use]
    pub fn sgx_extension(&self) -> Vec<u8> {
        Der::build(|der| {
            der.sequence(|der| {
                for (oid, value) in &self.parts {
                    der.sequence(|der| {
                        der.oid(oid);
                        if oid == pck_oid::TCB && value.is_empty() {
                            self.write_tcb(der);
                        } else {
                            der.raw(value);
                        }
                    });
                }
            });
        })
    }

    fn write_tcb(&self, der: &mut Der) {
        der.sequence(|der| {
            for (number, svn) in (1..).zip(&self.components) {
                der.sequence(|der| {
                    der.oid(&format!("{}.{number}", pck_oid::TCB)).number(*svn);
                });
            }
            der.sequence(|der| {
                der.oid(pck_oid::PCESVN).number(self.pce_svn);
            });
            der.sequence(|der| {
                let svns = || self.components.iter().map(|svn| *svn as u8).collect();
                der.oid(pck_oid::CPUSVN).octets(&self.cpu_svn.clone().unwrap_or_else(svns));
            });
        });
    }
}

fn octets(bytes: &[u8]) -> Vec<u8> {
    Der::build(|der| {
        der.octets(bytes);
    })
}
