// SPDX-License-Identifier: Apache-2.0

//! The seam between the host agent and a kind of Keep: probe, build image, launch, serve.
//!
//! A [`Backend`] is chosen once; after that the host agent neither knows nor asks what stands
//! behind it. The four steps are the same everywhere:
//!
//! 1. [`Backend::probe`] says what the machine lacks, and what to do about it.
//! 2. [`Backend::measure`] builds the initial image without a machine and digests it.
//! 3. [`Backend::launch`] builds the very same image into a new Keep.
//! 4. [`Keep::serve`] carries the Keep's calls to the outside until it ends.

#![forbid(unsafe_code)]

mod elsewhere;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

pub use elsewhere::Elsewhere;
use keep_launch::{Event, Evidence, Report};
use serde::Serialize;

/// The two programs that run in Keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Program {
    /// Turns a module into an artifact.
    Compiler,
    /// Runs an artifact.
    Runtime,
}

impl Program {
    /// Both, in the order in which a workload meets them.
    pub const ALL: [Self; 2] = [Self::Compiler, Self::Runtime];

    /// The program's name in messages and file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Compiler => "compiler",
            Self::Runtime => "runtime",
        }
    }
}

/// One line of the probe table of a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Datum {
    /// What was looked at.
    pub name: String,
    /// Whether it is as the backend needs it.
    pub pass: bool,
    /// What was found, where there is something to say.
    pub info: Option<String>,
    /// What to do about it, if it failed.
    #[serde(rename = "mesg")]
    pub remedy: Option<String>,
}

impl Datum {
    /// A probe that passed.
    pub fn pass(name: &str, info: impl Into<Option<String>>) -> Self {
        Self { name: name.into(), pass: true, info: info.into(), remedy: None }
    }

    /// A probe that failed, and what to do about it.
    pub fn fail(name: &str, info: impl Into<Option<String>>, remedy: impl Into<String>) -> Self {
        Self { name: name.into(), pass: false, info: info.into(), remedy: Some(remedy.into()) }
    }
}

/// What a Keep says of itself, to be turned into evidence on the host.
///
/// A Keep whose platform can speak hands over what the platform said. The host adds what it needs to
/// be verified (certificates, a quoting enclave's signature); whether it did so truly is found out by
/// who verifies it, so the host is not trusted with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// The platform says nothing: report data that somebody else is to vouch for.
    ReportData(Box<[u8; 64]>),
    /// SEV-SNP: the firmware's signed report (AMD 56860, `ATTESTATION_REPORT`).
    SnpReport(Box<[u8; 1184]>),
    /// SGX: a report for the quoting enclave (Intel SDM volume 3D, `REPORT`), already known to be of
    /// this processor where a stand-in plays it.
    SgxReport(Box<[u8; 432]>),
}

impl Claim {
    /// The report data that it binds.
    #[must_use]
    pub fn report_data(&self) -> [u8; 64] {
        let (bytes, at): (&[u8], usize) = match self {
            Self::ReportData(data) => return **data,
            Self::SnpReport(report) => (&report[..], 0x50),
            Self::SgxReport(report) => (&report[..], 320),
        };
        std::array::from_fn(|index| bytes.get(at + index).copied().unwrap_or_default())
    }
}

/// Which [`Claim`]s the Keeps of a backend make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClaimKind {
    /// [`Claim::ReportData`].
    #[default]
    ReportData,
    /// [`Claim::SnpReport`].
    SnpReport,
    /// [`Claim::SgxReport`].
    SgxReport,
}

impl ClaimKind {
    /// Length of a claim in bytes.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::ReportData => 64,
            Self::SnpReport => 1184,
            Self::SgxReport => 432,
        }
    }

    /// The claim that these bytes are; none if there are more or fewer.
    #[must_use]
    pub fn claim(self, bytes: &[u8]) -> Option<Claim> {
        Some(match self {
            Self::ReportData => Claim::ReportData(Box::new(bytes.try_into().ok()?)),
            Self::SnpReport => Claim::SnpReport(Box::new(bytes.try_into().ok()?)),
            Self::SgxReport => Claim::SgxReport(Box::new(bytes.try_into().ok()?)),
        })
    }
}

/// What makes evidence of a Keep's claims.
pub trait EvidenceSource: Send {
    /// Evidence for this claim, or why there is none. May take as long as it has to: only the Keep
    /// waits.
    fn evidence(&mut self, claim: &Claim) -> Evidence;

    /// The key of a secure processor that a stand-in of SEV-SNP plays. Without one the reports of its
    /// firmware are not signed, and nobody will believe them.
    fn report_signer(&self) -> Option<ReportSigner> {
        None
    }

    /// The secret of the machine that a stand-in plays: keys for sealing come from it, so they are the
    /// same as long as it is. Without one a stand-in draws one for each launch.
    fn machine_secret(&self) -> Option<[u8; 32]> {
        None
    }
}

/// Signs a report that a stand-in's firmware composed (AMD 56860, `ATTESTATION_REPORT`), and writes into
/// it what belongs to the key: signature and its algorithm, `REPORTED_TCB`, `CHIP_ID`.
pub type ReportSigner = Arc<dyn Fn(&mut [u8; 1184]) + Send + Sync>;

/// What hears of each [`Event`] of a running Keep. It must return soon: the Keep waits.
pub type EventSink = Box<dyn FnMut(Event) + Send>;

/// What a Keep may do with sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkLimits {
    /// Most sockets that are open at a time, at most [`NetworkLimits::MAX_SOCKETS`].
    pub max_sockets: u32,
    /// Whether it may bind and listen; without, it gets `EACCES`.
    pub listen: bool,
    /// Whether it may connect; without, it gets `EACCES`.
    pub connect: bool,
}

impl NetworkLimits {
    /// More sockets than that no Keep can have.
    pub const MAX_SOCKETS: u32 = 1024;

    /// All that a Keep can be allowed.
    pub const fn all() -> Self {
        Self { max_sockets: Self::MAX_SOCKETS, listen: true, connect: true }
    }
}

/// What a launch hands over.
pub struct Spec {
    /// Which program runs.
    pub program: Program,
    /// The encoded [`keep_launch::Launch`].
    pub launch: Vec<u8>,
    /// Module (compiler) or artifact (runtime).
    pub input: File,
    /// Where the compiler's artifact goes.
    pub output: Option<File>,
    /// The workload's stdin, stdout and stderr; `None` reads as end of file and swallows writes.
    pub stdio: [Option<File>; 3],
    /// Host folders whose content seeds the Keep's file system.
    pub seeds: Vec<Seed>,
    /// Upper bound of the Keep's memory in bytes.
    pub memory: u64,
    /// How many processors it may use: see [`Spec::processors`].
    pub processors: u32,
    /// Makes evidence; without it there are no descriptors
    /// [`FD_REPORT_DATA`](keep_launch::FD_REPORT_DATA) and
    /// [`FD_EVIDENCE`](keep_launch::FD_EVIDENCE).
    pub evidence: Option<Box<dyn EvidenceSource>>,
    /// Hears of events; without it there is no descriptor [`FD_EVENTS`](keep_launch::FD_EVENTS).
    pub events: Option<EventSink>,
    /// What the Keep may do with sockets; without it, it has none (`EACCES`).
    pub network: Option<NetworkLimits>,
    /// What was signed of the image. A backend that [takes](Backend::takes_signatures) signatures refuses
    /// to launch an image that is not the one that was signed; others are given none.
    pub signatures: Option<Signatures>,
}

/// What somebody signed of the image of one program, in the forms that hardware wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signatures {
    /// SEV-SNP: the ID block, 96 bytes (AMD 56860, `ID_BLOCK`).
    pub id_block: Vec<u8>,
    /// SEV-SNP: its authentication, 4096 bytes (AMD 56860, `ID_AUTH_INFO`).
    pub id_auth: Vec<u8>,
    /// SGX: the SIGSTRUCT, 1808 bytes (Intel SDM volume 3D).
    pub sigstruct: Vec<u8>,
}

impl Spec {
    /// How many processors the Keep may use, 1 to [`MAX_PROCESSORS`].
    #[must_use]
    pub fn processors(&self) -> u32 {
        self.processors.clamp(1, MAX_PROCESSORS)
    }
}

/// How many processors of this machine a Keep can have.
#[must_use]
pub fn host_processors() -> u32 {
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(count).unwrap_or(u32::MAX).clamp(1, MAX_PROCESSORS)
}

/// Most processors of a Keep.
pub const MAX_PROCESSORS: u32 = 7;

impl std::fmt::Debug for Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spec")
            .field("program", &self.program)
            .field("launch", &self.launch.len())
            .field("input", &self.input)
            .field("output", &self.output)
            .field("stdio", &self.stdio)
            .field("seeds", &self.seeds)
            .field("memory", &self.memory)
            .field("evidence", &self.evidence.is_some())
            .field("events", &self.events.is_some())
            .field("network", &self.network)
            .field("signatures", &self.signatures.is_some())
            .finish()
    }
}

/// A host folder that is read once, at the start, into the Keep's file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    /// The folder on the host; read, never written.
    pub host: PathBuf,
    /// The name under which the program finds it: see [`seed_name`].
    pub index: usize,
}

/// The digest of an initial image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Measurement {
    /// What was measured.
    pub program: Program,
    /// Name of the digest's algorithm and page format, for example `sha384/pages-v1`.
    pub algorithm: String,
    /// The digest in lower-case hex.
    pub digest: String,
    /// Bytes that were measured.
    pub size: u64,
}

/// A kind of Keep.
pub trait Backend: Send + Sync {
    /// The name used on the command line: `nil`, `kvm`, ….
    fn name(&self) -> &'static str;

    /// Whether the host is kept out. Only hardware TEEs say yes.
    fn is_confidential(&self) -> bool;

    /// How many threads of one Keep can run at the same time.
    fn threads(&self) -> u32 {
        1
    }

    /// Whether its launches can be signed: see [`Spec::signatures`].
    fn takes_signatures(&self) -> bool {
        false
    }

    /// Looks at the machine. The backend works if every datum passes.
    fn probe(&self) -> Vec<Datum>;

    /// The initial image's digest, built by the same code as a launch.
    ///
    /// # Errors
    ///
    /// If the backend has no image to measure, or it cannot be built.
    fn measure(&self, program: Program) -> Result<Measurement, BackendError>;

    /// Builds a Keep and makes it ready to run.
    ///
    /// # Errors
    ///
    /// If the machine, the image or the specification does not allow it.
    fn launch(&self, spec: Spec) -> Result<Launched, BackendError>;
}

/// A Keep that is ready to run, and the way to end it from elsewhere.
pub struct Launched {
    /// The Keep itself.
    pub keep: Box<dyn Keep>,
    /// Ends it from any thread.
    pub killer: Box<dyn Killer>,
}

impl std::fmt::Debug for Launched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Launched").finish_non_exhaustive()
    }
}

/// A Keep that is ready to run.
pub trait Keep: Send {
    /// Runs the Keep on this thread and carries its calls until it ends.
    ///
    /// # Errors
    ///
    /// If the Keep ended without a report: killed, out of memory, a kernel panic, a host error.
    fn serve(self: Box<Self>) -> Result<Report, BackendError>;
}

/// Ends a Keep from any thread; harmless once it has ended.
pub trait Killer: Send + Sync {
    /// Makes [`Keep::serve`] return [`BackendError::Killed`] soon.
    fn kill(&self);
}

/// The path under which the program finds seed number `index` below the root it was given.
pub fn seed_name(index: usize) -> String {
    index.to_string()
}

/// Why a backend could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The machine cannot host this kind of Keep.
    #[error("the {backend} backend does not work on this machine: {problem}\n  {remedy}")]
    Unavailable {
        /// Name of the backend.
        backend: &'static str,
        /// What is missing.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// A host folder could not be read into the Keep.
    #[error("cannot read {path} into the Keep")]
    Seed {
        /// The file or folder.
        path: PathBuf,
        /// What the host said.
        source: std::io::Error,
    },
    /// The host refused something that the backend needs.
    #[error("cannot {what}")]
    Host {
        /// What was tried, as the rest of the sentence.
        what: String,
        /// What the host said.
        source: std::io::Error,
    },
    /// The image cannot be built.
    #[error("cannot build the image of the {program} Keep: {problem}", program = program.name())]
    Image {
        /// Which program.
        program: Program,
        /// What is wrong.
        problem: String,
    },
    /// The image may not be launched with the signatures that were given.
    #[error("the signatures are refused: {problem}")]
    Signature {
        /// What is wrong, as a stable name.
        code: &'static str,
        /// What is wrong, as a sentence.
        problem: String,
    },
    /// The Keep ran out of the memory it was given.
    #[error("the Keep is out of memory: {detail}\n  give it more with --memory")]
    OutOfMemory {
        /// What the Keep's kernel said.
        detail: String,
    },
    /// The Keep ended without a report, or broke the rules of the host-call protocol.
    #[error("the Keep failed: {cause}")]
    Keep {
        /// What is known.
        cause: String,
    },
    /// [`Killer::kill`] was called.
    #[error("the Keep was ended from outside")]
    Killed,
    /// This backend cannot do that.
    #[error("{0}")]
    Unsupported(String),
}

/// Makes [`BackendError::Host`] of what the host says; `what` completes "cannot …".
pub fn host(what: &'static str) -> impl Fn(std::io::Error) -> BackendError {
    move |source| BackendError::Host { what: what.to_owned(), source }
}
