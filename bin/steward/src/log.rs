// SPDX-License-Identifier: Apache-2.0

//! The log, on stderr.
//!
//! The service tells what it does at the level `info`; the other commands only warn. No request, key,
//! token or address of a client is ever logged, at no level of this program's own events.

use std::io;

use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;
use crate::exit::{self, Code, Failure, OrExit, Style};

/// Starts logging.
pub(crate) fn start(
    filter: Option<&str>,
    format: LogFormat,
    is_service: bool,
) -> Result<(), Failure> {
    let general = std::env::var("RUST_LOG").ok();
    let filter = filter
        .or(general.as_deref())
        .filter(|filter| !filter.is_empty())
        .unwrap_or(if is_service { "info" } else { "warn" });
    let filter = EnvFilter::builder()
        .parse(filter)
        .or_exit(Code::Usage, || format!("`{filter}` is not a log filter"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(Style::stderr().is_coloured()).init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).init(),
    }
    if is_service {
        exit::warn_in_log();
    }
    Ok(())
}
