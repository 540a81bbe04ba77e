// SPDX-License-Identifier: Apache-2.0

//! The backends of this build, and the choice among them.
//!
//! There is no silent downgrade: a backend that was named either works or is an error with its
//! remedy, and a choice that nobody made is announced.

use std::sync::Arc;

use anyhow::anyhow;
use backend_kvm::Kvm;
use backend_nil::Nil;
use keep_backend::{Backend, Datum, Program};

use crate::exit::{Code, Failure};
use crate::programs::{self, Files};

/// Every backend that can be named, also where this build lacks it. Best first.
pub(crate) const NAMES: [&str; 2] = ["kvm", "nil"];

/// The backends of this build, best first.
pub(crate) fn all() -> Vec<Box<dyn Backend>> {
    NAMES.into_iter().filter_map(|name| named(name, None)).collect()
}

/// The backend of this name, if this build has it.
///
/// With `files` a backend need not copy its programs at every launch.
pub(crate) fn named(name: &str, files: Option<&Files>) -> Option<Box<dyn Backend>> {
    match name {
        "kvm" => Some(Box::new(Kvm::new())),
        "nil" => Some(Box::new(nil(files))),
        _ => None,
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
    if let Some(name) = name {
        let backend = named(name, files).ok_or_else(|| {
            let error = anyhow!("the {name} backend is not part of enarx for this system");
            Failure::new(Code::Backend, error)
        })?;
        let remedies = remedies(&backend.probe());
        if !remedies.is_empty() {
            let summary = format!("the {name} backend does not work on this machine");
            return Err(Failure::with_causes(Code::Backend, summary, &remedies));
        }
        return Ok(Choice { backend: backend.into(), automatic: false });
    }
    let mut causes = String::new();
    for name in NAMES {
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
