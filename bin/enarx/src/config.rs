// SPDX-License-Identifier: Apache-2.0

//! `enarx config`: write, check and describe configurations.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, anyhow};
use command_line::{OrExit, print, warn};
use enarx_config::{Config, LoadError, TEMPLATE, schema};

use crate::cli::ConfigCommand;
use crate::exit::{Code, Failure};

pub(crate) fn run(command: &ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Init { path } => init(path),
        ConfigCommand::Check { path } => {
            let config = load(path)?;
            config.notes().into_iter().for_each(warn);
            print(&format!("{} is valid\n", path.display()))
        }
        ConfigCommand::Schema => {
            let text =
                serde_json::to_string_pretty(&schema()).context("cannot write the schema")?;
            print(&(text + "\n"))
        }
    }
}

/// Reads a configuration, or says all that is wrong with it.
pub(crate) fn load(path: &Path) -> Result<Config, Failure> {
    Config::load(path).map_err(|error| match error {
        LoadError::Config(faults) => {
            let summary = format!("{} is not a valid configuration", path.display());
            Failure::with_details(Code::Input, summary, &faults.to_string())
        }
        error => Failure::new(Code::Input, error),
    })
}

fn init(path: &Path) -> Result<(), Failure> {
    let mut file = match OpenOptions::new().write(true).create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let error = anyhow!("{} exists already and is left as it is", path.display());
            return Err(Failure::new(Code::Input, error));
        }
        other => other.or_exit_with(Code::Input, || format!("cannot create {}", path.display()))?,
    };
    file.write_all(TEMPLATE.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    print(&format!("wrote {}\n", path.display()))
}
