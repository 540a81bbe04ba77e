// SPDX-License-Identifier: Apache-2.0

//! What a Drawbridge and its clients say to each other: names, digests, trees, terms of release.
//!
//! No input or output happens here, and nothing panics or works without bound on what a peer sent:
//! this crate is part of a Keep, where it reads what an untrusted Drawbridge says.
//!
//! The wire format is the published one, version [`API_VERSION`]: `docs/drawbridge-api.md`.
//!
//! ```
//! use drawbridge_types::Slug;
//!
//! let slug: Slug = "store.example.com:8443/alice/shop:1.2.3".parse()?;
//! assert_eq!(slug.host.as_deref(), Some("store.example.com:8443"));
//! assert_eq!(slug.tag.as_ref().map(ToString::to_string).as_deref(), Some("1.2.3"));
//! # Ok::<(), drawbridge_types::SlugError>(())
//! ```

#![forbid(unsafe_code)]

mod digest;
mod entry;
mod name;
mod problem;
mod repository;
mod slug;
mod terms;

pub use digest::{Algorithm, ContentDigest, DigestError, Hasher, Mismatch};
pub use entry::{
    Directory, DirectoryError, Entry, MAX_DIRECTORY, MAX_ENTRIES, Meta, TagEntry, Unsigned,
};
pub use name::{EntryName, NameError, RepoName, TreePath, UserName};
pub use problem::Problem;
pub use repository::{Access, Release, Repository, UserRecord};
pub use slug::{Slug, SlugError, TagRequest};
pub use terms::{Page, RepositorySummary, TagSummary, Terms};

/// Version of the interface; it is part of each path: `/api/v0.1.0/…`.
pub const API_VERSION: &str = "0.1.0";

/// Media types.
pub mod media {
    /// A directory: [`crate::Directory`] as JSON.
    pub const DIRECTORY: &str = "application/vnd.drawbridge.directory.v1+json";
    /// An unsigned tag: [`crate::Entry`] as JSON.
    pub const ENTRY: &str = "application/vnd.drawbridge.entry.v1+json";
    /// A signed tag: a JSON Web Signature whose payload is an entry.
    pub const JWS: &str = "application/jose+json";
    /// A sigstore bundle as the sidecar of a tag. It signs the root of the tag's tree, so the digest that is
    /// signed is the workload's.
    pub const SIGSTORE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
    /// Terms of release: [`crate::Terms`] as JSON.
    pub const TERMS: &str = "application/vnd.drawbridge.terms.v1+json";
    /// A WebAssembly module or component.
    pub const WASM: &str = "application/wasm";
    /// `Enarx.toml`.
    pub const TOML: &str = "application/toml";
    /// Native code that was compiled before: `docs/artifacts.md`.
    pub const ARTIFACT: &str = "application/vnd.enarx.artifact.v1";
    /// Certificates that `Enarx.toml` names (RFC 8555, section 9.1).
    pub const PEM: &str = "application/pem-certificate-chain";
    /// A problem (RFC 9457).
    pub const PROBLEM: &str = "application/problem+json";
    /// Anything else.
    pub const OCTETS: &str = "application/octet-stream";
}

/// Names of the files of a workload.
pub mod file {
    /// The module or component.
    pub const WASM: &str = "main.wasm";
    /// Its configuration.
    pub const CONFIG: &str = "Enarx.toml";
    /// Native code of the tenant's own making, for runtimes that accept it.
    pub const ARTIFACT: &str = "main.artifact";
}
