// SPDX-License-Identifier: Apache-2.0

//! The log, on stderr.
//!
//! A service tells what it does at the level `info`. A command only warns, and what a library warns
//! of looks like a warning of the command itself, unless somebody asked for a log by a filter. No
//! request, key, token or address of a client is ever logged.

use std::fmt;
use std::io;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::{Codes, Failure, OrExit, Style, output};

/// The form of a service's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// One line per event, for people
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

/// Who logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A command that says errors alone.
    Quiet,
    /// A command: warnings.
    Command,
    /// A service: what it does.
    Service,
}

/// What is logged, and how.
#[derive(Debug, Clone, Copy)]
pub struct Log<'a> {
    /// Directives as `tracing-subscriber` takes them, for example `debug` or `enarx=trace,rustls=warn`;
    /// empty is none. Without them the variable `RUST_LOG` counts for services.
    pub filter: Option<&'a str>,
    /// The form of the log; a command without a filter has none.
    pub format: LogFormat,
    /// Who logs.
    pub kind: Kind,
}

/// Starts logging, once in a process.
///
/// # Errors
///
/// [`Codes::USAGE`] if the filter is none.
pub fn start<C: Codes>(log: Log<'_>) -> Result<(), Failure<C>> {
    let general = match log.kind {
        Kind::Service => std::env::var("RUST_LOG").ok(),
        _ => None,
    };
    let filter = log.filter.filter(|filter| !filter.is_empty()).or(general.as_deref());
    let builder = tracing_subscriber::fmt().with_writer(io::stderr);
    let filter = match (filter.filter(|filter| !filter.is_empty()), log.kind) {
        (Some(filter), _) => filter,
        (None, Kind::Service) => "info",
        (None, kind) => {
            let level = if kind == Kind::Quiet { LevelFilter::ERROR } else { LevelFilter::WARN };
            builder.with_max_level(level).with_ansi(false).event_format(Plain).init();
            return Ok(());
        }
    };
    let filter = EnvFilter::builder()
        .parse(filter)
        .or_exit_with(C::USAGE, || format!("`{filter}` is not a log filter"))?;
    let builder = builder.with_env_filter(filter);
    match log.format {
        LogFormat::Text => builder.with_ansi(Style::stderr().is_coloured()).init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).init(),
    }
    if log.kind == Kind::Service {
        output::warn_in_log();
    }
    Ok(())
}

/// An event as a warning of the program.
struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "{}: ", Style::stderr().yellow("warning"))?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
