// SPDX-License-Identifier: Apache-2.0

//! A platform with SGX that does not exist: what quotes a stand-in's enclaves, and what a verifier wants to
//! know of it.
//!
//! The shapes are Intel's: a root, an authority for PCK certificates and one for signing, a PCK certificate
//! with the platform's extension, a quoting enclave's report signed by the PCK, an attestation key that the
//! report names, revocation lists, TCB info and QE identity as the Provisioning Certification Service
//! serves them. So the very verifier that looks at quotes of hardware looks at these. What is not Intel's:
//! the topmost certificate is issued by a development root, all names say `Enarx development`, and so
//! do the quoting enclave's signer and vendor. Intel's are all on P-256, and development roots are on P-384;
//! that is why a root of its own, on P-256, is between them.

mod collateral;
mod pck;
mod quote;

use attested_request::Binding;
use attested_request::attester::{self, Place};
use evidence_claims::{kind, statement};
use evidence_pki::{Time, to_pem};

use crate::attester::put;
use crate::certificate::{
    CertificateParts, authority, authority_key_id, certificate, empty_list, key_usage,
    no_authority, random, random_serial, subject_key_id, usage,
};
use crate::{Curve, DevelopmentError, Key, ROOT_NAME, report_data};

/// Common name of the certificate that a development root issues for a platform, and that is the root of all
/// else.
pub const SGX_ROOT_NAME: &str = "Enarx development SGX Root CA";
const PCK_AUTHORITY_NAME: &str = "Enarx development PCK Platform CA";
const PCK_NAME: &str = "Enarx development PCK Certificate";
const SIGNER_NAME: &str = "Enarx development TCB Signing";

/// A platform of its own: nobody else has its keys, which die with it.
#[derive(Debug)]
pub struct SgxPlatform {
    pck: Key,
    attestation: Key,
    /// Which platform it is, in the header of quotes.
    id: [u8; 16],
    /// PEM of the PCK certificate, its authority and the root.
    chain: String,
    endorsements: Vec<(&'static str, Vec<u8>)>,
}

impl SgxPlatform {
    /// `CPUSVN` of the processor: what its reports have.
    pub const CPU_SVN: [u8; 16] = [11, 11, 16, 15, 255, 255, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    pub(crate) fn issue(
        development_root: &Key,
        validity: (Time, Time),
    ) -> Result<Self, DevelopmentError> {
        let key = || Key::generate(Curve::P256);
        let (root, pck_authority, signer, pck) = (key()?, key()?, key()?, key()?);
        let issue =
            |(issuer, issuer_key): (&str, &Key), (subject, key): (&str, &Key), more: &[_]| {
                let mut extensions = vec![
                    authority_key_id(issuer_key),
                    pck::crl_distribution_point(issuer),
                    subject_key_id(key),
                ];
                extensions.extend_from_slice(more);
                certificate(&CertificateParts {
                    serial: &random_serial()?,
                    issuer,
                    subject,
                    validity,
                    spki: &key.spki(),
                    extensions: &extensions,
                    issuer_key,
                })
            };
        let as_root = (SGX_ROOT_NAME, &root);
        let as_authority = (PCK_AUTHORITY_NAME, &pck_authority);
        let signs_all = || key_usage(usage::CERTIFICATES_AND_LISTS);
        let root_der =
            issue((ROOT_NAME, development_root), as_root, &[signs_all(), authority(Some(1))])?;
        let authority_der = issue(as_root, as_authority, &[signs_all(), authority(Some(0))])?;
        let signer_der =
            issue(as_root, (SIGNER_NAME, &signer), &[key_usage(usage::SIGN), no_authority()])?;
        let id = random()?;
        let pck_der = issue(
            as_authority,
            (PCK_NAME, &pck),
            &[key_usage(usage::SIGN), no_authority(), pck::extension(&id)],
        )?;

        let pem = |chain: &[&Vec<u8>]| -> String {
            chain.iter().map(|der| to_pem("CERTIFICATE", der)).collect()
        };
        let endorsements = vec![
            (kind::CRL, empty_list(SGX_ROOT_NAME, &root, validity)?),
            (kind::CRL, empty_list(PCK_AUTHORITY_NAME, &pck_authority, validity)?),
            (kind::TCB_INFO, collateral::tcb_info(&signer, validity)?),
            (kind::TCB_INFO_CHAIN, pem(&[&signer_der, &root_der]).into_bytes()),
            (kind::QE_IDENTITY, collateral::qe_identity(&signer, validity)?),
        ];
        let chain = pem(&[&pck_der, &authority_der, &root_der]);
        Ok(Self { pck, attestation: key()?, id, chain, endorsements })
    }

    /// `TARGETINFO` of the quoting enclave (Intel SDM volume 3D, `TARGETINFO`): for whom an enclave makes the
    /// report that is to be quoted.
    #[must_use]
    pub fn target_info() -> [u8; 512] {
        quote::target_info()
    }

    /// A quote of version 3 (Intel SGX ECDSA Quote Library API, A.4) for the first 384 bytes of an enclave's
    /// report, those before its key's identifier and its MAC. Whether the report is one of this processor, who
    /// asks has to know.
    ///
    /// # Errors
    ///
    /// [`DevelopmentError::Library`].
    pub fn quote(&self, report: &[u8; 384]) -> Result<Vec<u8>, DevelopmentError> {
        quote::quote(self, report)
    }

    /// A certificate request (PKCS#10, DER) for `key` with a quote of `report` that binds the key and `binding`:
    /// the bound statement, in the attribute `id-aa-attestation`. The report's data are written.
    ///
    /// # Errors
    ///
    /// [`DevelopmentError::Library`].
    pub fn request(
        &self,
        key: &Key,
        mut report: [u8; 384],
        binding: &Binding<'_>,
    ) -> Result<Vec<u8>, DevelopmentError> {
        put(&mut report, quote::REPORT_DATA, &report_data(binding, &key.spki()));
        let quote = self.quote(&report)?;
        let endorsements: Vec<(&str, &[u8])> =
            self.endorsements.iter().map(|(kind, value)| (*kind, value.as_slice())).collect();
        let kind = statement::DEVELOPMENT_SGX;
        let statement = attester::bound_statement(kind, &quote, &endorsements, binding);
        Ok(attester::request(key, &statement, Place::Attribute)?)
    }

    /// What is said of this platform, by kinds of endorsements (`docs/binding.md`): revocation lists, TCB info
    /// with who signed it, QE identity. The PCK certificate's chain is in the quote.
    #[must_use]
    pub fn endorsements(&self) -> &[(&'static str, Vec<u8>)] {
        &self.endorsements
    }
}
