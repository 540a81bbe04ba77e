// SPDX-License-Identifier: Apache-2.0

//! Logging to stderr, for those who ask for it.
//!
//! Without a filter nothing is set up: what a user has to know is said as an error or a warning,
//! and a log is for whoever looks into this program. Secrets are never logged.

use anyhow::anyhow;
use tracing_subscriber::EnvFilter;

use crate::exit::{Code, Failure};

/// Starts logging if there is a filter.
pub(crate) fn start(filter: Option<&str>) -> Result<(), Failure> {
    let Some(filter) = filter.filter(|filter| !filter.is_empty()) else { return Ok(()) };
    let parsed = EnvFilter::builder().parse(filter).map_err(|error| {
        let error = anyhow!(error).context(format!("`{filter}` is not a log filter"));
        Failure::new(Code::Usage, error)
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    Ok(())
}
