// SPDX-License-Identifier: Apache-2.0

//! To be written.

use crate::cli::DevelopmentCommand;
use crate::exit::Failure;

pub(crate) fn run(_command: &DevelopmentCommand) -> Result<(), Failure> {
    Ok(())
}
