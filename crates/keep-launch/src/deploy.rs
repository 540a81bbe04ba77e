// SPDX-License-Identifier: Apache-2.0

//! Launches that need a network and an identity, and what is said on the way.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// Where others are found, and whom to trust there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Network {
    /// Whether the roots that browsers trust (the list in the program) count for TLS servers.
    pub system_roots: bool,
    /// Further roots for TLS servers, DER.
    pub roots: Vec<Vec<u8>>,
    /// Roots of the Steward, DER: the certificate of this Keep has to lead to one of them, and so
    /// have those of other Keeps.
    pub steward_roots: Vec<Vec<u8>>,
    /// Addresses of DNS servers, `address:port`; used for reaching a peer, never for trusting it.
    pub resolvers: Vec<String>,
    /// Names with a fixed address, as in `/etc/hosts`; they go before DNS.
    pub hosts: Vec<(String, String)>,
    /// Most connections, sockets included, that are open at a time.
    pub max_sockets: u32,
}

/// For a workload that the host hands over and that yet has sockets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sockets {
    /// The text of Enarx.toml; its `files`, `network` and `steward` count.
    pub config: String,
    /// Files beside it that it names, for example roots: name and content.
    pub files: Vec<(String, Vec<u8>)>,
    /// See there.
    pub network: Network,
}

/// For a Keep that starts empty and fetches its workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deploy {
    /// The name under which the workload was asked for: `[host[:port]/]user/repo[:tag]`.
    pub slug: Option<String>,
    /// The digest of the workload: `sha256:` and 64 hexadecimal digits. Nothing else ever runs.
    pub digest: String,
    /// Where the workload comes from.
    pub source: Source,
    /// URL of the Steward; none: the Keep signs its own certificate, and no Drawbridge that wants
    /// to see evidence releases anything to it.
    pub steward: Option<String>,
    /// See there.
    pub network: Network,
    /// Where a compiler Keep answers, `address:port`.
    pub compiler: Option<String>,
    /// Upper bound in bytes for each of the workload's linear memories, taken together.
    pub max_memory: u64,
    /// Threads that may serve requests, if the workload is a component that handles some.
    pub threads: u32,
}

impl Deploy {
    /// SHA-256 of the workload, if the digest is written as one.
    #[must_use]
    pub fn workload(&self) -> Option<[u8; 32]> {
        crate::sha256(&self.digest)
    }
}

/// Where a deployed workload comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// A Drawbridge: `https://host[:port]/api/v0.1.0/user/repo/_tag/1.2.3`, without a final slash.
    Drawbridge {
        /// The URL of the tag.
        tag: String,
    },
    /// A folder that the host hands over, see [`crate::Preopen::path`].
    Folder {
        /// Its path as the program sees it.
        path: String,
    },
}

/// For a compiler Keep that serves runtime Keeps by mutual TLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompileService {
    /// As in [`Deploy`]: who connects has to have a certificate for the same workload.
    pub slug: Option<String>,
    /// As in [`Deploy`].
    pub digest: String,
    /// As in [`Deploy`].
    pub steward: Option<String>,
    /// As in [`Deploy`].
    pub network: Network,
    /// The address to listen at, `address:port`; port 0 lets the host choose.
    pub listen: String,
    /// Threads that may compile. Without processors for them, one does.
    pub threads: u32,
}

/// What a program says of itself while it runs. All of it is for the host to see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A step of the deployment is complete; its number is that of `docs/flow.md`.
    Step {
        /// From 1 to 13.
        number: u8,
        /// What was found or done, for a person.
        detail: String,
    },
    /// The chain of this Keep's certificate, DER, leaf first: at the start and at each renewal.
    Certificate {
        /// The chain.
        chain: Vec<Vec<u8>>,
        /// Seconds since 1970 at which the leaf ends.
        not_after: u64,
    },
    /// A socket accepts connections.
    Listening {
        /// Its name in Enarx.toml.
        name: String,
        /// The address that was bound, with the port that it has now.
        address: String,
    },
    /// Something that a person ought to know and that does not stop the workload.
    Warning {
        /// One sentence.
        message: String,
    },
}

/// What the platform says about this Keep. For hardware that comes from the kernel, for development
/// from the host agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Evidence {
    /// Evidence with the report data that were asked for.
    Made {
        /// Whose evidence.
        platform: Platform,
        /// Report or quote, in the platform's own format.
        evidence: Vec<u8>,
        /// What the vendor says about the processor: kind (as in `docs/binding.md`) and value.
        endorsements: Vec<(String, Vec<u8>)>,
    },
    /// There is none, and why.
    Refused {
        /// One sentence for a person.
        message: String,
    },
}

/// Kinds of evidence, see `docs/binding.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Platform {
    /// In the format of SEV-SNP, under a root of the developer's own: by the host, or by a stand-in of a
    /// processor with SEV-SNP. Proves nothing.
    Development,
    /// AMD SEV-SNP.
    Snp,
    /// Intel SGX.
    Sgx,
    /// Intel TDX.
    Tdx,
    /// In the format of SGX, under a root of the developer's own: by a stand-in of a processor with SGX.
    /// Proves nothing.
    DevelopmentSgx,
}

impl Platform {
    /// Whether it is evidence that proves nothing.
    #[must_use]
    pub fn is_development(self) -> bool {
        matches!(self, Self::Development | Self::DevelopmentSgx)
    }
}
