// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask soak`: what takes too long or too much for an ordinary test run.
//!
//! A gibibyte through a Keep and back, two gibibytes touched inside of one, a thousand Keeps one
//! after another and eight at once, signals to busy Keeps, ten minutes of clients of all kinds; and after
//! each that no process, VM, temporary file or memory is left behind. Options: `--backends nil,kvm`,
//! `--only NAME,…` (see the table below), `--keeps N`, `--seconds N` of load.

mod load;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Result, guests, host, process};

const LIMIT: Duration = Duration::from_secs(300);

pub(crate) fn main(args: &[String]) -> Result {
    guests::main(&[])?;
    process::adopt_orphans();
    let enarx = host::enarx()?;
    let backends = match host::option(args, "--backends")? {
        Some(names) => names.split(',').map(str::to_owned).collect(),
        None => host::backends(&enarx)?,
    };
    let keeps = host::option(args, "--keeps")?.map_or(Ok(1000), str::parse)?;
    let seconds = host::option(args, "--seconds")?.map_or(Ok(600), str::parse)?;
    let only = host::option(args, "--only")?;
    let temporary = std::env::temp_dir().join(format!("enarx-soak-{}", std::process::id()));
    std::fs::create_dir_all(&temporary)?;
    let mut failures = 0;
    for backend in backends {
        let (enarx, temporary) = (enarx.clone(), temporary.clone());
        let soak = Soak { enarx, backend, temporary, keeps, seconds };
        for (key, name, check) in CHECKS {
            if only.is_some_and(|only| !only.split(',').any(|one| one == *key)) {
                continue;
            }
            let start = Instant::now();
            let result = check(&soak).and_then(|said| match soak.nothing_is_left() {
                Ok(()) => Ok(said),
                Err(error) => Err(format!("{said}, but {error}").into()),
            });
            let seconds = start.elapsed().as_secs_f64();
            match result {
                Ok(said) => println!("{}: {name}: ok, {said} ({seconds:.1} s)", soak.backend),
                Err(e) => {
                    failures += 1;
                    println!("{}: {name}: FAILED: {e}", soak.backend);
                }
            }
        }
    }
    std::fs::remove_dir_all(&temporary)?;
    if failures == 0 { Ok(()) } else { Err(format!("{failures} checks failed").into()) }
}

/// A name for `--only`, one for people, and a check that says what it saw.
type Check = (&'static str, &'static str, fn(&Soak) -> Result<String>);

const CHECKS: &[Check] = &[
    ("cat", "1 GiB through cat", cat),
    ("memory", "2 GiB of memory touched", memory),
    ("recursion", "recursion without end", recursion),
    ("keeps", "Keeps one after another", one_after_another),
    ("at-once", "8 Keeps at once", at_once),
    ("sigint", "SIGINT to a busy Keep", |soak| soak.signal(libc::SIGINT)),
    ("sigterm", "SIGTERM to a busy Keep", |soak| soak.signal(libc::SIGTERM)),
    ("load", "HTTPS clients of all kinds", load::check),
];

struct Soak {
    enarx: PathBuf,
    backend: String,
    temporary: PathBuf,
    keeps: usize,
    /// How long the load lasts.
    seconds: u64,
}

impl Soak {
    fn run(&self, guest: &str, args: &[&str]) -> Command {
        let mut command = Command::new(&self.enarx);
        command.args(["run", "--quiet", "--backend", &self.backend]);
        command.arg(guests::out().join(guest)).arg("--").args(args);
        command.env("TMPDIR", &self.temporary);
        command
    }

    /// A guest with sockets.
    fn command(&self, guest: &str, config: &Path) -> Command {
        let mut command = Command::new(&self.enarx);
        command.args(["run", "--quiet", "--backend", &self.backend, "--config"]);
        command.arg(config).arg(guests::out().join(guest)).env("TMPDIR", &self.temporary);
        command
    }

    fn nothing_is_left(&self) -> Result {
        let children = process::children()?;
        if !children.is_empty() {
            return Err(format!("processes are left: {}", children.join(", ")).into());
        }
        let files = host::files_below(&self.temporary)?;
        if !files.is_empty() {
            return Err(format!("temporary files are left: {files:?}").into());
        }
        let machines = self.virtual_machines();
        if !machines.is_empty() {
            return Err(format!("virtual machines are left: {}", machines.join(", ")).into());
        }
        Ok(())
    }

    /// Processes of ours that hold a KVM virtual machine. Others may run Keeps on this machine, too; ours have
    /// this folder in their environment.
    fn virtual_machines(&self) -> Vec<String> {
        let ours = format!("TMPDIR={}", self.temporary.display());
        let mut found = Vec::new();
        for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let descriptors = std::fs::read_dir(process.path().join("fd"));
            let links = descriptors.into_iter().flatten().flatten();
            let is_ours = || {
                let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
                environment.split(|byte| *byte == 0).any(|variable| variable == ours.as_bytes())
            };
            let mut targets = links.filter_map(|fd| std::fs::read_link(fd.path()).ok());
            if targets.any(|t| t == Path::new("anon_inode:kvm-vm")) && is_ours() {
                found.push(process.file_name().to_string_lossy().into_owned());
            }
        }
        found
    }

    fn signal(&self, number: i32) -> Result<String> {
        let mut times = Vec::new();
        for _ in 0..20 {
            let mut command = self.run("busy.wasm", &[]);
            let mut child = process::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
            let mut line = String::new();
            BufReader::new(child.stdout.take().ok_or("no pipe")?).read_line(&mut line)?;
            process::signal(&child, number);
            let outcome = process::finish(child, Instant::now(), LIMIT)?;
            if line != "busy\n" || outcome.code != 128 + number {
                return Err(outcome.complaint().into());
            }
            times.push(outcome.wall);
        }
        times.sort();
        let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
        let said = format!("{:.1} ms, at most {:.1} ms", millis(median), millis(most));
        if median < Duration::from_millis(100) { Ok(said) } else { Err(said.into()) }
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// An endless stream that is the same every time and has no short period.
struct Noise(u64);

impl Noise {
    fn fill(&mut self, buffer: &mut [u8]) {
        for word in buffer.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            word.copy_from_slice(&self.0.to_le_bytes()[..word.len()]);
        }
    }
}

fn cat(soak: &Soak) -> Result<String> {
    const PIECE: usize = 1 << 20;
    const PIECES: usize = 1024;
    let mut command = soak.run("cat.wasm", &[]);
    let start = Instant::now();
    let mut child = process::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
    let mut stdin = child.stdin.take().ok_or("no pipe")?;
    let mut stdout = child.stdout.take().ok_or("no pipe")?;
    let writer = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut noise, mut piece) = (Noise(1), vec![0; PIECE]);
        for _ in 0..PIECES {
            noise.fill(&mut piece);
            stdin.write_all(&piece)?;
        }
        Ok(())
    });
    let (mut noise, mut expected, mut came) = (Noise(1), vec![0; PIECE], vec![0; PIECE]);
    for piece in 0..PIECES {
        noise.fill(&mut expected);
        stdout.read_exact(&mut came).map_err(|e| format!("after {piece} MiB: {e}"))?;
        if came != expected {
            return Err(format!("MiB {piece} came back changed").into());
        }
    }
    let more = stdout.read(&mut came)?;
    let outcome = process::finish(child, start, LIMIT)?.good()?;
    writer.join().map_err(|_| "the writer failed")??;
    if more != 0 {
        return Err("more came back than was sent".into());
    }
    let rate = 1024.0 / outcome.wall.as_secs_f64();
    Ok(format!("every byte equal, {rate:.0} MiB/s, peak {} MiB", outcome.peak >> 10))
}

fn memory(soak: &Soak) -> Result<String> {
    let outcome = process::run(&mut soak.run("memory.wasm", &["2048"]), &[], LIMIT)?.good()?;
    Ok(format!("{}, peak {} MiB", outcome.text().trim(), outcome.peak >> 10))
}

fn recursion(soak: &Soak) -> Result<String> {
    let outcome = process::run(&mut soak.run("trap.wasm", &["recurse"]), &[], LIMIT)?;
    let stderr = String::from_utf8_lossy(&outcome.stderr).into_owned();
    if outcome.code == 134 && stderr.contains("call stack exhausted") {
        Ok("a trap".into())
    } else {
        Err(outcome.complaint().into())
    }
}

fn one_after_another(soak: &Soak) -> Result<String> {
    let hello = || -> Result<Duration> {
        let outcome = process::run(&mut soak.run("hello.wasm", &[]), &[], LIMIT)?.good()?;
        if outcome.text() == "Hello from Rust!\n" {
            Ok(outcome.wall)
        } else {
            Err("no hello".into())
        }
    };
    // What the first runs leave in caches of all kinds is no leak.
    (0..20).try_for_each(|_| hello().map(drop))?;
    let before = (available()?, handles()?);
    let mut times = (0..soak.keeps).map(|_| hello()).collect::<Result<Vec<_>>>()?;
    let after = (available()?, handles()?);
    times.sort();
    let lost = before.0.saturating_sub(after.0);
    let opened = after.1.saturating_sub(before.1);
    let said = format!(
        "{} Keeps, median {:.1} ms; {lost} MiB less memory, {opened} more open files",
        times.len(),
        millis(times[times.len() / 2])
    );
    if lost < 256 && opened < 500 { Ok(said) } else { Err(said.into()) }
}

fn at_once(soak: &Soak) -> Result<String> {
    let mut children = Vec::new();
    for i in 0..8 {
        let mut command = soak.run("cat.wasm", &[]);
        let child = process::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        children.push((i, child));
    }
    // All are alive until each has answered.
    for (i, child) in &mut children {
        let stdin = child.stdin.as_mut().ok_or("no pipe")?;
        stdin.write_all(format!("Keep {i}\n").as_bytes())?;
    }
    for (i, child) in &mut children {
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().ok_or("no pipe")?).read_line(&mut line)?;
        if line != format!("Keep {i}\n") {
            return Err(format!("Keep {i} answered {line:?}").into());
        }
    }
    let all = soak.virtual_machines().len();
    for (_, mut child) in children {
        drop(child.stdin.take());
        process::finish(child, Instant::now(), LIMIT)?.good()?;
    }
    Ok(format!("{all} virtual machines were alive"))
}

/// Memory that is available, in MiB.
fn available() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let line =
        text.lines().find_map(|l| l.strip_prefix("MemAvailable:")).ok_or("no MemAvailable")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? >> 10)
}

/// Open files of the whole machine.
fn handles() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/sys/fs/file-nr")?;
    Ok(text.split_whitespace().next().unwrap_or_default().parse()?)
}
