// SPDX-License-Identifier: Apache-2.0

//! Why a workload does not run, in a form for programs, and in sentences for people.

use std::fmt;

use keep_identity::IdentityError;
use keep_launch::Refusal;
use keep_net::NetError;
use serde::Deserialize;

/// Why a workload does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeployError {
    /// The launch asks for what cannot be.
    #[error("the launch is faulty: {0}")]
    Launch(String),
    /// There can be no network at all here.
    #[error("this Keep has no network")]
    Network(#[source] NetError),
    /// The platform could not be asked for evidence.
    #[error("the platform cannot be asked for evidence: {0}")]
    NoPlatform(String),
    /// There is no evidence, key or request.
    #[error("this Keep cannot show what it is")]
    Evidence(#[source] IdentityError),
    /// The Steward could not be talked to.
    #[error("the Steward at {url} cannot be reached or broke off")]
    StewardSilent {
        /// Its URL.
        url: String,
        /// Why.
        #[source]
        source: NetError,
    },
    /// The Steward took too long, all in all.
    #[error("the Steward at {url} gave no certificate within {seconds} seconds")]
    StewardSlow {
        /// Its URL.
        url: String,
        /// How long it had.
        seconds: u64,
    },
    /// The Steward gives this Keep no certificate.
    #[error("the Steward at {url} refused: {problem}")]
    StewardRefused {
        /// Its URL.
        url: String,
        /// What it said.
        problem: Box<Problem>,
    },
    /// The Steward answered with what no Steward answers.
    #[error("the answer of the Steward at {url} makes no sense: {why}")]
    StewardForm {
        /// Its URL.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The Steward's certificate is not to be believed.
    #[error("the certificate from the Steward at {url} is not to be believed")]
    StewardAnswer {
        /// Its URL.
        url: String,
        /// Why.
        #[source]
        source: IdentityError,
    },
    /// The Drawbridge could not be talked to, or broke off.
    #[error("the Drawbridge cannot be reached or broke off at `{url}`")]
    DrawbridgeSilent {
        /// What was asked for.
        url: String,
        /// Why.
        #[source]
        source: NetError,
    },
    /// The Drawbridge took too long.
    #[error("the Drawbridge did not send `{url}` within {seconds} seconds")]
    DrawbridgeSlow {
        /// What was asked for.
        url: String,
        /// How long it had.
        seconds: u64,
    },
    /// The Drawbridge does not release the workload to this Keep.
    #[error("the Drawbridge refused `{url}`: {problem}")]
    DrawbridgeRefused {
        /// What was asked for.
        url: String,
        /// What it said.
        problem: Box<Problem>,
    },
    /// The Drawbridge answered with what no Drawbridge answers.
    #[error("the answer of the Drawbridge for `{url}` makes no sense: {why}")]
    DrawbridgeForm {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The tag leads to another workload than the one that is pinned.
    #[error("the tag leads to the workload {found}, and {pinned} is pinned")]
    OtherWorkload {
        /// The digest that the tag has.
        found: String,
        /// The digest of the launch.
        pinned: String,
    },
    /// What arrived is not what the pinned digest, or the directory below it, says.
    #[error("`{file}` is not what its digest says: {why}")]
    Changed {
        /// The file; `(root)` for the directory itself.
        file: String,
        /// What is different.
        why: &'static str,
    },
    /// A file is longer than may be.
    #[error("`{file}` has {len} bytes, and may have {max}")]
    TooLong {
        /// The file.
        file: String,
        /// Its length.
        len: u64,
        /// The bound.
        max: u64,
    },
    /// The workload lacks a file.
    #[error("the workload has no file `{file}`")]
    Missing {
        /// The file.
        file: String,
    },
    /// A file of the workload cannot be read or kept.
    #[error("`{file}`: {why}")]
    File {
        /// The file.
        file: String,
        /// Why.
        why: String,
    },
    /// Enarx.toml is faulty.
    #[error("the configuration of the workload is faulty\n{0}")]
    Config(String),
    /// Native code that was accepted does not load.
    #[error("the native code cannot be loaded: {0}")]
    Artifact(String),
    /// There is nobody who could compile the workload.
    #[error("nobody is there to compile the workload: {0}")]
    NoCompiler(&'static str),
    /// Somebody could, but nobody vouches for them: this Keep knows no Steward.
    #[error(
        "the package has no native code that fits, and without a Steward no compiler Keep can prove what \
         it is"
    )]
    UnprovenCompiler,
    /// The compiler Keep could not be talked to, or is none that the workload accepts.
    #[error("the compiler Keep at {address} cannot be used")]
    Compiler {
        /// Its address.
        address: String,
        /// Why.
        #[source]
        source: NetError,
    },
    /// The compiler Keep broke off, or answered with what no compiler Keep answers.
    #[error("the compiler Keep at {address} broke off: {why}")]
    CompilerForm {
        /// Its address.
        address: String,
        /// What is wrong.
        why: String,
    },
    /// The compiler Keep refused the module.
    #[error("{message}")]
    NotCompiled {
        /// Why, for a program.
        reason: Refusal,
        /// Why, for a person.
        message: String,
    },
}

impl DeployError {
    /// Why, for a program.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Launch(_) => Refusal::Launch,
            Self::Network(_) => Refusal::Network,
            Self::NoPlatform(_) | Self::Evidence(_) => Refusal::Evidence,
            Self::StewardSilent { .. }
            | Self::StewardSlow { .. }
            | Self::StewardRefused { .. }
            | Self::StewardForm { .. }
            | Self::StewardAnswer { .. } => Refusal::Steward,
            Self::DrawbridgeSilent { .. }
            | Self::DrawbridgeSlow { .. }
            | Self::DrawbridgeRefused { .. }
            | Self::DrawbridgeForm { .. } => Refusal::Drawbridge,
            Self::OtherWorkload { .. }
            | Self::Changed { .. }
            | Self::TooLong { .. }
            | Self::Missing { .. }
            | Self::File { .. } => Refusal::Workload,
            Self::Config(_) => Refusal::Config,
            Self::Artifact(_) => Refusal::Artifact,
            Self::NoCompiler(_)
            | Self::UnprovenCompiler
            | Self::Compiler { .. }
            | Self::CompilerForm { .. } => Refusal::Compiler,
            Self::NotCompiled { reason, .. } => *reason,
        }
    }

    /// Whether the same may go well a little later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::StewardSilent { source, .. } | Self::DrawbridgeSilent { source, .. } => {
                source.is_transient()
            }
            Self::StewardSlow { .. } | Self::DrawbridgeSlow { .. } => true,
            Self::StewardRefused { problem, .. } | Self::DrawbridgeRefused { problem, .. } => {
                problem.status >= 500
            }
            _ => false,
        }
    }

    /// What to do.
    #[must_use]
    pub fn remedy(&self) -> &str {
        match self {
            Self::Launch(_) => "this is a fault of the host agent; check its version",
            Self::Network(_) => "use a machine, or a backend, whose processor has what is missing",
            Self::NoPlatform(_) => {
                "check that the backend can attest; for development, run `enarx dev init`"
            }
            Self::Evidence(source) | Self::StewardAnswer { source, .. } => source.remedy(),
            Self::StewardSilent { source, .. } => match source {
                NetError::Handshake { .. } | NetError::Roots { .. } => {
                    "check that the root of the Steward's TLS certificate is among those that are trusted"
                }
                _ => "check that the Steward runs at that address and try again",
            },
            Self::StewardSlow { .. } => "try again later, or look at the Steward's log",
            Self::StewardRefused { problem, .. } | Self::DrawbridgeRefused { problem, .. }
                if !problem.remedy.is_empty() =>
            {
                &problem.remedy
            }
            Self::StewardRefused { .. } => "look at the Steward's policy and its log",
            Self::StewardForm { .. } => "check that this is the URL of a Steward",
            Self::DrawbridgeSilent { source, .. } => match source {
                NetError::Handshake { .. } | NetError::Roots { .. } => {
                    "check that the root of the Drawbridge's certificate is among those that are trusted, \
                     and that it accepts certificates of this Steward"
                }
                _ => "check that the Drawbridge runs at that address and try again",
            },
            Self::DrawbridgeSlow { .. } => "try again later; nothing was kept",
            Self::DrawbridgeRefused { .. } => {
                "compare the repository's release policy with what the Keep's certificate says"
            }
            Self::DrawbridgeForm { .. } => "check that this is the URL of a Drawbridge",
            Self::OtherWorkload { .. } => {
                "deploy the digest that is published now, if that is what you mean; tags never change, so \
                 ask who runs the Drawbridge"
            }
            Self::Changed { .. } => {
                "do not use this copy of the workload; nothing of it has run. Ask who runs the Drawbridge"
            }
            Self::TooLong { .. } | Self::Missing { .. } => {
                "publish the workload anew with `enarx package publish`"
            }
            Self::File { .. } => "check the file, and how much memory the Keep has",
            Self::Config(_) => {
                "correct Enarx.toml, publish the workload anew and deploy the new digest"
            }
            Self::Artifact(_) => "publish the workload without `main.artifact`, or with a new one",
            Self::NoCompiler(_) => {
                "publish the workload with a `main.artifact` that fits, or let `[compiler]` in Enarx.toml \
                 accept \"attested\""
            }
            Self::UnprovenCompiler => {
                "name a Steward (`--steward URL --steward-ca FILE`; `enarx dev up` starts one for \
                 development), or put native code into the package: `enarx package compile`"
            }
            Self::Compiler { .. } => {
                "compare `[compiler]` in Enarx.toml with the measurement of the compiler Keep \
                 (`enarx measure`)"
            }
            Self::CompilerForm { .. } => "try again, and look at the output of the compiler Keep",
            Self::NotCompiled { .. } => "correct the module and publish it anew",
        }
    }

    /// All of it for a person: the error, its causes, one a line, and in the last line what to do, after
    /// `help: `.
    #[must_use]
    pub fn message(&self) -> String {
        let mut out = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            out.push('\n');
            out.push_str(&cause.to_string());
            source = cause.source();
        }
        out.push_str("\nhelp: ");
        out.push_str(self.remedy());
        out
    }
}

/// What a server says of a refusal (RFC 9457), as far as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// The HTTP status; that of the answer, whatever the document says.
    pub status: u16,
    /// The kind of problem.
    pub title: String,
    /// What happened this time.
    pub detail: String,
    /// For programs.
    pub code: String,
    /// What to do.
    pub remedy: String,
}

impl Problem {
    /// Longest document that is read, in bytes.
    pub(crate) const MAX: usize = 64 << 10;

    /// Reads a document, or makes one where there is none.
    pub(crate) fn read(status: u16, body: &[u8]) -> Self {
        let mut problem: Self = serde_json::from_slice(body).unwrap_or_default();
        problem.status = status;
        // It is printed on somebody's terminal.
        for text in
            [&mut problem.title, &mut problem.detail, &mut problem.code, &mut problem.remedy]
        {
            *text = text.chars().filter(|one| !one.is_control()).take(1000).collect();
        }
        problem
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = [&self.detail, &self.title].into_iter().find(|text| !text.is_empty());
        match (text, self.code.as_str()) {
            (Some(text), "") => write!(f, "{text} (status {})", self.status),
            (Some(text), code) => write!(f, "{text} (status {}, {code})", self.status),
            (None, _) => write!(f, "status {}, without a reason", self.status),
        }
    }
}
