// SPDX-License-Identifier: Apache-2.0

//! A workload as an OCI artifact, to and from any registry.
//!
//! The layout is the one of the CNCF for WebAssembly: a config `application/vnd.wasm.config.v0+json` and exactly
//! one layer `application/wasm`, so `wkg`, Spin and runtimes that know that layout find a module or component
//! where they look for it. A second layer would make them refuse the artifact. What else belongs to a
//! package is carried beside it:
//!
//! | what | where |
//! |---|---|
//! | `Enarx.toml`, `*.pem` | annotations of the manifest, `dev.enarx.file/NAME`, the text as it is |
//! | `main.artifact` | a manifest of its own with the tag `TAG-artifact`, named by digest in `dev.enarx.artifact` |
//! | the workload digest | annotation `dev.enarx.workload` |
//!
//! A package that is pulled has the digest that it had when it was pushed: [`Registry::pull`] reckons it from
//! the files and holds it against the annotation and against what the caller wants. An artifact that other
//! tools pushed is a WebAssembly file alone. Manifests hold no times, so that the same package always has the
//! same manifest.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod config;
mod pull;
mod push;
mod registry;

use std::path::{Path, PathBuf};

use drawbridge_client::PackageError;

pub use pull::Pulled;
pub use push::Pushed;
pub use registry::{Auth, Options, Registry};

/// Media type of the config.
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// Annotation: the workload digest.
const WORKLOAD: &str = "dev.enarx.workload";
/// Annotation: digest of the manifest with `main.artifact`.
const ARTIFACT: &str = "dev.enarx.artifact";
/// Annotation: what is before the name of a file.
const FILE: &str = "dev.enarx.file/";
/// Most bytes of files in annotations; registries take manifests of 4 MiB.
const MAX_ANNOTATIONS: usize = 1 << 20;

/// Why a package cannot be pushed or pulled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OciError {
    /// No reference to an artifact.
    #[error("`{text}` is no reference like `registry.example.com/shop:1.2.3`: {why}")]
    Reference {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// The client cannot be set up.
    #[error("cannot talk to a registry: {0}")]
    Setup(String),
    /// The registry refused, or did not answer.
    #[error("the registry did not do it, {what}")]
    Registry {
        /// What was tried.
        what: String,
        /// Why not.
        source: Box<oci_client::errors::OciDistributionError>,
    },
    /// Files are no package, or not any more.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// The artifact is no workload.
    #[error("the artifact is no workload: {0}")]
    Form(String),
    /// The artifact is another workload than it says, or than was wanted.
    #[error("the workload has the digest {found}, not {wanted}")]
    Digest {
        /// What was wanted.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// A text file of the package cannot be an annotation.
    #[error("{} cannot be pushed: {why}", .path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// A file cannot be read or written.
    #[error("cannot {what} {}", .path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl OciError {
    fn file(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { what, path, source }
    }

    fn registry(
        what: impl Into<String>,
    ) -> impl FnOnce(oci_client::errors::OciDistributionError) -> Self {
        let what = what.into();
        move |source| Self::Registry { what, source: Box::new(source) }
    }
}
