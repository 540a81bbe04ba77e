// SPDX-License-Identifier: Apache-2.0

//! The backends of this build, and the choice among them.
//!
//! There is no silent downgrade: a backend that was named either works or is an error with its
//! remedy, and a choice that nobody made is announced.

use std::sync::Arc;

use anyhow::anyhow;
use backend_kvm::Kvm;
use backend_nil::Nil;
use backend_sgx::Sgx;
use backend_sgx_sim::SgxSim;
use backend_snp::Snp;
use backend_snp_sim::SnpSim;
use keep_backend::{Backend, BackendError, Datum, Launched, Measurement, Program, Spec};
use keep_image::Image;

use crate::exit::{Code, Failure};
use crate::programs::{self, Files};

/// Every backend that can be named, also where this build lacks it. Best first.
pub(crate) const NAMES: [&str; 6] = ["snp", "sgx", "kvm", "nil", SnpSim::NAME, SgxSim::NAME];

/// Those that are chosen for who names none, best first. A stand-in never is.
const AUTOMATIC: [&str; 4] = ["snp", "sgx", "kvm", "nil"];

/// Stand-ins of hardware backends: the same image, and nothing that keeps the host out.
const STAND_INS: [(&str, &str); 2] = [("snp", SnpSim::NAME), ("sgx", SgxSim::NAME)];

/// The argument by which this program becomes the process that an enclave lives in.
pub(crate) const CARRIER: &str = "sgx-carrier";

/// The argument by which this program becomes the machine that plays an enclave.
pub(crate) const MACHINE: &str = "sgx-machine";

/// The backends of this build, best first.
pub(crate) fn all() -> Vec<Box<dyn Backend>> {
    NAMES.into_iter().filter_map(|name| named(name, None)).collect()
}

/// The names of those that let the host in.
pub(crate) fn open_names() -> Vec<&'static str> {
    all()
        .iter()
        .filter(|backend| !backend.is_confidential())
        .map(|backend| backend.name())
        .collect()
}

/// The backend of this name, if this build has it.
///
/// With `files` a backend need not copy its programs at every launch.
pub(crate) fn named(name: &str, files: Option<&Files>) -> Option<Box<dyn Backend>> {
    match name {
        "snp" => Some(Box::new(Snp::new())),
        "sgx" => Some(Box::new(Sgx::new(CARRIER))),
        "kvm" => Some(Box::new(Kvm::new())),
        "nil" => Some(Box::new(nil(files))),
        SnpSim::NAME => Some(Box::new(SnpSim::new())),
        SgxSim::NAME => Some(Box::new(sgx_sim())),
        _ => None,
    }
}

/// Its machines are this very program, which the kernel finds even if its file was replaced.
fn sgx_sim() -> SgxSim {
    SgxSim::new("/proc/self/exe", &[MACHINE])
}

/// A backend whose Keeps start from images, and can be given others than the built-in ones.
pub(crate) trait Imaged: Backend {
    /// As [`Backend::measure`], of this image.
    fn measure_image(
        &self,
        program: Program,
        image: &Image<'_>,
    ) -> Result<Measurement, BackendError>;

    /// As [`Backend::launch`], of this image.
    fn launch_image(&self, image: &Image<'_>, spec: Spec) -> Result<Launched, BackendError>;
}

/// The backend of this name, if its Keeps start from images.
pub(crate) fn imaged(name: &str) -> Option<Box<dyn Imaged>> {
    match name {
        "kvm" => Some(Box::new(Kvm::new())),
        SnpSim::NAME => Some(Box::new(SnpSim::new())),
        SgxSim::NAME => Some(Box::new(sgx_sim())),
        _ => None,
    }
}

impl Imaged for Kvm {
    fn measure_image(
        &self,
        program: Program,
        image: &Image<'_>,
    ) -> Result<Measurement, BackendError> {
        Ok((*self).measure_image(program, image))
    }

    fn launch_image(&self, image: &Image<'_>, spec: Spec) -> Result<Launched, BackendError> {
        (*self).launch_image(image, spec)
    }
}

impl Imaged for SnpSim {
    fn measure_image(
        &self,
        program: Program,
        image: &Image<'_>,
    ) -> Result<Measurement, BackendError> {
        (*self).measure_image(program, image)
    }

    fn launch_image(&self, image: &Image<'_>, spec: Spec) -> Result<Launched, BackendError> {
        (*self).launch_image(image, spec)
    }
}

impl Imaged for SgxSim {
    fn measure_image(
        &self,
        program: Program,
        image: &Image<'_>,
    ) -> Result<Measurement, BackendError> {
        self.measure_image(program, image)
    }

    fn launch_image(&self, image: &Image<'_>, spec: Spec) -> Result<Launched, BackendError> {
        self.launch_image(image, spec)
    }
}

fn nil(files: Option<&Files>) -> Nil {
    let id = files.map_or("", |files| &files.id);
    let [compiler, runtime] = Program::ALL.map(|program| programs::image(program, id));
    Nil::new(compiler, runtime, files.map(|files| files.folder.clone()))
}

/// A backend that works, and whether nobody asked for it by name.
pub(crate) struct Choice {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) automatic: bool,
}

/// The backend that was named, or the best that works.
pub(crate) fn choose(name: Option<&str>, files: Option<&Files>) -> Result<Choice, Failure> {
    choose_among(&AUTOMATIC, name, files)
}

/// As [`choose`], for what proves nothing by intent: without being named, hardware is not chosen.
pub(crate) fn choose_for_development(name: Option<&str>) -> Result<Choice, Failure> {
    let open: Vec<&str> = AUTOMATIC
        .into_iter()
        .filter(|name| named(name, None).is_some_and(|backend| !backend.is_confidential()))
        .collect();
    choose_among(&open, name, None)
}

fn choose_among(
    names: &[&'static str],
    name: Option<&str>,
    files: Option<&Files>,
) -> Result<Choice, Failure> {
    if let Some(name) = name {
        let backend = named(name, files).ok_or_else(|| {
            let error = anyhow!("the {name} backend is not part of enarx for this system");
            Failure::new(Code::Backend, error)
        })?;
        let remedies = remedies(&backend.probe());
        if !remedies.is_empty() {
            let summary = format!("the {name} backend does not work on this machine");
            let failure = Failure::with_causes(Code::Backend, summary, &remedies);
            let stand_in = STAND_INS.into_iter().find(|(hardware, _)| *hardware == name);
            return Err(match stand_in {
                Some((_, other)) => failure.help(format!(
                    "`--backend {other}` runs the same image on any machine; it keeps nothing from \
                     the host, and its evidence counts for development alone"
                )),
                None => failure,
            });
        }
        return Ok(Choice { backend: backend.into(), automatic: false });
    }
    let mut causes = String::new();
    for &name in names {
        let Some(backend) = named(name, files) else { continue };
        let remedies = remedies(&backend.probe());
        if remedies.is_empty() {
            return Ok(Choice { backend: backend.into(), automatic: true });
        }
        tracing::debug!(backend = name, %remedies, "does not work");
        causes += &remedies.lines().map(|line| format!("{name}: {line}\n")).collect::<String>();
    }
    Err(Failure::with_causes(Code::Backend, "no backend works on this machine".into(), &causes))
}

/// What failed and what to do about it, a line each; empty if the backend works.
fn remedies(data: &[Datum]) -> String {
    data.iter()
        .filter(|datum| !datum.pass)
        .map(|datum| {
            let found = datum.info.as_ref().map(|info| format!(" ({info})")).unwrap_or_default();
            let remedy = datum.remedy.as_deref().unwrap_or("failed");
            format!("{}{found}: {}\n", datum.name, remedy.replace('\n', " "))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_backend_calls_itself_by_its_name() {
        for name in NAMES {
            assert_eq!(named(name, None).map(|backend| backend.name()), Some(name));
        }
    }

    #[test]
    fn only_failures_have_remedies() {
        let data = [
            Datum::pass("CPU", None),
            Datum::fail("Driver", "/dev/kvm".to_owned(), "Load the module."),
        ];
        assert_eq!(remedies(&data), "Driver (/dev/kvm): Load the module.\n");
        assert_eq!(remedies(&data[..1]), "");
    }
}
