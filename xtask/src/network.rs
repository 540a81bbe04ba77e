// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask network`: speed of the network of a Keep against native servers.
//!
//! Both sides of a row are up at the same time and are asked in turn, so that a machine that slows down
//! slows both; what counts is the ratio of medians. A bar that is missed stays in the table.
//!
//! Options: `--only PART,…` (`requests`, `handshakes`, `download`, `idle`), `--quick`, `--backend NAME,…`
//! (`kvm,nil`), `--write FILE`.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Result, guests, host, programs};

/// A server that ends with its value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Bench {
    enarx: PathBuf,
    backend: String,
    /// `network-peers`.
    peers: PathBuf,
    folder: PathBuf,
    quick: bool,
}

/// A name for `--only`, and what gives the rows.
type Part = (&'static str, fn(&Bench) -> Result<String>);

pub(crate) fn main(args: &[String]) -> Result {
    guests::main(&[])?;
    let mut bench = Bench {
        enarx: host::enarx()?,
        backend: String::new(),
        peers: peers()?,
        folder: host::cache()?.join("network"),
        quick: args.iter().any(|arg| arg == "--quick"),
    };
    std::fs::create_dir_all(&bench.folder)?;
    let only = host::option(args, "--only")?;
    let parts: [Part; 4] = [
        ("requests", requests),
        ("handshakes", handshakes),
        ("download", download),
        ("idle", idle),
    ];
    let rounds = bench.rounds();
    let mut text = format!(
        "Medians of {rounds}, both sides in turn in one run.\n\n\
         | what | backend | native | Keep | ratio | bar | result |\n|---|---|---|---|---|---|---|\n",
    );
    for backend in host::option(args, "--backend")?.unwrap_or("kvm,nil").split(',') {
        bench.backend = backend.to_owned();
        for (name, part) in parts {
            if only.is_some_and(|only| !only.split(',').any(|one| one == name)) {
                continue;
            }
            eprintln!("network: {name}, {backend}");
            match part(&bench) {
                Ok(row) => text.push_str(&row),
                Err(error) => {
                    text.push_str(&format!("| {name} | `{backend}` | | | | | failed: {error} |\n"));
                }
            }
        }
    }
    println!("{text}");
    if let Some(file) = host::option(args, "--write")? {
        host::replace_block(Path::new(file), "network", &text)?;
    }
    Ok(())
}

/// Builds the load and the native servers.
pub(crate) fn peers() -> Result<PathBuf> {
    let target = host::cache()?.join("peers-target");
    let mut build = host::tool("cargo");
    build.args(["build", "--quiet", "--release", "--locked", "--manifest-path"]);
    build.arg(host::root().join("benches/Cargo.toml")).env("CARGO_TARGET_DIR", &target);
    host::run(&mut build)?;
    Ok(target.join("release/network-peers"))
}

impl Bench {
    /// A server on a port of its own, once it answers there.
    fn start(&self, port: u16, command: &mut Command) -> Result<Server> {
        let log = self.folder.join(format!("{port}.log"));
        let output = std::fs::File::create(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let mut server = Server(command.spawn()?);
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if server.0.try_wait()?.is_some() || start.elapsed() > Duration::from_secs(30) {
                return Err(format!("no server: see {}", log.display()).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    fn native(&self, port: u16) -> Result<Server> {
        let mut command = Command::new(&self.peers);
        self.start(port, command.args(["serve", &address(port)]))
    }

    /// A program in a Keep that listens by TLS.
    fn keep(&self, port: u16, program: &Path) -> Result<Server> {
        let config = self.folder.join(format!("{port}.toml"));
        std::fs::write(
            &config,
            format!(
                "[[files]]\nkind = \"null\"\n\n[[files]]\nkind = \"stdout\"\n\n\
                 [[files]]\nkind = \"stderr\"\n\n\
                 [[files]]\nkind = \"listen\"\nname = \"web\"\nprot = \"tls\"\n\
                 addr = \"127.0.0.1\"\nport = {port}\n"
            ),
        )?;
        let mut command = Command::new(&self.enarx);
        command.args(["run", "--quiet", "--backend", &self.backend, "--config"]);
        self.start(port, command.arg(config).arg(program))
    }

    /// What one measurement prints.
    fn measure(&self, args: &[&str]) -> Result<f64> {
        Ok(host::output(Command::new(&self.peers).args(args))?.parse()?)
    }

    /// A row: the medians of both sides, which take turns.
    fn row(
        &self,
        what: &str,
        bar: f64,
        unit: fn(f64) -> String,
        native: &[&str],
        keep: &[&str],
    ) -> Result<String> {
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for _ in 0..self.rounds() {
            left.push(self.measure(native)?);
            right.push(self.measure(keep)?);
        }
        let (left, right) = (median(left), median(right));
        let ratio = right / left;
        let result = if ratio >= bar { "met" } else { "**missed**" };
        Ok(format!(
            "| {what} | `{}` | {} | {} | {ratio:.2} × | ≥ {bar} × | {result} |\n",
            self.backend,
            unit(left),
            unit(right)
        ))
    }

    fn rounds(&self) -> usize {
        if self.quick { 1 } else { 7 }
    }

    fn seconds(&self) -> &'static str {
        if self.quick { "1" } else { "3" }
    }
}

fn requests(bench: &Bench) -> Result<String> {
    let component = guests::out().join("proxy.component.wasm");
    let [plain, proxy, keep] = [port()?, port()?, port()?];
    let mut wasmtime = Command::new(programs::reference()?);
    wasmtime.args(["serve", "-Scli", "--addr", &address(plain)]).arg(&component);
    let _wasmtime = bench.start(plain, &mut wasmtime)?;
    let mut command = Command::new(&bench.peers);
    command.args(["proxy", &address(proxy), &address(plain)]);
    let _proxy = bench.start(proxy, &mut command)?;
    let _keep = bench.keep(keep, &component)?;
    let mut rows = String::new();
    for connections in ["1", "16", "64"] {
        rows += &bench.row(
            &format!(
                "HTTPS requests/s, `wasi:http` component, {connections} connections kept alive \
                 (native: `wasmtime serve` behind a rustls proxy)"
            ),
            0.7,
            |number| format!("{number:.0}/s"),
            &["requests", &address(proxy), connections, bench.seconds()],
            &["requests", &address(keep), connections, bench.seconds()],
        )?;
    }
    Ok(rows)
}

/// The native server and the preview 1 program, both on one thread.
fn pair(bench: &Bench) -> Result<(Server, Server, String, String)> {
    let [native, keep] = [port()?, port()?];
    let server = bench.native(native)?;
    let program = bench.keep(keep, &guests::out().join("http-server.wasm"))?;
    Ok((server, program, address(native), address(keep)))
}

fn handshakes(bench: &Bench) -> Result<String> {
    let (_native, _keep, native, keep) = pair(bench)?;
    bench.row(
        "new TLS 1.3 connections/s, one request each, 8 at once (native: rustls, one thread)",
        0.6,
        |number| format!("{number:.0}/s"),
        &["handshakes", &native, "8", bench.seconds()],
        &["handshakes", &keep, "8", bench.seconds()],
    )
}

fn download(bench: &Bench) -> Result<String> {
    let (_native, _keep, native, keep) = pair(bench)?;
    let path = if bench.quick { "/bytes/134217728" } else { "/bytes/1073741824" };
    bench.row(
        "bulk TLS download, 1 GiB (native: rustls, one thread)",
        0.6,
        |number| format!("{:.0} MiB/s", number / 1048576.0),
        &["download", &native, path],
        &["download", &keep, path],
    )
}

fn idle(bench: &Bench) -> Result<String> {
    let (_native, _keep, native, keep) = pair(bench)?;
    bench.row(
        "500 connections at once, each with a request a second: requests/s",
        0.9,
        |number| format!("{number:.0}/s"),
        &["idle", &native, "500", bench.seconds()],
        &["idle", &keep, "500", bench.seconds()],
    )
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// A port that nobody listens on now.
pub(crate) fn port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
