// SPDX-License-Identifier: Apache-2.0

//! Engines, turns and figures of the benchmark.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::Outcome;
use crate::{Result, host, process};

/// Longest time of one run.
pub(super) const LIMIT: Duration = Duration::from_secs(900);

/// Something that runs WASI programs.
pub(super) struct Engine {
    /// As it stands at the head of a column.
    pub(super) name: String,
    /// Whether it is `enarx`.
    pub(super) is_keep: bool,
    program: PathBuf,
    backend: String,
}

impl Engine {
    /// The Wasmtime command line.
    pub(super) fn reference(program: PathBuf) -> Result<Self> {
        let version = host::output(Command::new(&program).arg("--version"))?;
        let name = version.split(" (").next().unwrap_or("wasmtime").to_owned();
        if !name.starts_with("wasmtime 48.") {
            return Err(format!("{name} is of another major version than Enarx's").into());
        }
        Ok(Self { name, is_keep: false, program, backend: String::new() })
    }

    /// `enarx` with one of its backends.
    pub(super) fn keep(program: &Path, backend: &str) -> Self {
        let (name, backend) = (backend.to_owned(), backend.to_owned());
        Self { name, is_keep: true, program: program.into(), backend }
    }

    /// Runs a module with the engine's cache.
    pub(super) fn command(&self, module: &Path, args: &[&str]) -> Command {
        self.with(&[], &[], module, args)
    }

    /// Runs a module without any cache.
    pub(super) fn cold(&self, module: &Path, args: &[&str]) -> Command {
        self.with(&["--no-cache"], &["-Ccache=n"], module, args)
    }

    fn with(&self, keep: &[&str], reference: &[&str], module: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("run");
        if self.is_keep {
            command.args(["--quiet", "--backend", &self.backend]).args(keep).arg(module);
            if !args.is_empty() {
                command.arg("--");
            }
        } else {
            command.args(reference).arg(module);
        }
        command.args(args);
        command
    }

    /// Compiles on one thread only.
    pub(super) fn one_thread(&self, mut command: Command) -> Command {
        // Wasmtime's compiler asks rayon.
        command.env("RAYON_NUM_THREADS", "1");
        if self.is_keep {
            // It has as many threads as the host agent may use CPUs.
            let mut one = Command::new("taskset");
            one.args(["--cpu-list", "0"]).arg(command.get_program()).args(command.get_args());
            return one;
        }
        command
    }

    /// Bytes of the runtime Keep's image, in MiB.
    pub(super) fn image(&self) -> Result<f64> {
        let mut measure = Command::new(&self.program);
        let text = host::output(measure.args(["measure", "--json", "--backend", &self.backend]))?;
        let value: serde_json::Value = serde_json::from_str(&text)?;
        let size = find_size(&value).ok_or("`enarx measure` names no size of the runtime")?;
        Ok(size as f64 / f64::from(1 << 20))
    }
}

/// The `size` next to `"program": "runtime"`, wherever it stands.
fn find_size(value: &serde_json::Value) -> Option<u64> {
    if value["program"] == "runtime" {
        return value["size"].as_u64();
    }
    match value {
        serde_json::Value::Array(all) => all.iter().find_map(find_size),
        serde_json::Value::Object(all) => all.values().find_map(find_size),
        _ => None,
    }
}

/// Measures each engine `rounds` times, in turn, each round starting with another; the medians.
pub(super) fn in_turn(
    engines: &[Engine],
    rounds: usize,
    mut measure: impl FnMut(&Engine) -> Result<f64>,
) -> Result<Vec<f64>> {
    let mut figures = vec![Vec::new(); engines.len()];
    for round in 0..rounds.max(1) {
        for turn in 0..engines.len() {
            let at = (round + turn) % engines.len();
            let figure = measure(&engines[at]).map_err(|e| format!("{}: {e}", engines[at].name))?;
            figures[at].push(figure);
        }
    }
    Ok(figures.iter_mut().map(|all| median(all)).collect())
}

/// Median wall times in seconds, after `warm` runs that do not count.
pub(super) fn wall(
    engines: &[Engine],
    rounds: usize,
    warm: usize,
    command: impl Fn(&Engine) -> Command,
) -> Result<Vec<f64>> {
    for engine in engines {
        for _ in 0..warm {
            silent(&mut command(engine)).map_err(|e| format!("{}: {e}", engine.name))?;
        }
    }
    in_turn(engines, rounds, |engine| Ok(silent(&mut command(engine))?.wall.as_secs_f64()))
}

/// Runs to a good end without looking at the output.
pub(super) fn silent(command: &mut Command) -> Result<Outcome> {
    process::run_plain(command.stdout(Stdio::null()).stderr(Stdio::null()), LIMIT)?.good()
}

/// Runs to a good end, reading all output from a pipe and forgetting it.
pub(super) fn drained(command: &mut Command) -> Result<Outcome> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let start = Instant::now();
    let mut child = process::spawn(command)?;
    let mut stdout = child.stdout.take().ok_or("no pipe")?;
    let reader = std::thread::spawn(move || -> std::io::Result<()> {
        let mut buffer = vec![0; 1 << 18];
        while stdout.read(&mut buffer)? > 0 {}
        Ok(())
    });
    let outcome = process::finish(child, start, LIMIT)?.good()?;
    reader.join().map_err(|_| "the reader failed")??;
    Ok(outcome)
}

/// The number after a word.
pub(super) fn field(text: &str, name: &str) -> Result<f64> {
    let mut words = text.split_whitespace().skip_while(|word| *word != name);
    let value = words.nth(1).ok_or_else(|| format!("no {name} in {text:?}"))?;
    Ok(value.parse()?)
}

fn median(all: &mut [f64]) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The geometric mean.
pub(super) fn geomean(all: &[f64]) -> f64 {
    (all.iter().map(|x| x.ln()).sum::<f64>() / all.len() as f64).exp()
}

/// One paragraph about where this was measured.
pub(super) fn machine(reference: &Engine) -> Result<String> {
    let cpus = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or_default();
    let count = cpus.lines().filter(|l| l.starts_with("processor")).count();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!(
        "{count} CPUs ({}), Linux {}, against {}.",
        model.trim_start_matches(['\t', ' ', ':']).trim(),
        kernel.trim().split('-').next().unwrap_or_default(),
        reference.name
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_by_name() {
        let line = "sort median 13593600 min 13381310 checksum a38b9418af0ab275";
        assert_eq!(field(line, "min").ok(), Some(13_381_310.0));
        assert!(field(line, "p99").is_err());
        assert!(field("min", "min").is_err());
    }

    #[test]
    fn geometric_mean_of_a_double_and_a_half_is_one() {
        assert!((geomean(&[2.0, 0.5]) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_size_is_that_of_the_runtime() {
        let text =
            r#"{"a": [{"program": "compiler", "size": 1}, {"program": "runtime", "size": 2}]}"#;
        assert_eq!(find_size(&serde_json::from_str(text).expect("it is JSON")), Some(2));
    }
}
