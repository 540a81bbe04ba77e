// SPDX-License-Identifier: Apache-2.0

//! Minutes of HTTPS load on one Keep, from clients of all kinds at once: `network-peers siege`.
//!
//! The server is the program of tokio and hyper for preview 1. Nobody may be turned away, whatever the others do,
//! and the Keep's memory must not grow with the time.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Soak;
use crate::{Result, network, process};

/// The Keep has so long to listen.
const START: Duration = Duration::from_secs(60);
/// How much more memory a Keep may hold at the end, in KiB: what a few hundred connections take.
const GROWTH: u64 = 32 << 10;

pub(super) fn check(soak: &Soak) -> Result<String> {
    let peers = network::peers()?;
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let config = soak.temporary.join("load.toml");
    std::fs::write(
        &config,
        format!(
            "files = [\n  {{ kind = \"null\" }},\n  {{ kind = \"stdout\" }},\n  {{ kind = \"stderr\" }},\n  \
             {{ kind = \"listen\", name = \"web\", addr = \"127.0.0.1\", port = {port}, \
             handshake_timeout = 5 }},\n]\n"
        ),
    )?;
    let mut command = soak.command("http-server.wasm", &config);
    // It has a word to say about each client that breaks off.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut keep = Running(command.spawn()?);
    let start = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if let Some(status) = keep.0.try_wait()? {
            return Err(format!("the Keep ended: {status}").into());
        }
        if start.elapsed() > START {
            return Err("the Keep does not listen".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let idle = memory(&keep.0)?;

    let seconds = soak.seconds.to_string();
    let mut siege = Command::new(peers);
    siege.args(["siege", &format!("127.0.0.1:{port}"), &seconds]);
    let mut siege = Running(siege.stdout(Stdio::piped()).spawn()?);
    let mut lines = BufReader::new(siege.0.stdout.take().ok_or("no pipe")?).lines();
    let mut line = move || lines.next().unwrap_or_else(|| Ok(String::new()));
    if line()? != "begins" {
        return Err("the 500 silent connections could not be opened".into());
    }
    // What is kept for those who are served now was taken when all were served once.
    std::thread::sleep(Duration::from_secs((soak.seconds / 20).clamp(1, 30)));
    let begin = memory(&keep.0)?;
    let numbers = line()?;
    let numbers: Vec<u64> = numbers.split(' ').map_while(|number| number.parse().ok()).collect();
    let end = memory(&keep.0)?;
    siege.0.wait()?;
    let still = keep.0.try_wait()?;
    // Nothing of it may be left for the next check.
    process::signal(&keep.0, libc::SIGTERM);
    keep.0.wait()?;
    std::fs::remove_file(&config)?;
    if let Some(status) = still {
        return Err(format!("the Keep ended: {status}").into());
    }
    let [requests, errors, alive, slow, slow_errors, dropped, kept] = numbers[..] else {
        return Err("the clients ended early".into());
    };
    let said = format!(
        "{seconds} s, {requests} requests ({} a second) with {errors} errors; {alive} of 500 silent \
         connections still served; {slow} slow requests with {slow_errors} errors; {dropped} half handshakes \
         dropped, {kept} not; memory {} MiB idle, {} at the begin, {} at the end",
        requests / soak.seconds.max(1),
        idle >> 10,
        begin >> 10,
        end >> 10
    );
    let sound = requests > 0
        && (errors, slow_errors, kept) == (0, 0, 0)
        && alive == 500
        && end <= begin + GROWTH;
    if sound { Ok(said) } else { Err(said.into()) }
}

/// A program that ends with its value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Resident memory of a process and of those that it started, in KiB.
fn memory(child: &Child) -> Result<u64> {
    let mut total = 0;
    let mut all = vec![child.id()];
    while let Some(pid) = all.pop() {
        let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        total += line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0);
        for task in std::fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
            let children = std::fs::read_to_string(task.path().join("children"));
            let children = children.unwrap_or_default();
            all.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
    }
    Ok(total)
}
