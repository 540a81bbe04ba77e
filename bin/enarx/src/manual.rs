// SPDX-License-Identifier: Apache-2.0

//! `enarx completions` and `enarx man`, both made from the definition of the command line.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::Cli;
use crate::exit::{Code, Failure, OrExit};

pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "enarx", &mut script);
    print_bytes(&script)
}

pub(crate) fn pages(dir: Option<&Path>) -> Result<(), Failure> {
    if let Some(dir) = dir {
        std::fs::create_dir_all(dir)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), dir))
            .or_exit_with(Code::Input, || format!("cannot write into {}", dir.display()))?;
        return Ok(());
    }
    let mut page = Vec::new();
    Man::new(Cli::command()).render(&mut page).context("cannot make the manual page")?;
    print_bytes(&page)
}

/// Writes to stdout; whoever stops reading has read enough.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to stdout")?
        }
        _ => Ok(()),
    }
}
