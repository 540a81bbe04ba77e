// SPDX-License-Identifier: Apache-2.0

//! `steward completions` and `steward man`, both made from the definition of the command line.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use command_line::manual;

use crate::cli::Cli;
use crate::exit::Failure;

pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    manual::completions(Cli::command(), shell)
}

pub(crate) fn pages(dir: Option<&Path>) -> Result<(), Failure> {
    manual::pages(Cli::command(), dir)
}

// The reference describes the program with all that it can have.
#[cfg(all(test, feature = "pkcs11"))]
mod tests {
    use super::*;

    /// How `docs/steward-cli.md` begins.
    const HEAD: &str = "# The `steward` command\n\n\
                        Made from the definition of the command line. What the options are good \
                        for, with\nexamples, is in [steward.md](steward.md).\n";

    #[test]
    fn the_reference_is_what_the_help_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/steward-cli.md");
        let wanted = manual::reference(Cli::command(), HEAD);
        if std::env::var_os("STEWARD_WRITE_DOCS").is_some() {
            std::fs::write(&path, &wanted).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == wanted,
            "docs/steward-cli.md is not what the help says; write it anew with \
             `STEWARD_WRITE_DOCS=1 cargo test -p steward reference`"
        );
    }
}
