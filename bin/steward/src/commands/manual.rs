// SPDX-License-Identifier: Apache-2.0

//! `steward completions` and `steward man`, both made from the definition of the command line.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::Cli;
use crate::exit::{Code, Failure, OrExit, print};

pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "steward", &mut script);
    print(&String::from_utf8_lossy(&script))
}

pub(crate) fn pages(dir: Option<&Path>) -> Result<(), Failure> {
    if let Some(dir) = dir {
        return std::fs::create_dir_all(dir)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), dir))
            .or_exit(Code::Input, || format!("cannot write into {}", dir.display()));
    }
    let mut page = Vec::new();
    Man::new(Cli::command())
        .render(&mut page)
        .or_exit(Code::Failed, || "cannot make the manual page")?;
    print(&String::from_utf8_lossy(&page))
}

// The reference describes the program with all that it can have.
#[cfg(all(test, feature = "pkcs11"))]
mod tests {
    use std::fmt::Write;

    use super::*;

    /// `docs/steward-cli.md`, as it has to be.
    fn reference() -> String {
        let mut page = String::from(
            "# The `steward` command\n\n\
             Made from the definition of the command line. What the options are good for, with\n\
             examples, is in [steward.md](steward.md).\n",
        );
        let mut root = Cli::command();
        root.build();
        section(&mut page, &root, "steward");
        page
    }

    fn section(page: &mut String, command: &clap::Command, name: &str) {
        // Help depends on the terminal's width and on the environment, so neither may play a part.
        let help = command.clone().term_width(98).hide_possible_values(false).render_long_help();
        let help = help.to_string();
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        let _ = write!(page, "\n## `{name}`\n\n```text\n{}\n```\n", lines.join("\n").trim_end());
        for child in command.get_subcommands() {
            section(page, child, &format!("{name} {}", child.get_name()));
        }
    }

    #[test]
    fn the_reference_is_what_the_help_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/steward-cli.md");
        let wanted = reference();
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
