// SPDX-License-Identifier: Apache-2.0

//! Completions, manual pages and the reference, all made from the definition of the command line.

use std::fmt::Write;
use std::path::Path;

use clap_complete::Shell;
use clap_mangen::Man;

use crate::{Codes, Failure, OrExit, output};

/// Prints the completion script for a shell.
///
/// # Errors
///
/// See [`crate::print`].
pub fn completions<C: Codes>(mut command: clap::Command, shell: Shell) -> Result<(), Failure<C>> {
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, name, &mut script);
    output::print_bytes(&script)
}

/// Prints the manual page, or writes all of them into a folder, one for each command.
///
/// # Errors
///
/// [`Codes::INPUT`] if the folder cannot be written into; see [`crate::print`].
pub fn pages<C: Codes>(command: clap::Command, dir: Option<&Path>) -> Result<(), Failure<C>> {
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

/// The reference in Markdown: `head`, and the help of the command and of all below it.
pub fn reference(mut command: clap::Command, head: &str) -> String {
    let mut page = String::from(head);
    let name = command.get_name().to_owned();
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
