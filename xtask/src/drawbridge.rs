// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask drawbridge`: speed and memory of a Drawbridge against Debian's `docker-registry`.
//!
//! Both keep their content in folders of the same file system, serve HTTP and TLS on loopback, and are
//! asked in turn by the same client, so that a machine that slows down slows both; what counts is the
//! ratio of medians. A bar that is missed stays in the table.
//!
//! What is timed is the one request that carries the content, which is new in each round. A Drawbridge asks
//! for a tag before it, a registry for an upload; neither counts. The Drawbridge checks the token of a user
//! and all digests that are sent; the registry lets everybody in and knows SHA-256 alone.
//!
//! Options: `--quick` (one round of 8 MiB), `--rounds N`, `--write FILE`. The server is `DRAWBRIDGE` in the environment,
//! or the newest build of it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::network::{peers, port};
use crate::{Result, host};

const AUDIENCE: &str = "https://drawbridge.test/";
/// How many ask at once where memory is measured.
const CLIENTS: usize = 64;
/// Slower than that is no answer.
const LIMIT: Duration = Duration::from_secs(60);
/// The digests that a package is published with, and the tools that make them.
const DIGESTS: [(&str, &str); 4] = [
    ("sha-256", "sha256sum"),
    ("sha-224", "sha224sum"),
    ("sha-384", "sha384sum"),
    ("sha-512", "sha512sum"),
];
const BAR: f64 = 0.9;
const MEMORY_BAR: u64 = 64 << 20;

pub(crate) fn main(args: &[String]) -> Result {
    let Some(registry) = host::find_program("docker-registry") else {
        println!("drawbridge: skipped: docker-registry is not installed (`cargo xtask servers`)");
        return Ok(());
    };
    let is_quick = args.iter().any(|arg| arg == "--quick");
    let bench = Bench::new(registry, if is_quick { 8 } else { 100 })?;
    let rounds = match host::option(args, "--rounds")? {
        Some(rounds) => rounds.parse::<usize>()?.max(1),
        None if is_quick => 1,
        None => 7,
    };
    let text = format!(
        "Medians of {rounds}, both sides in turn in one run.\n\n\
         | what | `docker-registry` | Drawbridge | ratio | bar | result |\n\
         |---|---|---|---|---|---|\n{}{}",
        bench.speed(rounds)?,
        bench.memory()?
    );
    println!("{text}");
    if let Some(file) = host::option(args, "--write")? {
        host::replace_block(Path::new(file), "drawbridge", &text)?;
    }
    Ok(())
}

/// A program that ends with its value.
struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// The largest resident set so far, in bytes.
    fn peak(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmHWM")?;
        Ok(kib.parse::<u64>()? << 10)
    }

    /// A small request and its whole answer.
    fn ask(&self, head: &str, body: &[u8]) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(LIMIT))?;
        let head = format!(
            "{head}host: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8(answer)?;
        if answer.starts_with("HTTP/1.1 20") { Ok(answer) } else { Err(answer.into()) }
    }
}

/// Both ways to be asked; the servers of a side share a store, so that either can prepare for the other.
struct Side {
    plain: Server,
    tls: Server,
}

/// What all measurements need. Its folder goes with it.
struct Bench {
    registry: PathBuf,
    drawbridge: PathBuf,
    /// `network-peers`.
    peers: PathBuf,
    folder: PathBuf,
    /// The content, which changes from round to round.
    content: PathBuf,
    mebibytes: u64,
    token: String,
    issuer: String,
    _issuer: Server,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Bench {
    fn new(registry: PathBuf, mebibytes: u64) -> Result<Self> {
        let (drawbridge, peers) = (program()?, peers()?);
        let folder = host::cache()?.join("drawbridge");
        // What a run that was killed has left.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        host::run(Command::new(&peers).arg("certificate").arg(&folder))?;
        let mut command = Command::new(&peers);
        let mut issuer = command
            .args(["issuer", AUDIENCE, "load"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = issuer.stdout.take().ok_or("the issuer has no output")?;
        let issuer_server = Server { child: issuer, port: 0 };
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stdout));
        let mut line = || lines.next().ok_or("the issuer says nothing");
        let (issuer, token) = (line()??, line()??);
        let content = folder.join("content");
        std::fs::write(&content, noise(mebibytes << 20))?;
        Ok(Self {
            registry,
            drawbridge,
            peers,
            folder,
            content,
            mebibytes,
            token,
            issuer,
            _issuer: issuer_server,
        })
    }

    /// A server, once it answers.
    fn start(&self, command: &mut Command, port: u16) -> Result<Server> {
        let log = self.folder.join(format!("{port}.log"));
        let output = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let mut server = Server { child: command.spawn()?, port };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if server.child.try_wait()?.is_some() || start.elapsed() > LIMIT {
                return Err(std::fs::read_to_string(&log)?.into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    fn drawbridge(&self, is_tls: bool) -> Result<Server> {
        let port = port()?;
        let mut command = Command::new(&self.drawbridge);
        command.args(["serve", "--addr", &format!("127.0.0.1:{port}"), "--store"]);
        command.arg(self.folder.join("drawbridge"));
        command.args(["--oidc-issuer", &self.issuer, "--oidc-audience", AUDIENCE]);
        command.args(["--log-filter", "warn", "--quota-bytes", &u64::MAX.to_string()]);
        if is_tls {
            command.arg("--cert").arg(self.folder.join("cert.pem"));
            command.arg("--key").arg(self.folder.join("key.pem"));
        }
        self.start(&mut command, port)
    }

    fn registry(&self, is_tls: bool) -> Result<Server> {
        let port = port()?;
        let config = self.folder.join(format!("{port}.yml"));
        let folder = self.folder.display();
        let tls = if is_tls {
            format!(", tls: {{certificate: {folder}/cert.pem, key: {folder}/key.pem}}")
        } else {
            String::new()
        };
        std::fs::write(
            &config,
            format!(
                "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
                 storage: {{filesystem: {{rootdirectory: {folder}/registry}}}}\n\
                 http: {{addr: \"127.0.0.1:{port}\", secret: shared{tls}}}\n"
            ),
        )?;
        self.start(Command::new(&self.registry).arg("serve").arg(config), port)
    }

    fn sides(&self) -> Result<(Side, Side)> {
        let registry = Side { plain: self.registry(false)?, tls: self.registry(true)? };
        let drawbridge = Side { plain: self.drawbridge(false)?, tls: self.drawbridge(true)? };
        Ok((registry, drawbridge))
    }

    /// Makes the content another one, and says its digests, SHA-256 first, in hexadecimal.
    fn renew(&self, round: usize) -> Result<Vec<String>> {
        let file = File::options().write(true).open(&self.content)?;
        file.write_all_at(&(round as u64).to_le_bytes(), 0)?;
        DIGESTS.iter().map(|(_, tool)| digest(tool, &self.content)).collect()
    }

    /// Starts the transfer of the content by one request or many; bytes a second.
    fn transfer(&self, server: &Server, is_tls: bool, heads: &str, is_put: bool) -> Result<f64> {
        // What was written before must not be waited for now.
        host::run(&mut Command::new("sync"))?;
        let file = self.folder.join("heads");
        std::fs::write(&file, heads)?;
        let mut command = Command::new(&self.peers);
        command.args(["transfer", &format!("127.0.0.1:{}", server.port)]);
        command.arg(if is_tls { "tls" } else { "plain" }).arg(file);
        if is_put {
            command.arg(&self.content);
        }
        Ok(host::output(&mut command)?.parse()?)
    }

    /// The head of a request that puts the content into a registry, which knows of it already.
    fn registry_put(&self, server: &Server, sha256: &str) -> Result<String> {
        let answer = server.ask("POST /v2/load/blobs/uploads/ HTTP/1.1\r\n", b"")?;
        let location = answer.lines().find_map(|line| line.strip_prefix("Location: "));
        let location = location.and_then(|url| url.find("/v2/").map(|at| &url[at..]));
        let location = location.ok_or("the registry names no place for an upload")?;
        Ok(format!(
            "PUT {location}&digest=sha256:{sha256} HTTP/1.1\r\nhost: localhost\r\n\
             content-type: application/octet-stream\r\ncontent-length: {}\r\n\r\n",
            self.mebibytes << 20
        ))
    }

    fn registry_get(&self, sha256: &str) -> String {
        format!("GET /v2/load/blobs/sha256:{sha256} HTTP/1.1\r\nhost: localhost\r\n\r\n")
    }

    /// What a Drawbridge has to know before there can be tags.
    fn prepare(&self, server: &Server) -> Result {
        self.tell(server, "", "application/json", br#"{"subject":"load"}"#)?;
        self.tell(server, "/store", "application/json", br#"{"public":true}"#)
    }

    /// Puts something small.
    fn tell(&self, server: &Server, path: &str, kind: &str, body: &[u8]) -> Result {
        let file = self.folder.join("small");
        std::fs::write(&file, body)?;
        let head = format!(
            "PUT /api/v0.1.0/load{path} HTTP/1.1\r\nauthorization: Bearer {}\r\n\
             content-type: {kind}\r\ncontent-digest: {}\r\n",
            self.token,
            header(&[digest("sha256sum", &file)?])?
        );
        server.ask(&head, body).map(drop)
    }

    /// The head of a request that puts the content into a Drawbridge, under a tag that is made now.
    fn drawbridge_put(&self, server: &Server, version: &str, digests: &[String]) -> Result<String> {
        let mut stated = serde_json::Map::new();
        for ((name, _), hex) in DIGESTS.iter().zip(digests) {
            stated.insert((*name).to_owned(), base64(hex)?.into());
        }
        let length = self.mebibytes << 20;
        let entry = serde_json::json!({
            "digest": stated, "length": length, "type": "application/wasm"
        });
        let kind = "application/vnd.drawbridge.entry.v1+json";
        self.tell(server, &format!("/store/_tag/{version}"), kind, entry.to_string().as_bytes())?;
        Ok(format!(
            "PUT /api/v0.1.0/load/store/_tag/{version}/tree HTTP/1.1\r\nhost: localhost\r\n\
             authorization: Bearer {}\r\ncontent-type: application/wasm\r\ncontent-digest: {}\r\n\
             content-length: {length}\r\n\r\n",
            self.token,
            header(digests)?
        ))
    }

    fn drawbridge_get(&self, version: &str) -> String {
        format!(
            "GET /api/v0.1.0/load/store/_tag/{version}/tree HTTP/1.1\r\nhost: localhost\r\n\r\n"
        )
    }

    /// Removes all content, so that a run does not fill the disk.
    fn forget(&self) -> Result {
        for folder in ["drawbridge/blobs", "registry/docker/registry/v2/blobs"] {
            for file in host::files_below(&self.folder.join(folder))? {
                std::fs::remove_file(file)?;
            }
        }
        Ok(())
    }

    /// The rows of PUT and GET.
    fn speed(&self, rounds: usize) -> Result<String> {
        let (registry, drawbridge) = self.sides()?;
        self.prepare(&drawbridge.plain)?;
        let mut rows = Rows::default();
        for round in 0..rounds {
            for is_tls in [false, true] {
                let servers = if is_tls {
                    (&registry.tls, &drawbridge.tls)
                } else {
                    (&registry.plain, &drawbridge.plain)
                };
                let over = if is_tls { "TLS" } else { "HTTP" };
                let mebibytes = self.mebibytes;
                let mut gets = Default::default();
                for (index, count) in [1, DIGESTS.len()].into_iter().enumerate() {
                    let number = 4 * round + 2 * usize::from(is_tls) + index;
                    let version = format!("1.0.{number}");
                    let digests = self.renew(number)?;
                    let (all, sha256) = (&digests[..count], &digests[0]);
                    let puts = (
                        self.registry_put(&registry.plain, sha256)?,
                        self.drawbridge_put(&drawbridge.plain, &version, all)?,
                    );
                    let what = match count {
                        1 => format!("PUT of {mebibytes} MiB over {over}, SHA-256"),
                        _ => format!(
                            "the same, the Drawbridge checks the {count} digests that \
                             `enarx package publish` sends"
                        ),
                    };
                    rows.add(over, &what, round % 2 == 0, |is_left| match is_left {
                        true => self.transfer(servers.0, is_tls, &puts.0, true),
                        false => self.transfer(servers.1, is_tls, &puts.1, true),
                    })?;
                    gets = (self.registry_get(sha256), self.drawbridge_get(&version));
                }
                let what = format!("GET of {mebibytes} MiB over {over}");
                rows.add(over, &what, round % 2 == 0, |is_left| match is_left {
                    true => self.transfer(servers.0, is_tls, &gets.0, false),
                    false => self.transfer(servers.1, is_tls, &gets.1, false),
                })?;
                self.forget()?;
            }
        }
        Ok(rows.text())
    }

    /// The rows of memory: each is a server that did nothing else.
    fn memory(&self) -> Result<String> {
        let digests = self.renew(usize::MAX)?;
        let mut text = String::new();
        let (mut registry, mut drawbridge) = self.sides()?;
        let mut heads = (String::new(), String::new());
        for client in 0..CLIENTS {
            let version = format!("2.0.{client}");
            heads.0 += &self.registry_put(&registry.plain, &digests[0])?;
            heads.1 += &self.drawbridge_put(&drawbridge.plain, &version, &digests)?;
        }
        for is_put in [true, false] {
            self.transfer(&registry.tls, true, &heads.0, is_put)?;
            self.transfer(&drawbridge.tls, true, &heads.1, is_put)?;
            let (left, right) = (registry.tls.peak()?, drawbridge.tls.peak()?);
            let what = if is_put { "PUT" } else { "GET" };
            text += &format!(
                "| peak memory, {CLIENTS} clients at once, each {what} of {} MiB over TLS | {} MiB | \
                 {} MiB | {:.2} × | ≤ {} MiB | {} |\n",
                self.mebibytes,
                left >> 20,
                right >> 20,
                right as f64 / left as f64,
                MEMORY_BAR >> 20,
                if right <= MEMORY_BAR { "met" } else { "**missed**" }
            );
            if is_put {
                registry.tls = self.registry(true)?;
                drawbridge.tls = self.drawbridge(true)?;
                heads.0 = self.registry_get(&digests[0]).repeat(CLIENTS);
                heads.1 = self.drawbridge_get("2.0.0").repeat(CLIENTS);
            }
        }
        Ok(text)
    }
}

/// What was measured, in the order in which it was first asked for.
#[derive(Default)]
struct Rows(Vec<(String, String, Vec<f64>, Vec<f64>)>);

impl Rows {
    /// One measurement of each side; who comes first changes.
    fn add(
        &mut self,
        over: &str,
        what: &str,
        is_left_first: bool,
        mut measure: impl FnMut(bool) -> Result<f64>,
    ) -> Result {
        let first = measure(is_left_first)?;
        let second = measure(!is_left_first)?;
        let (left, right) = if is_left_first { (first, second) } else { (second, first) };
        let at = self.0.iter().position(|row| row.0 == over && row.1 == what);
        let at = at.unwrap_or_else(|| {
            self.0.push((over.to_owned(), what.to_owned(), Vec::new(), Vec::new()));
            self.0.len() - 1
        });
        self.0[at].2.push(left);
        self.0[at].3.push(right);
        Ok(())
    }

    fn text(self) -> String {
        let mut text = String::new();
        for (_, what, left, right) in self.0 {
            let (left, right) = (median(left), median(right));
            let ratio = right / left;
            text += &format!(
                "| {what} | {:.0} MiB/s | {:.0} MiB/s | {ratio:.2} × | ≥ {BAR} × | {} |\n",
                left / 1048576.0,
                right / 1048576.0,
                if ratio >= BAR { "met" } else { "**missed**" }
            );
        }
        text
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The server that is measured.
fn program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("DRAWBRIDGE") {
        return Ok(path.into());
    }
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| host::root().join("target"), PathBuf::from);
    let path = target.join("release/drawbridge");
    if path.is_file() {
        Ok(path)
    } else {
        Err(format!("{} is missing: run `cargo build --release` first", path.display()).into())
    }
}

/// Bytes that nothing can make smaller.
fn noise(length: u64) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let words = (0..length.div_ceil(8)).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.collect()
}

/// A file's digest in hexadecimal.
fn digest(tool: &str, file: &Path) -> Result<String> {
    let text = host::output(Command::new(tool).arg(file))?;
    Ok(text.split_whitespace().next().ok_or("no digest")?.to_owned())
}

/// `Content-Digest` of digests in hexadecimal, in the order of [`DIGESTS`].
fn header(digests: &[String]) -> Result<String> {
    let parts = DIGESTS.iter().zip(digests).map(|((name, _), hex)| {
        let text = base64(hex)?;
        Ok(format!("{name}=:{text}:"))
    });
    Ok(parts.collect::<Result<Vec<_>>>()?.join(","))
}

/// From hexadecimal to Base64 with padding (RFC 4648, 4).
fn base64(hex: &str) -> Result<String> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in hex.as_bytes().chunks(6) {
        let count = three.len() / 2;
        let bits = u32::from_str_radix(std::str::from_utf8(three)?, 16)? << (8 * (3 - count));
        for digit in 0..4 {
            text.push(match digit <= count {
                true => char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63]),
                false => '=',
            });
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_written_as_rfc_9530_has_them() {
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let text = header(&[hex.to_owned()]).unwrap();
        assert_eq!(text, "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:");
        assert_eq!(base64("00").unwrap(), "AA==");
        assert_eq!(base64("0001").unwrap(), "AAE=");
    }
}
