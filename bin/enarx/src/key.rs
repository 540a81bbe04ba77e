// SPDX-License-Identifier: Apache-2.0

//! `enarx key`: keys that sign images of Keeps for hardware, and tags of workloads.
//!
//! Private keys are written to a file that only its owner can read, and never over another file; without a
//! file they go to stdout, as published, but not to a terminal.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use command_line::files::Access;
use command_line::{OrExit, files, hex, print_bytes};
use drawbridge_signatures::{KeyKind, SigningKey};
use launch_keys::{SevKey, SgxKey, sign_id_key};

use crate::exit::{Code, Failure};

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Keys for SGX: RSA of 3072 bits with the exponent 3, PEM (PKCS#1)
    #[command(subcommand)]
    Sgx(SgxCommand),
    /// Keys for SEV-SNP: P-384, PEM (PKCS#8)
    #[command(subcommand)]
    Sev(SevCommand),
    /// Keys for tags of workloads: P-256 or Ed25519, PEM (PKCS#8)
    #[command(subcommand)]
    Tag(TagCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum SgxCommand {
    /// Make a key
    Create {
        #[command(flatten)]
        out: OutArgs,
    },
    /// Print what reports call the key's owner: MRSIGNER, SHA-256 of the modulus
    Digest {
        /// The key
        #[arg(value_name = "KEY", value_hint = ValueHint::FilePath)]
        key: PathBuf,
        #[command(flatten)]
        out: OutArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SevCommand {
    /// Make a key, for an author or for IDs
    Create {
        #[command(flatten)]
        out: OutArgs,
    },
    /// Print what reports call the key: SHA-384 of its public part
    Digest {
        /// The key
        #[arg(value_name = "KEY", value_hint = ValueHint::FilePath)]
        key: PathBuf,
        #[command(flatten)]
        out: OutArgs,
    },
    /// Sign an ID key with an author's key
    Sign {
        /// The author's key
        #[arg(long, value_name = "KEY", value_hint = ValueHint::FilePath)]
        author_key: PathBuf,
        /// The ID key
        #[arg(long, value_name = "KEY", value_hint = ValueHint::FilePath)]
        id_key: PathBuf,
        #[command(flatten)]
        out: OutArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TagCommand {
    /// Make a key that signs tags: `enarx package publish --sign KEY`
    Create {
        /// What kind of key
        #[arg(long, value_name = "KIND", default_value = "ed25519")]
        kind: Kind,
        #[command(flatten)]
        out: OutArgs,
    },
    /// Print the public part of a key, PEM: `enarx repo register --signer PUBLIC-KEY`
    Public {
        /// The key
        #[arg(value_name = "KEY", value_hint = ValueHint::FilePath)]
        key: PathBuf,
        #[command(flatten)]
        out: OutArgs,
    },
}

/// A kind of key for tags.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Kind {
    /// EdDSA.
    Ed25519,
    /// ES256.
    P256,
}

#[derive(Debug, Args)]
pub(crate) struct OutArgs {
    /// The new file; without it, stdout
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    out: Option<PathBuf>,
}

impl OutArgs {
    fn write(&self, bytes: &[u8], access: Access) -> Result<(), Failure> {
        match &self.out {
            Some(path) => files::create_all(&[(path.as_path(), bytes, access)]),
            None if access == Access::Secret && io::stdout().is_terminal() => {
                Err(Failure::msg(Code::Usage, "a private key is not shown on a terminal")
                    .help("name a file with --out"))
            }
            None => print_bytes(bytes),
        }
    }
}

pub(crate) fn run(command: &KeyCommand) -> Result<(), Failure> {
    match command {
        KeyCommand::Sgx(SgxCommand::Create { out }) => {
            let key = SgxKey::generate().and_then(|key| key.to_pem());
            out.write(key.or_exit(Code::Failed)?.as_bytes(), Access::Secret)
        }
        KeyCommand::Sgx(SgxCommand::Digest { key, out }) => {
            let digest = hex(&sgx(key)?.mrsigner());
            out.write(format!("{digest}\n").as_bytes(), Access::Public)
        }
        KeyCommand::Sev(SevCommand::Create { out }) => {
            let key = SevKey::generate().and_then(|key| key.to_pem());
            out.write(key.or_exit(Code::Failed)?.as_bytes(), Access::Secret)
        }
        KeyCommand::Sev(SevCommand::Digest { key, out }) => {
            let digest = hex(&sev(key)?.digest());
            out.write(format!("{digest}\n").as_bytes(), Access::Public)
        }
        KeyCommand::Sev(SevCommand::Sign { author_key, id_key, out }) => {
            let blob = sign_id_key(&sev(author_key)?, &sev(id_key)?).or_exit(Code::Failed)?;
            out.write(&blob, Access::Public)
        }
        KeyCommand::Tag(TagCommand::Create { kind, out }) => {
            let kind = match kind {
                Kind::Ed25519 => KeyKind::Ed25519,
                Kind::P256 => KeyKind::P256,
            };
            let pem = SigningKey::generate(kind).and_then(|key| key.to_pem());
            out.write(pem.or_exit(Code::Failed)?.as_bytes(), Access::Secret)
        }
        KeyCommand::Tag(TagCommand::Public { key, out }) => {
            let key = SigningKey::from_pem(&files::read_secret_text(key)?)
                .or_exit_with(Code::Input, || format!("{} is no key for tags", key.display()))?;
            out.write(key.public_key().to_pem().as_bytes(), Access::Public)
        }
    }
}

pub(crate) fn sgx(path: &Path) -> Result<SgxKey, Failure> {
    SgxKey::from_pem(&files::read_secret_text(path)?)
        .or_exit_with(Code::Input, || format!("{} is no key for SGX", path.display()))
}

pub(crate) fn sev(path: &Path) -> Result<SevKey, Failure> {
    SevKey::from_pem(&files::read_secret_text(path)?)
        .or_exit_with(Code::Input, || format!("{} is no key for SEV-SNP", path.display()))
}
