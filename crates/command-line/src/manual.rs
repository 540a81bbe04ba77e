// SPDX-License-Identifier: Apache-2.0

//! Completions, manual pages and the reference, all made from the definition of the command line.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueHint};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::{Codes, Failure, OrExit, output};

/// The commands by which a program tells about itself; flattened into its own.
#[derive(Debug, Subcommand)]
pub enum ManualCommand {
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or write all of them into a folder
    Man {
        /// Where the pages go, one for each command
        #[arg(value_hint = ValueHint::DirPath)]
        dir: Option<PathBuf>,
    },
}

impl ManualCommand {
    /// Runs it for the program that `command` describes.
    ///
    /// # Errors
    ///
    /// [`Codes::INPUT`] if the folder cannot be written into; see [`crate::print`].
    pub fn run<C: Codes>(&self, command: clap::Command) -> Result<(), Failure<C>> {
        match self {
            Self::Completions { shell } => completions(command, *shell),
            Self::Man { dir } => pages(command, dir.as_deref()),
        }
    }
}

fn completions<C: Codes>(mut command: clap::Command, shell: Shell) -> Result<(), Failure<C>> {
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, name, &mut script);
    output::print_bytes(&script)
}

fn pages<C: Codes>(command: clap::Command, dir: Option<&Path>) -> Result<(), Failure<C>> {
    if let Some(dir) = dir {
        return std::fs::create_dir_all(dir)
            .and_then(|()| clap_mangen::generate_to(command, dir))
            .or_exit_with(C::INPUT, || format!("cannot write into {}", dir.display()));
    }
    let mut page = Vec::new();
    Man::new(command)
        .render(&mut page)
        .or_exit_with(C::FAILED, || "cannot make the manual page")?;
    output::print_bytes(&page)
}

/// Whether the reference of a program, `NAME-cli.md` in the folder `docs`, is what its help says: for
/// the tests of the program. If the variable `NAME_WRITE_DOCS` is set, the reference is written anew first.
///
/// # Errors
///
/// What to do about it.
pub fn check_reference(command: clap::Command, docs: &Path) -> Result<(), String> {
    let name = command.get_name().to_owned();
    let path = docs.join(format!("{name}-cli.md"));
    let variable = format!("{}_WRITE_DOCS", name.to_uppercase());
    let wanted = reference(command);
    if std::env::var_os(&variable).is_some() {
        std::fs::write(&path, &wanted).map_err(|error| error.to_string())?;
    }
    match std::fs::read_to_string(&path) {
        Ok(found) if found == wanted => Ok(()),
        _ => Err(format!(
            "{} is not what the help says; write it anew with `{variable}=1 cargo test -p {name} reference`",
            path.display()
        )),
    }
}

/// The reference in Markdown: the help of the command and of all below it.
fn reference(mut command: clap::Command) -> String {
    let name = command.get_name().to_owned();
    let mut page = format!(
        "# The `{name}` command\n\nMade from the definition of the command line. What the options are \
         good for, with\nexamples, is in [{name}.md]({name}.md).\n"
    );
    command.build();
    section(&mut page, &command, &name);
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
