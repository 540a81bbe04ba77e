// SPDX-License-Identifier: Apache-2.0

//! What can be seen of a deployment by who records every packet and reads every file of the host.
//!
//! Marks are put into module, configuration, request and answer; a packet capture of the loopback
//! interface from the publication to the last answer must have none of them, and neither may any file
//! of the host that ran the Keep. Marks that are sent openly before and after, and the Drawbridge's own
//! store, show that a mark would have been found.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;
#[path = "common/guests.rs"]
mod guests;
#[path = "common/network.rs"]
mod network;
#[path = "common/stage.rs"]
mod stage;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{Scratch, enarx, text, wait_until};
use network::{Keep, answer, ask, client_config, free_port, tls};
use stage::{LIMIT, Services, Workload};

/// The page of `examples/web`, with a mark instead of its words.
const WEB: &str = include_str!("../../../examples/web/web.wat");
/// Has as many letters as a mark, so that the page keeps its length.
const WORDS: &str = "Hello from a Keep";

/// 17 letters that nobody else uses.
fn mark(letter: char) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_nanos();
    let mark = format!("{letter}{:016x}", now as u64 ^ u64::from(std::process::id()) << 40);
    assert_eq!(mark.len(), WORDS.len());
    mark
}

/// Whether a text is in some bytes.
fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

/// A recording of the loopback interface.
struct Capture {
    recorder: Child,
    /// What the recorder said.
    said: Arc<Mutex<String>>,
    file: PathBuf,
}

impl Capture {
    /// None, with the reason on stderr, where that cannot be done.
    fn start(folder: &Scratch) -> Option<Self> {
        let file = folder.path().join("lo.pcapng");
        let recorder = Command::new("dumpcap")
            .args(["-i", "lo", "-f", "tcp", "-B", "256", "-w"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut recorder = match recorder {
            Ok(recorder) => recorder,
            Err(error) => {
                eprintln!("skipped: dumpcap, a part of tshark: {error}");
                return None;
            }
        };
        let (said, lines) = (Arc::<Mutex<String>>::default(), recorder.stderr.take());
        let all = Arc::clone(&said);
        let lines = BufReader::new(lines.expect("a pipe")).lines();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                *all += &line;
                all.push('\n');
            }
        });
        let mut capture = Self { recorder, said, file };
        // It names the file once it records.
        wait_until(LIMIT, "the start of the recording", || {
            capture.said().contains("File: ") || capture.has_ended()
        });
        if capture.has_ended() {
            eprintln!("skipped: dumpcap: {}", capture.said().trim());
            return None;
        }
        Some(capture)
    }

    fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn has_ended(&mut self) -> bool {
        self.recorder.try_wait().expect("it is waited for").is_some()
    }

    /// All that was recorded up to a text that was sent openly; nothing may have been lost.
    fn stop(mut self, last: &str) -> Vec<u8> {
        // What was recorded is written with some delay.
        wait_until(LIMIT, "the end of the recording", || {
            thread::sleep(Duration::from_millis(100));
            fs::read(&self.file).is_ok_and(|bytes| holds(&bytes, last))
        });
        guests::signal(&self.recorder, "INT");
        self.recorder.wait().expect("it ends");
        wait_until(LIMIT, "the sum of the recording", || self.said().contains("dropped on"));
        let said = self.said();
        // `Packets received/dropped on interface 'Loopback: lo': 1234/0 (…)`
        let dropped = said.rsplit_once("': ").and_then(|(_, sums)| sums.split_once('/'));
        let dropped = dropped.and_then(|(_, rest)| rest.split(' ').next()).unwrap_or("?");
        assert_eq!(dropped, "0", "packets were lost: {said}");
        fs::read(&self.file).expect("a recording")
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.recorder.kill();
        let _ = self.recorder.wait();
    }
}

/// Sends a text over TCP for all to see.
fn send_openly(text: &str) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(text.as_bytes()).expect("sent");
    drop(stream);
    let mut got = String::new();
    listener.accept().expect("a connection").0.read_to_string(&mut got).expect("received");
    assert_eq!(got, text);
}

/// The files below a folder that have a text in their bytes.
fn files_with(folder: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().expect("a kind"));
        if kind.is_dir() {
            found.extend(files_with(&path, text));
        } else if kind.is_file() && fs::read(&path).is_ok_and(|bytes| holds(&bytes, text)) {
            found.push(path);
        }
    }
    found
}

common::on_every_backend! {
    fn nobody_on_the_way_sees_workload_configuration_or_traffic(backend) {
        let (folder, temporary) = (Scratch::new(), Scratch::new());
        let services = Services::up();
        let host = services.host();
        let [page, data, variable, request, first, last] = ['p', 'd', 'v', 'r', 'f', 'l'].map(mark);

        assert_eq!(WEB.matches(WORDS).count(), 1, "the page has changed");
        let module = WEB.replace(WORDS, &page);
        let module = module.trim_end().strip_suffix(')').expect("the end of the module");
        let port = free_port();
        let workload = Workload::new(
            &format!("{module} (data (i32.const 0xf00) \"{data}\"))"),
            &format!(
                "files = [{{ kind = \"null\" }}, {{ kind = \"null\" }}, {{ kind = \"null\" }},\n  \
                 {{ kind = \"listen\", name = \"web\", addr = \"127.0.0.1\", port = {port} }}]\n\n\
                 [env]\nMARK = \"{variable}\"\n\n[compiler]\nallow_development = true\n"
            ),
        );
        for mark in [&page, &data, &variable] {
            assert!(!files_with(workload.folder.path(), mark).is_empty(), "{mark} is not in it");
        }

        let Some(capture) = Capture::start(&folder) else { return };
        send_openly(&first);
        services.register(&services);
        services.ok(&["package", "publish", "alice/shop:1.0.0", workload.path()]);

        let slug = format!("{}/alice/shop:1.0.0@{}", services.text("drawbridge"), workload.digest);
        let mut deploy = services.deploy(host.path(), backend, services.text("ca_bundle"), &slug);
        deploy.env("TMPDIR", temporary.path()).env("XDG_RUNTIME_DIR", temporary.path());
        let keep = Keep::start(&mut deploy, 1);
        let mut client = tls(&client_config(), port).expect("a handshake");
        for _ in 0..3 {
            ask(&mut client, "GET", &format!("/?{request}"), b"").expect("a request");
            let (status, body) = answer(&mut client).expect("an answer");
            assert_eq!(status, 200);
            assert!(holds(&body, &page), "{}", text(&body));
        }
        let secret = [&page, &data, &variable, &request];
        // While it runs, and after it.
        let look = || for mark in secret {
            for folder in [host.path(), temporary.path()] {
                let found = files_with(folder, mark);
                assert!(found.is_empty(), "{mark} is in {found:?}");
            }
        };
        look();
        let said = keep.stderr();
        drop((client, keep));
        look();
        send_openly(&last);
        let recorded = capture.stop(&last);

        assert!(holds(&recorded, &first), "not even {first} was recorded");
        for mark in secret {
            assert!(!holds(&recorded, mark), "{mark} was on the way");
            assert!(!said.contains(mark.as_str()), "{mark} is in\n{said}");
        }
        // The tenant's Drawbridge has the workload, and that is found.
        for mark in [&page, &data, &variable] {
            let found = files_with(&services.store(), mark);
            assert!(!found.is_empty(), "{mark} is not in the Drawbridge's store");
        }
    }
}

/// What a recording has to be able to find: the same page without a Keep's TLS.
#[test]
fn what_is_sent_without_tls_is_recorded() {
    let folder = Scratch::new();
    let (page, port) = (mark('o'), free_port());
    let module = folder.file("open.wat", WEB.replace(WORDS, &page));
    let config = folder.file(
        "Enarx.toml",
        format!(
            "files = [{{ kind = \"null\" }}, {{ kind = \"null\" }}, {{ kind = \"null\" }},\n  {{ kind \
             = \"listen\", name = \"web\", addr = \"127.0.0.1\", port = {port}, prot = \"tcp\" }}]\n"
        ),
    );
    let Some(capture) = Capture::start(&folder) else { return };
    let mut run = enarx();
    run.args(["run", "--verbose", "--backend", "nil", "--config"]).arg(&config).arg(&module);
    let keep = Keep::start(&mut run, 1);
    let mut client = network::tcp(port);
    ask(&mut client, "GET", "/", b"").expect("a request");
    let (_, body) = answer(&mut client).expect("an answer");
    assert!(holds(&body, &page), "{}", text(&body));
    drop((client, keep));
    assert!(holds(&capture.stop(&page), &page), "it was not recorded");
}
