// SPDX-License-Identifier: Apache-2.0

//! Development evidence: what the host agent says of a Keep whose platform cannot speak for itself.
//!
//! It has the form of real evidence and is over the measurement of the very image that is launched,
//! so that policies, certificates and release can be tried on any machine. It proves nothing: who
//! has the root's key can sign any measurement. Therefore the root is made by its user, lies in a
//! folder of its own, and counts only where a policy names it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use command_line::unhex;
use evidence_claims::kind;
use evidence_development::{Attester, Guest, Root};
use keep_backend::{Backend, Claim, EvidenceSource, Program};
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

/// The source of evidence for a Keep with that program, made by `root`. A backend whose platform
/// makes evidence itself has none.
///
/// The measurement is reckoned beside the launch, since it takes about as long.
pub(crate) fn source(
    backend: &Arc<dyn Backend>,
    program: Program,
    root: Option<&Arc<Root>>,
) -> Option<Box<dyn EvidenceSource>> {
    if backend.is_confidential() {
        return None;
    }
    let Some(root) = root else { return Some(Box::new(Nobody)) };
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
            return Evidence::Refused { message: "the platform can speak for itself".into() };
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

/// For who has no root.
struct Nobody;

impl EvidenceSource for Nobody {
    fn evidence(&mut self, _: &Claim) -> Evidence {
        Evidence::Refused {
            message: "this kind of Keep makes no evidence of its own, and there is no development \
                      root"
                .into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

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
        let Evidence::Made { platform, evidence, endorsements } = source.evidence(&Claim::ReportData(Box::new([7; 64]))) else {
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
        assert!(matches!(source.evidence(&Claim::ReportData(Box::new([0; 64]))), Evidence::Refused { .. }));
    }
}
