// SPDX-License-Identifier: Apache-2.0

//! `enarx sign`: signatures over the image of a Keep, for hardware that demands them.
//!
//! Keys and signatures are checked in full. What is signed, the measurement of the image, is the business of
//! the backends for that hardware; without them there is nothing to sign, and this command says so.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use command_line::{OrExit, files};
use launch_keys::check_id_key_signature;

use crate::exit::{Code, Failure};
use crate::key::{sev, sgx};

/// Sign the image of the Keeps of this program for SGX and SEV-SNP
#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// The key for SGX
    #[arg(long, value_name = "KEY", value_hint = ValueHint::FilePath)]
    sgx_key: PathBuf,

    /// The ID key for SEV-SNP
    #[arg(long, value_name = "KEY", value_hint = ValueHint::FilePath)]
    sev_id_key: PathBuf,

    /// The author's signature over the ID key, of `enarx key sev sign`
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    sev_id_key_signature: PathBuf,

    /// The new file; without it, stdout
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    out: Option<PathBuf>,
}

pub(crate) fn run(args: &SignArgs) -> Result<(), Failure> {
    sgx(&args.sgx_key)?;
    let id = sev(&args.sev_id_key)?;
    let path = &args.sev_id_key_signature;
    check_id_key_signature(&files::read(path)?, &id)
        .or_exit_with(Code::Input, || format!("{} does not fit the ID key", path.display()))?;
    let target = args.out.as_ref().map_or("stdout".into(), |path| path.display().to_string());
    Err(Failure::msg(
        Code::Backend,
        format_args!("there is nothing to sign, and nothing was written to {target}"),
    )
    .context("this version of Enarx has no backend for SGX or SEV-SNP")
    .help("the keys and the signature over the ID key are good; keep them"))
}
