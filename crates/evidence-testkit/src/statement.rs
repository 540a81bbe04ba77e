// SPDX-License-Identifier: Apache-2.0

//! Evidence statements, as they are carried in certificate requests, and the report data that bind a key.

use crate::der_writer::Der;
use crate::keys::{sha256, sha384, sha512};

/// OIDs of the statements, as numbers with dots.
pub mod oid {
    /// Development evidence.
    pub const DEVELOPMENT: &str = "1.3.6.1.4.1.58270.1.1";
    /// SGX, as published.
    pub const SGX: &str = "1.3.6.1.4.1.58270.1.2";
    /// SEV-SNP, as published.
    pub const SNP: &str = "1.3.6.1.4.1.58270.1.3";
    /// TDX, in the form of SGX.
    pub const TDX: &str = "1.3.6.1.4.1.58270.1.4";
    /// The statement of version 2.
    pub const BOUND: &str = "1.3.6.1.4.1.58270.1.16";
}

fn write_crls(der: &mut Der, crls: &[(&str, &[u8])]) {
    der.sequence(|der| {
        der.sequence(|der| {
            for (url, crl) in crls {
                der.sequence(|der| {
                    der.utf8(url).raw(crl);
                });
            }
        });
    });
}

/// The published statement of SEV-SNP, and that of development evidence. Each revocation list with the
/// address that it is from.
#[must_use]
pub fn snp(vek: &[u8], crls: &[(&str, &[u8])], report: &[u8]) -> Vec<u8> {
    Der::build(|der| {
        der.sequence(|der| {
            der.sequence(|der| {
                der.raw(vek);
                write_crls(der, crls);
            });
            der.octets(report);
        });
    })
}

/// The published statement of SGX, and that of TDX. The chain has its leaf first.
#[must_use]
pub fn dcap(
    quote: &[u8],
    crls: &[(&str, &[u8])],
    tcb_signing_chain: &[&[u8]],
    tcb_info: &[u8],
) -> Vec<u8> {
    Der::build(|der| {
        der.sequence(|der| {
            der.octets(quote);
            write_crls(der, crls);
            der.sequence(|der| {
                der.sequence(|der| {
                    for certificate in tcb_signing_chain {
                        der.raw(certificate);
                    }
                });
                der.octets(tcb_info);
            });
        });
    })
}

/// What a statement of version 2 says that its evidence binds besides the key.
#[derive(Debug, Clone, Copy, Default)]
pub struct Binding<'a> {
    /// Name of the workload.
    pub slug: Option<&'a str>,
    /// Digest of the workload, such as `sha256:…`.
    pub workload: Option<&'a str>,
    /// The Steward's nonce.
    pub nonce: Option<&'a [u8]>,
}

impl Binding<'_> {
    /// Report data in the second form, for that DER `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn report_data(&self, spki: &[u8]) -> [u8; 64] {
        let mut message = b"enarx-binding-v2\0".to_vec();
        let parts = [
            spki,
            self.slug.unwrap_or_default().as_bytes(),
            self.workload.unwrap_or_default().as_bytes(),
            self.nonce.unwrap_or_default(),
        ];
        for part in parts {
            message.extend_from_slice(&(part.len() as u32).to_be_bytes());
            message.extend_from_slice(part);
        }
        sha512(&message)
    }
}

/// Report data in the first form, of SEV-SNP and development evidence.
#[must_use]
pub fn snp_report_data(spki: &[u8]) -> [u8; 64] {
    let mut data = [0; 64];
    data[..48].copy_from_slice(&sha384(spki));
    data
}

/// Report data in the first form, of SGX and TDX.
#[must_use]
pub fn dcap_report_data(spki: &[u8]) -> [u8; 64] {
    let mut data = [0; 64];
    data[..32].copy_from_slice(&sha256(spki));
    data
}

/// The statement of version 2: the platform's OID, the evidence, endorsements by their kind, and what is
/// bound.
#[must_use]
pub fn bound(
    platform: &str,
    evidence: &[u8],
    endorsements: &[(&str, &[u8])],
    binding: Binding<'_>,
) -> Vec<u8> {
    Der::build(|der| {
        der.sequence(|der| {
            der.number(1).oid(platform).octets(evidence).sequence(|der| {
                for (kind, value) in endorsements {
                    der.sequence(|der| {
                        der.utf8(kind).octets(value);
                    });
                }
            });
            der.sequence(|der| {
                if let Some(slug) = binding.slug {
                    der.implicit(0, slug.as_bytes());
                }
                if let Some(workload) = binding.workload {
                    der.implicit(1, workload.as_bytes());
                }
                if let Some(nonce) = binding.nonce {
                    der.implicit(2, nonce);
                }
            });
        });
    })
}
