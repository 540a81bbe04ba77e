// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask deploy`: what a deployment takes beside a plain run of the same module.
//!
//! Measured from the start of the command to the first byte that the workload writes, since that byte is the
//! only sign of it that `enarx run` and `enarx deploy` both give. All that it talks to is up and on
//! loopback: a Steward and a Drawbridge of `enarx dev up`, in a home of their own. The commands take turns, so
//! that a machine that slows down slows all of them; what counts is the difference of medians.
//!
//! A package with native code of its own is held against `enarx run` from a warm cache: nobody compiles. A
//! package without is held against `enarx run --no-cache`: both compile.
//!
//! Options: `--backend NAME,…`, `--quick`, `--write FILE`.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Result, guests, host};

/// More than it may take above `enarx run`.
const BAR: Duration = Duration::from_millis(250);
/// What the guest writes.
const SAYS: &str = "Hello from Rust!\n";
const CONFIG: &str = "files = [{ kind = \"null\" }, { kind = \"stdout\" }, { kind = \"stderr\" }]\n\n\
                      [compiler]\nallow_development = true\n";

pub(crate) fn main(args: &[String]) -> Result {
    guests::main(&[])?;
    let enarx = host::enarx()?;
    let backends = match host::option(args, "--backend")? {
        Some(names) => names.split(',').map(str::to_owned).collect(),
        None => host::backends(&enarx)?,
    };
    let rounds = if args.iter().any(|arg| arg == "--quick") { 3 } else { 21 };
    let mut text = format!(
        "Medians of {rounds} runs each, in milliseconds, from the command to the first byte that the \
         workload writes.\n\n\
         | backend | native code | `enarx run` | `enarx deploy` | more | bar | result |\n\
         |---|---|---|---|---|---|---|\n"
    );
    let mut steps = String::new();
    for backend in &backends {
        let stage = Stage::new(&enarx, backend)?;
        eprintln!("deploy: {backend}");
        let found = stage.measure(rounds)?;
        for (what, [run, deploy]) in [("in the package", found.ready), ("made anew", found.made)] {
            let more = deploy - run;
            let result = if more <= millis(BAR) { "met" } else { "**missed**" };
            text += &format!(
                "| `{backend}` | {what} | {run:.1} | {deploy:.1} | {more:.1} | ≤ {} | {result} |\n",
                BAR.as_millis()
            );
        }
        let ends: Vec<String> =
            found.steps.iter().map(|(step, at)| format!("{step}: {at:.1}")).collect();
        steps += &format!("| `{backend}` | {} |\n", ends.join(", "));
    }
    text += &format!(
        "\nWhen each step of [the flow](flow.md) was complete, with native code in the package; the workload \
         starts with step 13:\n\n| backend | step: ms |\n|---|---|\n{steps}"
    );
    println!("{text}");
    if let Some(file) = host::option(args, "--write")? {
        host::replace_block(Path::new(file), "deploy", &text)?;
    }
    Ok(())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Medians in milliseconds, of `run` and `deploy`.
struct Found {
    ready: [f64; 2],
    made: [f64; 2],
    steps: BTreeMap<u64, f64>,
}

/// Services, and two packages that are published there.
struct Stage {
    enarx: PathBuf,
    backend: String,
    folder: PathBuf,
    /// What `dev up --json` says.
    services: Value,
}

impl Stage {
    fn new(enarx: &Path, backend: &str) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("enarx-deploy-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let mut stage = Self {
            enarx: enarx.to_owned(),
            backend: backend.to_owned(),
            folder,
            services: Value::Null,
        };
        let up = host::output(stage.command().args(["dev", "up", "--json"]))?;
        stage.services = serde_json::from_str(&up)?;
        let module = std::fs::read(guests::out().join("hello.wasm"))?;
        for name in ["ready", "plain"] {
            let package = stage.folder.join(name);
            std::fs::create_dir_all(&package)?;
            std::fs::write(package.join("main.wasm"), &module)?;
            std::fs::write(package.join("Enarx.toml"), CONFIG)?;
        }
        stage.do_it(&["package", "compile", "--backend", backend, &stage.path("ready")])?;
        stage.do_it(&["user", "login"])?;
        stage.do_it(&["user", "register", "alice"])?;
        let (steward, root) = (stage.text("steward")?, stage.text("steward_ca")?);
        let release = ["--allow-development", "--steward", &steward, "--steward-ca", &root];
        for name in ["ready", "plain"] {
            let repository = format!("alice/{name}");
            stage.do_it(&[&["repo", "register", &repository], &release[..]].concat())?;
            let tag = format!("{repository}:1.0.0");
            stage.do_it(&["package", "publish", &tag, &stage.path(name)])?;
        }
        Ok(stage)
    }

    /// In a home of its own, with nothing that the caller's environment says.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.enarx);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ENARX_") {
                command.env_remove(name);
            }
        }
        for (name, folder) in [
            ("HOME", ""),
            ("XDG_CACHE_HOME", "cache"),
            ("XDG_DATA_HOME", "data"),
            ("XDG_STATE_HOME", "state"),
        ] {
            command.env(name, self.folder.join(folder));
        }
        command.env_remove("DBUS_SESSION_BUS_ADDRESS");
        for (variable, name) in [
            ("ENARX_DRAWBRIDGE", "drawbridge"),
            ("ENARX_CA_BUNDLE", "ca_bundle"),
            ("ENARX_OIDC_DOMAIN", "issuer"),
        ] {
            if let Some(value) = self.services[name].as_str() {
                command.env(variable, value);
            }
        }
        command
    }

    fn text(&self, name: &str) -> Result<String> {
        Ok(self.services[name].as_str().ok_or("`dev up` said less than it should")?.to_owned())
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn do_it(&self, args: &[&str]) -> Result {
        host::output(self.command().args(args)).map(drop)
    }

    fn run(&self, more: &[&str]) -> Command {
        let mut command = self.command();
        command.args(["run", "--quiet", "--backend", &self.backend]).args(more);
        let folder = self.folder.join("plain");
        command.arg("--config").arg(folder.join("Enarx.toml")).arg(folder.join("main.wasm"));
        command
    }

    fn deploy(&self, name: &str) -> Result<Command> {
        let mut command = self.command();
        command.args(["deploy", "--json", "--backend", &self.backend, "--steward-ca"]);
        command.arg(self.text("steward_ca")?).arg(format!("alice/{name}:1.0.0"));
        Ok(command)
    }

    fn measure(&self, rounds: usize) -> Result<Found> {
        let mut times: [Vec<f64>; 4] = Default::default();
        let mut steps: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        // What the first rounds leave in caches of all kinds is the same for all.
        for round in 0..rounds + 2 {
            let commands = [
                self.run(&[]),
                self.deploy("ready")?,
                self.run(&["--no-cache"]),
                self.deploy("plain")?,
            ];
            for (index, (mut command, times)) in commands.into_iter().zip(&mut times).enumerate() {
                let (time, said) = first_byte(&mut command)?;
                if round < 2 {
                    continue;
                }
                times.push(millis(time));
                for line in said.lines().filter(|_| index == 1) {
                    let line: Value = serde_json::from_str(line).unwrap_or_default();
                    if let (Some(step), Some(ms)) = (line["step"].as_u64(), line["ms"].as_f64()) {
                        steps.entry(step).or_default().push(ms);
                    }
                }
            }
        }
        let [run, ready, compiled, made] = times.map(median);
        Ok(Found {
            ready: [run, ready],
            made: [compiled, made],
            steps: steps.into_iter().map(|(step, times)| (step, median(times))).collect(),
        })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What is left here is in nobody's way.
        let _ = self.do_it(&["dev", "down"]);
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// How long it took until the first byte, and what was said on stderr.
fn first_byte(command: &mut Command) -> Result<(Duration, String)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let start = Instant::now();
    let mut child = command.spawn()?;
    let mut stdout = child.stdout.take().ok_or("no pipe")?;
    let mut first = [0];
    let count = stdout.read(&mut first)?;
    let time = start.elapsed();
    let mut text = String::from_utf8_lossy(&first[..count]).into_owned();
    stdout.read_to_string(&mut text)?;
    let out = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    if !out.status.success() || text != SAYS {
        return Err(format!("{}: it wrote {text:?}\n{said}", out.status).into());
    }
    Ok((time, said))
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}
