// SPDX-License-Identifier: Apache-2.0

//! What both vendors' commands share: where the cache is, how a service is asked, what is shown of a cache.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueHint};
use command_line::{OrExit, Style, files, print, print_json};
use evidence_claims::Time;
use evidence_crypto::{AwsLc, Crypto};
use keep_backend::Datum;
use serde_json::{Value, json};
use vendor_fetch::{Cache, Event, FetchError, Fetcher, Observer, Patience, Url};

use crate::dirs;
use crate::exit::{Code, Failure};
use crate::login::block_on;
use crate::units;

/// Where a cache is.
#[derive(Debug, Args)]
#[command(next_help_heading = "Cache")]
pub(super) struct CacheArgs {
    /// The folder of the caches; without it `enarx` in your own cache folder
    #[arg(
        long = "cache",
        env = "ENARX_PLATFORM_CACHE",
        value_name = "DIR",
        hide_env_values = true
    )]
    #[arg(value_hint = ValueHint::DirPath)]
    folder: Option<PathBuf>,

    /// The caches of the whole machine, in /var/cache
    #[arg(long, conflicts_with = "folder")]
    system: bool,
}

impl CacheArgs {
    /// As without options: by the environment.
    pub(super) fn by_environment() -> Self {
        Self { folder: std::env::var_os("ENARX_PLATFORM_CACHE").map(PathBuf::from), system: false }
    }

    /// The cache of that name, to be changed.
    pub(super) fn cache(&self, name: &str) -> Result<Cache, Failure> {
        let base = match &self.folder {
            _ if self.system => PathBuf::from(SYSTEM),
            Some(folder) => folder.clone(),
            None => dirs::cache()?,
        };
        Ok(Cache::new(base.join(name)))
    }

    /// The caches of that name in which something may be found: the one that was named, or your own and
    /// that of the machine.
    pub(super) fn caches(&self, name: &str) -> Result<Vec<Cache>, Failure> {
        let mut caches = vec![self.cache(name)?];
        if self.folder.is_none() && !self.system {
            caches.push(Cache::new(Path::new(SYSTEM).join(name)));
        }
        Ok(caches)
    }
}

/// Where the caches of the whole machine are.
const SYSTEM: &str = "/var/cache";

/// How a service is asked.
#[derive(Debug, Args)]
#[command(next_help_heading = "Service")]
pub(super) struct ServiceArgs {
    /// Further root certificates for TLS, PEM or DER. What the service answers is held against the
    /// vendor's root in any case
    #[arg(long, env = "ENARX_CA_BUNDLE", value_name = "FILE", hide_env_values = true)]
    #[arg(value_hint = ValueHint::FilePath)]
    ca_bundle: Option<PathBuf>,

    /// How often something is asked before it is given up
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100))]
    attempts: u32,

    /// Longest time for everything, for example 30s or 5m
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = units::duration)]
    timeout: Duration,

    /// Show what is asked
    #[arg(long, short)]
    verbose: bool,
}

impl ServiceArgs {
    /// Who asks the service at a URL.
    pub(super) fn fetcher(&self, url: &Url) -> Result<Fetcher, Failure> {
        let roots = match &self.ca_bundle {
            Some(path) => files::read_certificates(path)?,
            None => Vec::new(),
        };
        let patience = Patience {
            attempts: self.attempts,
            longest_pause: Patience::default().longest_pause.min(self.timeout),
            timeout: Patience::default().timeout.min(self.timeout),
            ..Patience::default()
        };
        let fetcher = Fetcher::new(url, &roots, patience).map_err(|error| {
            let code = if matches!(error, FetchError::Url(_)) { Code::Usage } else { Code::Failed };
            Failure::new(code, error)
        })?;
        Ok(fetcher.observed(self.observer()))
    }

    /// Pauses are always told, because nothing seems to happen then; requests where somebody looks on.
    fn observer(&self) -> Observer {
        let verbose = self.verbose || io::stderr().is_terminal();
        Arc::new(move |event| {
            let style = Style::stderr();
            let line = match event {
                Event::Asking { url, attempt } if verbose => {
                    let again = if attempt > 1 { " again" } else { "" };
                    let mut url = url.clone();
                    // A query names the platform, at length.
                    url.set_query(None);
                    format!("{} {url}{again}", style.bold("asking"))
                }
                Event::Waiting { why, pause } => {
                    let seconds = pause.as_secs_f32();
                    format!("{}: {why}; asking again in {seconds:.1} s", style.yellow("waiting"))
                }
                Event::Asking { .. } => return,
            };
            // Whoever closed stderr does not want to know.
            let _ = writeln!(io::stderr(), "{line}");
        })
    }

    /// Runs what waits for a service, and not forever.
    pub(super) fn run<T, E: Into<Failure>>(
        &self,
        task: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure> {
        match block_on(async { tokio::time::timeout(self.timeout, task).await })? {
            Ok(done) => done.map_err(Into::into),
            Err(_) => Err(Failure::msg(
                Code::Failed,
                format_args!("nothing came of it within {:?}", self.timeout),
            )
            .help("the cache is as it was; --timeout gives it more time")),
        }
    }
}

/// A file of a cache, as it is shown.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) what: String,
    pub(super) age: Option<Duration>,
    pub(super) valid_until: Option<Time>,
    pub(super) note: Option<String>,
    pub(super) problem: Option<String>,
}

/// A cache that cannot be read.
pub(super) fn unreadable(error: &dyn std::error::Error) -> Row {
    let mut problem = error.to_string();
    let mut cause = error.source();
    while let Some(one) = cause {
        problem += &format!(": {one}");
        cause = one.source();
    }
    Row {
        name: "current".into(),
        what: "cannot be read".into(),
        age: None,
        valid_until: None,
        note: None,
        problem: Some(problem),
    }
}

/// What caches hold, in one line; what to run if that is not enough.
pub(super) fn summary(name: &str, rows: &[Row], command: &str) -> Datum {
    let good: Vec<&Row> = rows.iter().filter(|row| row.problem.is_none()).collect();
    let oldest = good.iter().filter_map(|row| row.age).max();
    let until = good.iter().filter_map(|row| row.valid_until).min();
    let info = match (good.len(), rows.len(), oldest, until) {
        (0, 0, ..) => format!("none; `{command}` fetches them"),
        (0, ..) => format!("none is good; `{command}` fetches them anew"),
        (good, all, Some(oldest), Some(until)) => {
            format!(
                "{good} of {all} good, the oldest fetched {} ago, good until {until}",
                ago(oldest)
            )
        }
        (good, all, ..) => format!("{good} of {all} good"),
    };
    Datum::pass(name, info)
}

/// Shows what is in a cache now.
pub(super) fn show(cache: &Cache, rows: &[Row], json: bool) -> Result<(), Failure> {
    match json {
        true => print_json(&as_json(cache, rows)),
        false => print(&as_text(cache, rows)),
    }
}

pub(super) fn as_json(cache: &Cache, rows: &[Row]) -> Value {
    let row = |row: &Row| {
        json!({
            "name": row.name,
            "what": row.what,
            "age_seconds": row.age.map(|age| age.as_secs()),
            "valid_until": row.valid_until.map(|time| time.to_string()),
            "note": row.note,
            "problem": row.problem,
        })
    };
    json!({
        "folder": cache.folder(),
        "collateral": cache.path(vendor_kds::COLLATERAL),
        "files": rows.iter().map(row).collect::<Vec<_>>(),
    })
}

pub(super) fn as_text(cache: &Cache, rows: &[Row]) -> String {
    let style = Style::stdout();
    let mut text = format!("{}\n", style.bold(&cache.folder().display().to_string()));
    if rows.is_empty() {
        text += "  nothing\n";
    }
    for row in rows {
        let mark = match row.problem {
            None => style.green("ok  "),
            Some(_) => style.red("FAIL"),
        };
        let name = shortened(&row.name);
        text += &format!("  {mark}  {name}: {}", row.what);
        if let Some(age) = row.age {
            text += &format!(", fetched {} ago", ago(age));
        }
        if let Some(until) = row.valid_until {
            text += &format!(", good until {until}");
        }
        if let Some(note) = &row.note {
            text += &format!(", {note}");
        }
        text.push('\n');
        if let Some(problem) = &row.problem {
            text += &format!("        → {problem}\n");
        }
    }
    text
}

/// A chip's id has 128 digits, which nobody reads.
fn shortened(name: &str) -> String {
    let mut text = String::new();
    for (number, part) in name.split('-').enumerate() {
        if number > 0 {
            text.push('-');
        }
        match part.get(..12) {
            Some(start) if part.len() > 64 => text += &format!("{start}…"),
            _ => text += part,
        }
    }
    text
}

/// A time that has passed, in its largest unit.
pub(super) fn ago(age: Duration) -> String {
    let seconds = age.as_secs();
    let (count, unit) = match seconds {
        0..=119 => (seconds, "second"),
        120..=7_199 => (seconds / 60, "minute"),
        7_200..=172_799 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{s}")
}

pub(super) fn crypto() -> Arc<dyn Crypto> {
    Arc::new(AwsLc)
}

pub(super) fn now() -> Time {
    steward_service::clock::now()
}

/// A URL of an option.
pub(super) fn url(text: &str) -> Result<Url, String> {
    Url::parse(text).map_err(|error| format!("not a URL: {error}"))
}

/// Writes what was fetched where somebody wants it: into a file that is not there yet, or to stdout.
pub(super) fn write_out(file: Option<&Path>, bytes: &[u8]) -> Result<(), Failure> {
    match file {
        Some(path) => files::create_all(&[(path, bytes, files::Access::Public)]),
        None if io::stdout().is_terminal() && std::str::from_utf8(bytes).is_err() => {
            Err(Failure::msg(Code::Usage, "a certificate in DER is nothing for a terminal")
                .help("--file names a file, --pem prints text"))
        }
        None => command_line::print_bytes(bytes),
    }
}

/// Hexadecimal digits of an option.
pub(super) fn unhex(text: &str) -> Result<Vec<u8>, String> {
    command_line::unhex(text).ok_or_else(|| "not hexadecimal digits".into())
}

/// A file that was named, as bytes.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    files::read(path).map(|bytes| bytes.to_vec())
}

/// That a file is not what it ought to be.
pub(super) fn input<T, E: Into<anyhow::Error>>(
    path: &Path,
    result: Result<T, E>,
) -> Result<T, Failure> {
    result.or_exit_with(Code::Input, || format!("cannot use {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_in_one_unit() {
        for (seconds, text) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (7_200, "2 hours"),
            (172_800, "2 days"),
        ] {
            assert_eq!(ago(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_cache_is_told_in_one_line() {
        let row = |age: u64, problem: Option<&str>| Row {
            name: "x".into(),
            what: "list".into(),
            age: Some(Duration::from_secs(age)),
            valid_until: problem.is_none().then(|| Time::from_unix(age)),
            note: None,
            problem: problem.map(str::to_owned),
        };
        let info = |rows: &[Row]| summary("A", rows, "fetch").info.unwrap();
        assert_eq!(info(&[]), "none; `fetch` fetches them");
        assert_eq!(info(&[row(1, Some("old"))]), "none is good; `fetch` fetches them anew");
        assert_eq!(
            info(&[row(200, None), row(86_400, None), row(999_999, Some("old"))]),
            "2 of 3 good, the oldest fetched 24 hours ago, good until 1970-01-01T00:03:20Z"
        );
    }

    #[test]
    fn names_are_short_enough_to_read() {
        let name = format!("vek/vcek-{}-03-00.der", "ab".repeat(64));
        assert_eq!(shortened(&name), "vek/vcek-abababababab…-03-00.der");
        assert_eq!(shortened("collateral/pck-platform.crl"), "collateral/pck-platform.crl");
    }
}
