// SPDX-License-Identifier: Apache-2.0

//! The verification itself, for both kinds of environment.
//!
//! The order is: what the quote says of itself, the platform's certificate, the collateral, then that each
//! belongs to the other, the three signatures of the quote, and last the TCB. Claims come about only when
//! all of it holds.

use std::borrow::Cow;
use std::sync::Arc;

use evidence_claims::{Claims, TcbStatus};
use evidence_crypto::{Crypto, Scheme};
use evidence_pki::{Certificate, hex};

use crate::claims::{Tcb, claims};
use crate::collateral::{Collateral, Task, Verified};
use crate::document::SvnLevel;
use crate::memory::Memory;
use crate::quote::{Body, Certification, KEY_TYPE_ECDSA_P256, Quote};
use crate::refusal::Part;
use crate::report::{EnclaveReport, TdReport};
use crate::root_signatures::{RootSignatures, WithMemory};
use crate::trace::{Trace, Verdict};
use crate::vendor::Vendor;
use crate::{DcapRefusal, INTEL_ROOT, PckExtensions, Tee, Time, chain, level, vendor, what};

/// A verifier of one kind of quotes.
#[derive(Debug)]
pub(crate) struct Verifier {
    crypto: Arc<dyn Crypto>,
    tee: Tee,
    vendor: &'static Vendor,
    root: Cow<'static, [u8]>,
    memory: Option<Memory>,
    root_signatures: RootSignatures,
}

impl Verifier {
    pub(crate) fn new(crypto: Arc<dyn Crypto>, tee: Tee) -> Self {
        Self {
            crypto,
            tee,
            vendor: &vendor::INTEL,
            root: Cow::Borrowed(INTEL_ROOT),
            memory: Some(Memory::default()),
            root_signatures: RootSignatures::default(),
        }
    }

    pub(crate) fn with_root(
        crypto: Arc<dyn Crypto>,
        tee: Tee,
        root: &[u8],
    ) -> Result<Self, DcapRefusal> {
        Self::with_vendor(crypto, tee, root, &vendor::INTEL)
    }

    pub(crate) fn with_vendor(
        crypto: Arc<dyn Crypto>,
        tee: Tee,
        root: &[u8],
        vendor: &'static Vendor,
    ) -> Result<Self, DcapRefusal> {
        chain::check_role(&chain::parse(root, Part::Root)?, Part::Root, vendor)?;
        Ok(Self { root: Cow::Owned(root.to_vec()), vendor, ..Self::new(crypto, tee) })
    }

    pub(crate) fn forgetful(self) -> Self {
        Self { memory: None, ..self }
    }

    pub(crate) fn verify(
        &self,
        quote: &[u8],
        collateral: &Collateral<'_>,
        now: Time,
    ) -> Result<Claims, DcapRefusal> {
        self.run(quote, collateral, now, self.memory.as_ref(), &mut Verdict)
    }

    /// All checks, as `trace` wants them. With a memory, checks of collateral may be left out.
    pub(crate) fn run(
        &self,
        quote: &[u8],
        collateral: &Collateral<'_>,
        now: Time,
        memory: Option<&Memory>,
        trace: &mut impl Trace,
    ) -> Result<Claims, DcapRefusal> {
        let root = chain::parse(&self.root, Part::Root)?;
        let crypto = &WithMemory {
            crypto: self.crypto.as_ref(),
            root: chain::p256(&root, Part::Root)?,
            memory: &self.root_signatures,
        };
        let quote = trace.value(what::QUOTE, || Quote::parse(quote))?;
        trace.saw(|| format!("version {}", quote.version));
        trace.check(what::KIND, || self.check_kind(&quote))?;
        trace.check(what::VENDOR, || {
            if quote.vendor == self.vendor.id { Ok(()) } else { Err(DcapRefusal::QeVendor) }
        })?;

        let chain = match (quote.certification, collateral.pck_chain) {
            (Certification::Chain(pem), _) => chain::read(pem, Part::Pck, 2, &root),
            (Certification::Encrypted { .. }, Some(bytes)) => {
                chain::read(bytes, Part::Pck, 2, &root)
            }
            (Certification::Encrypted { .. }, None) => Err(DcapRefusal::PckChainMissing),
        };
        let (leaf, authority) = trace.value(what::PCK_CHAIN, || {
            let chain = chain.as_ref().map_err(Clone::clone)?;
            let [leaf, authority] = chain.as_slice() else {
                return Err(DcapRefusal::ChainLength(Part::Pck, chain.len()));
            };
            Ok((chain::parse(leaf, Part::Pck)?, chain::parse(authority, Part::PckAuthority)?))
        })?;
        let pck = trace.value(what::PCK_EXTENSION, || {
            let pck = PckExtensions::read(&leaf)?;
            match quote.certification {
                Certification::Encrypted { pce_id } if pce_id != pck.pce_id => {
                    Err(DcapRefusal::PceId)
                }
                _ => Ok(pck),
            }
        })?;
        trace.saw(|| format!("FMSPC {}", hex(&pck.fmspc)));

        let task = Task {
            crypto,
            tee: self.tee,
            vendor: self.vendor,
            root: &root,
            authority: &authority,
            collateral,
            now,
        };
        let verified = Self::collateral(&task, memory, trace);
        let verified = trace.bear(verified)?;

        trace.check(what::PCK, || {
            chain::check_role(&leaf, Part::Pck, self.vendor)?;
            chain::check_time(&leaf, Part::Pck, now)?;
            chain::check_issued(crypto, &leaf, Part::Pck, &authority)
        })?;
        trace.saw(|| format!("valid until {}", leaf.not_after));
        self.check_signatures(&quote, &leaf, trace)?;
        trace.check(what::RESERVED, || check_reserved(&quote))?;
        trace.check(what::QE_DEBUG, || match quote.qe_report.is_debug() {
            true => Err(DcapRefusal::QeDebug),
            false => Ok(()),
        })?;
        if let Body::Tdx(report) = &quote.body {
            trace.check(what::TD_ATTRIBUTES, || {
                let unknown = report.td_attributes() & !TdReport::KNOWN_ATTRIBUTES;
                if unknown == 0 { Ok(()) } else { Err(DcapRefusal::TdAttributes(unknown)) }
            })?;
        }

        // Without collateral an account ends here; a verdict never comes this far.
        let verified = verified.ok_or(DcapRefusal::TcbInfoMissing)?;
        trace.check(what::PCK_NOT_REVOKED, || match verified.revokes(leaf.serial) {
            true => Err(DcapRefusal::CertificateRevoked(Part::Pck)),
            false => Ok(()),
        })?;
        trace.check(what::PLATFORM, || {
            if verified.tcb_info.fmspc != pck.fmspc {
                return Err(DcapRefusal::Fmspc);
            }
            if verified.tcb_info.pce_id != pck.pce_id {
                return Err(DcapRefusal::PceId);
            }
            Ok(())
        })?;
        let tcb = self.tcb(&quote, &pck, &verified, trace)?;
        Ok(claims(self.vendor, &quote, &leaf, pck, &verified, tcb, now))
    }

    fn check_kind(&self, quote: &Quote<'_>) -> Result<(), DcapRefusal> {
        let (found, expected) = (quote.tee.number(), self.tee.number());
        if found != expected {
            return Err(DcapRefusal::TeeType { found, expected });
        }
        if quote.key_type != KEY_TYPE_ECDSA_P256 {
            return Err(DcapRefusal::KeyType(quote.key_type));
        }
        Ok(())
    }

    /// Verified collateral, out of the memory if it is there.
    fn collateral(
        task: &Task<'_, '_>,
        memory: Option<&Memory>,
        trace: &mut impl Trace,
    ) -> Result<Arc<Verified>, DcapRefusal> {
        let Some(memory) = memory else { return task.verify(trace).map(Arc::new) };
        let digest = task.collateral.digest(task.crypto, task.tee, task.authority.raw);
        if let Some(verified) = memory.get(&digest, task.now) {
            return Ok(verified);
        }
        let verified = Arc::new(task.verify(trace)?);
        memory.put(digest, Arc::clone(&verified));
        Ok(verified)
    }

    /// The three links from the PCK certificate to what is quoted.
    fn check_signatures(
        &self,
        quote: &Quote<'_>,
        leaf: &Certificate<'_>,
        trace: &mut impl Trace,
    ) -> Result<(), DcapRefusal> {
        let crypto = self.crypto.as_ref();
        let report = &quote.qe_report;
        trace.check(what::QE_REPORT_SIGNATURE, || {
            let key = chain::p256(leaf, Part::Pck)?;
            crypto
                .verify(Scheme::P256Fixed, key, report.raw, quote.qe_report_signature)
                .map_err(|_| DcapRefusal::QeReportSignature)
        })?;
        trace.check(what::QE_REPORT_DATA, || {
            let digest = crypto.sha256(&[quote.attestation_key, quote.qe_auth_data]);
            match report.report_data().split_first_chunk() {
                Some((named, rest)) if *named == digest && rest.iter().all(|byte| *byte == 0) => {
                    Ok(())
                }
                _ => Err(DcapRefusal::QeReportData),
            }
        })?;
        trace.check(what::QUOTE_SIGNATURE, || {
            let mut key = [4; 65];
            if let Some((_, point)) = key.split_first_mut() {
                point.copy_from_slice(quote.attestation_key);
            }
            crypto
                .verify(Scheme::P256Fixed, &key, quote.signed, quote.signature)
                .map_err(|_| DcapRefusal::QuoteSignature)
        })
    }

    /// The quoting enclave: the published one, and its level.
    fn quoting_enclave<'v>(
        &self,
        report: &EnclaveReport<'_>,
        verified: &'v Verified,
        trace: &mut impl Trace,
    ) -> Result<Option<&'v SvnLevel>, DcapRefusal> {
        let Some(identity) = &verified.qe_identity else {
            let [sgx, tdx] = self.vendor.qe_signers;
            let (signer, product) = match self.tee {
                Tee::Sgx => (sgx, 1),
                Tee::Tdx => (tdx, 2),
            };
            trace.check(what::QE, || {
                if *report.signer() != signer {
                    return Err(DcapRefusal::QeSigner);
                }
                if report.product() != product {
                    return Err(DcapRefusal::QeProduct(report.product()));
                }
                Ok(())
            })?;
            trace.saw(|| "by its signer and product alone, for want of a QE identity".to_owned());
            trace.skip(what::QE_LEVEL, "there is no QE identity");
            return Ok(None);
        };
        trace.check(what::QE, || {
            let mask = u32::from_le_bytes(identity.misc_select_mask);
            if report.misc_select() & mask != u32::from_le_bytes(identity.misc_select) {
                return Err(DcapRefusal::QeMiscSelect);
            }
            let mask = u128::from_le_bytes(identity.attributes_mask);
            let attributes = u128::from_le_bytes(*report.attributes());
            if attributes & mask != u128::from_le_bytes(identity.attributes) {
                return Err(DcapRefusal::QeAttributes);
            }
            if *report.signer() != identity.signer {
                return Err(DcapRefusal::QeSigner);
            }
            if report.product() != identity.product {
                return Err(DcapRefusal::QeProduct(report.product()));
            }
            Ok(())
        })?;
        let level = trace.value(what::QE_LEVEL, || {
            level::of_svn(&identity.tcb_levels, report.svn())
                .ok_or(DcapRefusal::QeLevel(report.svn()))
        })?;
        trace.saw(|| level.status.to_string());
        Ok(Some(level))
    }

    /// The TDX module: one of Intel's, and its level if its generation has levels.
    fn module<'v>(
        report: &TdReport<'_>,
        verified: &'v Verified,
        trace: &mut impl Trace,
    ) -> Result<Option<&'v SvnLevel>, DcapRefusal> {
        let info = &verified.tcb_info;
        let generation = level::generation(report.tcb_svn());
        let levels = trace.value(what::MODULE, || {
            let (signer, attributes, mask, levels) = if generation == 0 {
                let module = info.tdx_module.as_ref().ok_or(DcapRefusal::ModuleIdentity(0))?;
                (&module.signer, module.attributes, module.attributes_mask, None)
            } else {
                let module = level::module_identity(info, generation)?;
                (
                    &module.signer,
                    module.attributes,
                    module.attributes_mask,
                    Some(module.tcb_levels.as_slice()),
                )
            };
            if report.mr_signer_seam() != signer {
                return Err(DcapRefusal::ModuleSigner);
            }
            // What the mask leaves out must be zero: so far there is no attribute to let pass.
            let mask = u64::from_le_bytes(mask);
            let found = u64::from_le_bytes(*report.seam_attributes());
            if found != u64::from_le_bytes(attributes) & mask {
                return Err(DcapRefusal::ModuleAttributes);
            }
            Ok(levels)
        })?;
        let Some(levels) = levels else {
            trace.skip(what::MODULE_LEVEL, "the platform's level covers a module of generation 0");
            return Ok(None);
        };
        let svn = level::module_svn(report.tcb_svn());
        let level = trace.value(what::MODULE_LEVEL, || {
            level::of_svn(levels, svn.into()).ok_or(DcapRefusal::ModuleLevel(svn))
        })?;
        trace.saw(|| level.status.to_string());
        Ok(Some(level))
    }

    fn tcb(
        &self,
        quote: &Quote<'_>,
        pck: &PckExtensions,
        verified: &Verified,
        trace: &mut impl Trace,
    ) -> Result<Tcb, DcapRefusal> {
        let info = &verified.tcb_info;
        let qe = self.quoting_enclave(&quote.qe_report, verified, trace)?;
        let td = match &quote.body {
            Body::Sgx(_) => None,
            Body::Tdx(report) => Some(report),
        };
        let module = match td {
            Some(report) => Self::module(report, verified, trace)?,
            None => None,
        };
        let level = trace
            .value(what::LEVEL, || level::of_platform(info, pck, td.map(TdReport::tcb_svn)))?;
        trace.saw(|| format!("{}, of {}", level.status, level.tcb_date));

        let (qe_status, module_status) =
            (qe.map(|level| level.status), module.map(|level| level.status));
        let mut status = level.status;
        if let Some(module) = module_status {
            status = level::converge(status, module);
        }
        match td.and_then(TdReport::tcb_svn_2) {
            Some(now) => {
                status = trace.value(what::MODULE_NOW, || {
                    level::relaunch(info, pck, now, status, module_status, qe_status)
                })?;
            }
            None => trace.skip(what::MODULE_NOW, "the quote does not say which one it is"),
        }
        if let Some(qe) = qe_status {
            status = level::converge(status, qe);
        }
        trace.check(what::NOT_REVOKED, || match status {
            TcbStatus::Revoked => Err(DcapRefusal::TcbRevoked(status)),
            _ => Ok(()),
        })?;
        trace.saw(|| status.to_string());

        let mut advisories = level.advisories.clone();
        for part in [qe, module].into_iter().flatten() {
            advisories.extend_from_slice(&part.advisories);
        }
        advisories.sort();
        advisories.dedup();
        Ok(Tcb {
            status,
            platform_status: level.status,
            tcb_date: level.tcb_date,
            qe_status,
            module_status,
            advisories,
        })
    }
}

/// Reserved fields of header, quoted report and quoting enclave's report.
fn check_reserved(quote: &Quote<'_>) -> Result<(), DcapRefusal> {
    if quote.version > 3 && quote.header_svns != [0; 4] {
        return Err(DcapRefusal::Reserved("bytes 8 to 11 of the header"));
    }
    if let Body::Sgx(report) = &quote.body
        && !report.reserved_is_zero()
    {
        return Err(DcapRefusal::Reserved("in the enclave's report"));
    }
    if !quote.qe_report.reserved_is_zero() {
        return Err(DcapRefusal::Reserved("in the quoting enclave's report"));
    }
    Ok(())
}
