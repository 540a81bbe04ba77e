// SPDX-License-Identifier: Apache-2.0

//! Development evidence: what the host agent says of a Keep whose platform cannot speak for itself, and what
//! it adds to what a stand-in says.
//!
//! It has the form of real evidence and is over the measurement of the very image that is launched,
//! so that policies, certificates and release can be tried on any machine. It proves nothing: who
//! has the root's key can sign any measurement. Therefore the root is made by its user, lies in a
//! folder of its own, and counts only where a policy names it.
//!
//! A stand-in plays the processor, and its Keeps make the reports themselves. What a processor does not do,
//! the host adds here as it would on hardware: the certificate of the key that signed a report of SEV-SNP, or
//! a quoting enclave's signature and the collateral of SGX.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use command_line::unhex;
use evidence_claims::kind;
use evidence_development::{Attester, DevelopmentError, Guest, Root, SgxPlatform};
use keep_backend::{Backend, Claim, EvidenceSource, Program, ReportSigner};
use keep_launch::{Evidence, Platform};
use steward_service::clock;

/// Reads the development root in a folder (`root.key`, `root.crt`), or nothing if there is none.
pub(crate) fn development_root(folder: &Path) -> Result<Option<Root>> {
    let (key, certificate) = (folder.join("root.key"), folder.join("root.crt"));
    let metadata = match fs::symlink_metadata(&key) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.with_context(|| format!("cannot look at {}", key.display()))?,
    };
    if metadata.mode() & 0o077 != 0 || metadata.uid() != rustix::process::geteuid().as_raw() {
        bail!(
            "others can read the development root's key {}; remove the folder, and `enarx dev init` \
             makes a new one",
            key.display()
        );
    }
    let read = |path: &Path| {
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let key = zeroize::Zeroizing::new(read(&key)?);
    Root::from_pem(&key, &read(&certificate)?)
        .with_context(|| format!("cannot use the development root in {}", folder.display()))
        .map(Some)
}

/// The source of evidence for a Keep with that program, made by `root`; of a Keep on hardware, which makes
/// evidence itself, what the host adds to it.
///
/// The measurement is reckoned beside the launch, since it takes about as long.
pub(crate) fn source(
    backend: &Arc<dyn Backend>,
    program: Program,
    root: Option<&Arc<Root>>,
) -> Option<Box<dyn EvidenceSource>> {
    if backend.is_confidential() {
        return super::hardware::source(backend.name());
    }
    let Some(root) = root else { return Some(Box::new(Nobody::without_root())) };
    if let Some(source) = stand_in(backend.name(), root) {
        return Some(source.unwrap_or_else(|error| Box::new(Nobody(error.to_string()))));
    }
    let made = Arc::new(Mutex::new(None));
    let (backend, root) = (Arc::clone(backend), Arc::clone(root));
    let prepare = move || {
        let mut place = made.lock().unwrap_or_else(PoisonError::into_inner);
        place
            .get_or_insert_with(|| prepare(&*backend, program, &root).map(Arc::new))
            .as_ref()
            .map(Arc::clone)
            .map_err(|error| format!("{error:#}"))
    };
    let prepare = Arc::new(prepare);
    let early = Arc::clone(&prepare);
    // Without the thread it is made when it is asked for.
    let _ = thread::Builder::new().name("measure".into()).spawn(move || early().is_ok());
    Some(Box::new(Development(Box::new(move || prepare()))))
}

/// The source for a stand-in of that name; none if it is no stand-in.
fn stand_in(name: &str, root: &Root) -> Option<Result<Box<dyn EvidenceSource>, DevelopmentError>> {
    match name {
        "snp-sim" => Some(root.snp_stand_in(clock::now()).and_then(|attester| {
            let (attester, machine) = (Arc::new(attester), root.machine_secret()?);
            let source: Box<dyn EvidenceSource> = Box::new(SnpStandIn { attester, machine });
            Ok(source)
        })),
        "sgx-sim" => Some(root.sgx_stand_in(clock::now()).and_then(|platform| {
            let machine = root.machine_secret()?;
            let source: Box<dyn EvidenceSource> = Box::new(SgxStandIn { platform, machine });
            Ok(source)
        })),
        _ => None,
    }
}

/// Has the key of the secure processor that is played, its certificate, and the secret of its machine.
struct SnpStandIn {
    attester: Arc<Attester>,
    machine: [u8; 32],
}

impl EvidenceSource for SnpStandIn {
    fn evidence(&mut self, claim: &Claim) -> Evidence {
        let Claim::SnpReport(report) = claim else { return other_claim() };
        Evidence::Made {
            platform: Platform::Development,
            evidence: report.to_vec(),
            endorsements: vec![(kind::VEK.to_owned(), self.attester.vek_der().to_vec())],
        }
    }

    fn report_signer(&self) -> Option<ReportSigner> {
        let attester = Arc::clone(&self.attester);
        Some(Arc::new(move |report| {
            // A report without a signature is one that nobody believes.
            if let Err(error) = attester.sign_report(report) {
                tracing::error!(%error, "a report is not signed");
            }
        }))
    }

    fn machine_secret(&self) -> Option<[u8; 32]> {
        Some(self.machine)
    }
}

/// Has what signs quotes, and what is said of the platform. Whether a report is one of that platform, the
/// stand-in has looked at: only it knows the key of the report's MAC.
struct SgxStandIn {
    platform: SgxPlatform,
    machine: [u8; 32],
}

impl EvidenceSource for SgxStandIn {
    fn evidence(&mut self, claim: &Claim) -> Evidence {
        let Claim::SgxReport(report) = claim else { return other_claim() };
        // Behind what is quoted are the identifier of the MAC's key and the MAC.
        let Some(body) = report.first_chunk() else { return other_claim() };
        match self.platform.quote(body) {
            Ok(evidence) => Evidence::Made {
                platform: Platform::DevelopmentSgx,
                evidence,
                endorsements: self
                    .platform
                    .endorsements()
                    .iter()
                    .map(|(kind, value)| ((*kind).to_owned(), value.clone()))
                    .collect(),
            },
            Err(error) => Evidence::Refused { message: error.to_string() },
        }
    }

    fn machine_secret(&self) -> Option<[u8; 32]> {
        Some(self.machine)
    }
}

/// A backend of which the host thinks otherwise than it does itself.
fn other_claim() -> Evidence {
    Evidence::Refused { message: "the Keep makes its claim in the form of another platform".into() }
}

/// Who signs, and what about.
type Prepared = Arc<(Attester, Guest)>;

fn prepare(backend: &dyn Backend, program: Program, root: &Root) -> Result<(Attester, Guest)> {
    let measurement = backend.measure(program)?;
    let digest = unhex(&measurement.digest).unwrap_or_default();
    let measurement = <[u8; 48]>::try_from(digest).map_err(|_| {
        anyhow!("the measurement of the {} backend has not 48 bytes", backend.name())
    })?;
    let attester = root.attester(clock::now()).context("the development root cannot be used")?;
    Ok((attester, Guest { measurement, ..Guest::default() }))
}

struct Development(Box<dyn Fn() -> Result<Prepared, String> + Send>);

impl EvidenceSource for Development {
    fn evidence(&mut self, claim: &Claim) -> Evidence {
        let Claim::ReportData(report_data) = claim else {
            return other_claim();
        };
        let made = (self.0)().and_then(|prepared| {
            let (attester, guest) = &*prepared;
            let report = attester.report(guest, report_data).map_err(|error| error.to_string())?;
            Ok((report, attester.vek_der().to_vec()))
        });
        match made {
            Ok((evidence, vek)) => Evidence::Made {
                platform: Platform::Development,
                evidence,
                endorsements: vec![(kind::VEK.to_owned(), vek)],
            },
            Err(message) => Evidence::Refused { message },
        }
    }
}

/// For who has no root, or one of no use.
struct Nobody(String);

impl Nobody {
    fn without_root() -> Self {
        Self(
            "nothing but a development root vouches for this kind of Keep, and there is none"
                .to_owned(),
        )
    }
}

impl EvidenceSource for Nobody {
    fn evidence(&mut self, _: &Claim) -> Evidence {
        Evidence::Refused { message: self.0.clone() }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use evidence_claims::{Claims, Endorsements, statement};
    use evidence_crypto::{AwsLc, Crypto};

    use super::*;

    fn written(folder: &Path, mode: u32) {
        let root = Root::create(clock::now(), Duration::from_secs(3600)).unwrap();
        fs::write(folder.join("root.key"), root.key_pem().unwrap().as_bytes()).unwrap();
        fs::write(folder.join("root.crt"), root.certificate_pem().unwrap()).unwrap();
        fs::set_permissions(folder.join("root.key"), fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_root_is_read_if_it_is_ours_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert!(development_root(folder.path()).unwrap().is_none());
        written(folder.path(), 0o600);
        assert!(development_root(folder.path()).unwrap().is_some());
        written(folder.path(), 0o640);
        let error = development_root(folder.path()).unwrap_err().to_string();
        assert!(error.contains("others can read"), "{error}");
    }

    #[test]
    fn evidence_states_the_measurement_of_what_is_launched() {
        let root = Root::create(clock::now(), Duration::from_secs(3600)).unwrap();
        let root = Arc::new(root);
        let backend: Arc<dyn Backend> = Arc::from(crate::backends::named("nil", None).unwrap());
        let mut source = source(&backend, Program::Runtime, Some(&root)).unwrap();
        let Evidence::Made { platform, evidence, endorsements } =
            source.evidence(&Claim::ReportData(Box::new([7; 64])))
        else {
            panic!("there is no evidence")
        };
        assert_eq!(platform, Platform::Development);
        // AMD 56860, ATTESTATION_REPORT: report data at 0x50, measurement at 0x90.
        assert_eq!(evidence[0x50..0x90], [7; 64]);
        let measured = backend.measure(Program::Runtime).unwrap();
        assert_eq!(command_line::hex(&evidence[0x90..0xc0]), measured.digest);
        assert_eq!(endorsements[0].0, "vek");
    }

    #[test]
    fn without_a_root_there_is_no_evidence() {
        let backend: Arc<dyn Backend> = Arc::from(crate::backends::named("nil", None).unwrap());
        let mut source = source(&backend, Program::Runtime, None).unwrap();
        assert!(matches!(
            source.evidence(&Claim::ReportData(Box::new([0; 64]))),
            Evidence::Refused { .. }
        ));
    }

    fn verified(root: &Root, evidence: Evidence) -> Claims {
        let Evidence::Made { platform, evidence, endorsements } = evidence else {
            panic!("there is no evidence")
        };
        assert!(platform.is_development());
        let kind = match platform {
            Platform::DevelopmentSgx => statement::DEVELOPMENT_SGX,
            _ => statement::DEVELOPMENT,
        };
        let mut all = Endorsements::new();
        for (kind, value) in endorsements {
            all.push(kind, value).unwrap();
        }
        let crypto: Arc<dyn Crypto> = Arc::new(AwsLc);
        let verifier = steward_service::verifier(&crypto, &[root.certificate_der().to_vec()]);
        verifier.verify(kind, &evidence, &all, clock::now()).unwrap()
    }

    #[test]
    fn a_report_of_a_stand_in_is_handed_on_with_who_signed_it() {
        let root = Root::create(clock::now(), Duration::from_secs(3600)).unwrap();
        let mut source = stand_in("snp-sim", &root).unwrap().unwrap();
        // AMD 56860, ATTESTATION_REPORT: version, the policy's bit 17, report data.
        let mut report = Box::new([0; 1184]);
        report[0] = 3;
        report[0x00a] = 2;
        report[0x050..0x090].fill(7);
        source.report_signer().unwrap()(&mut report);
        let claims = verified(&root, source.evidence(&Claim::SnpReport(report.clone())));
        assert_eq!((&*claims.product, claims.report_data), ("snp-sim", [7; 64]));
        let other = source.evidence(&Claim::SgxReport(Box::new([0; 432])));
        assert!(matches!(other, Evidence::Refused { .. }));

        // Without that key a report says nothing.
        let Evidence::Made { evidence, .. } =
            source.evidence(&Claim::SnpReport(Box::new([0; 1184])))
        else {
            panic!("there is no evidence")
        };
        assert_eq!(evidence, [0; 1184]);
    }

    #[test]
    fn a_report_of_an_enclave_is_quoted() {
        let root = Root::create(clock::now(), Duration::from_secs(3600)).unwrap();
        let mut source = stand_in("sgx-sim", &root).unwrap().unwrap();
        assert!(source.report_signer().is_none());
        // Intel SDM volume 3D, REPORT: attributes, MRENCLAVE, report data, and what is not quoted.
        let mut report = Box::new([0; 432]);
        report[48] = 5;
        report[64..96].fill(3);
        report[320..384].fill(7);
        report[384..].fill(9);
        let claims = verified(&root, source.evidence(&Claim::SgxReport(report)));
        assert_eq!((&*claims.product, claims.report_data), ("sgx-sim", [7; 64]));
        assert_eq!(claims.measurement, [3; 32]);
        let other = source.evidence(&Claim::ReportData(Box::new([0; 64])));
        assert!(matches!(other, Evidence::Refused { .. }));
    }

    #[test]
    fn hardware_is_no_stand_in() {
        let root = Root::create(clock::now(), Duration::from_secs(3600)).unwrap();
        for name in ["nil", "kvm", "snp", "sgx"] {
            assert!(stand_in(name, &root).is_none());
        }
    }
}
