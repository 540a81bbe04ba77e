// SPDX-License-Identifier: Apache-2.0

//! What the libraries have to say goes to stderr.
//!
//! Without a filter these are warnings, and they look like those of this program. With one it is a
//! log, for whoever looks into the program. Secrets are never logged.

use std::fmt;
use std::io;

use anyhow::anyhow;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::cli::Command;
use crate::exit::{Code, Failure, Style};

/// Starts logging.
pub(crate) fn start(filter: Option<&str>, command: &Command) -> Result<(), Failure> {
    let Some(filter) = filter.filter(|filter| !filter.is_empty()) else {
        let level = match command {
            Command::Run(args) if args.quiet => LevelFilter::ERROR,
            _ => LevelFilter::WARN,
        };
        tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(io::stderr)
            .with_ansi(false)
            .event_format(Plain)
            .init();
        return Ok(());
    };
    let parsed = EnvFilter::builder().parse(filter).map_err(|error| {
        let error = anyhow!(error).context(format!("`{filter}` is not a log filter"));
        Failure::new(Code::Usage, error)
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(io::stderr)
        .with_ansi(Style::stderr().is_coloured())
        .init();
    Ok(())
}

/// An event as a warning of this program.
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
