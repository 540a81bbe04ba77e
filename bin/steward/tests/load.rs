// SPDX-License-Identifier: Apache-2.0

//! Many requests, 64 at once, a tenth of them garbage: each is answered right, and memory does not grow.
//!
//! With `STEWARD_LOAD=10000` it is the load that the project promises to stand; without it a shorter one,
//! since a test must not take a minute. `--nocapture` shows rate, latencies and memory.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{Home, Service};
use evidence_development::{Binding, Curve, Guest, Key, Root};
use evidence_pki::Time;

const CONNECTIONS: usize = 64;

/// Good requests, each of another key; more would only take longer to make.
const REQUESTS: usize = 64;

/// What is sent: requests that get certificates, and garbage, each with the code that is the right answer.
struct Traffic {
    good: Vec<Vec<u8>>,
    garbage: Vec<(Vec<u8>, &'static str)>,
}

impl Traffic {
    fn new(home: &Home) -> Self {
        let text = |name: &str| fs::read_to_string(home.path(name)).unwrap();
        let root = Root::from_pem(&text("dev/root.key"), &text("dev/root.crt")).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let now = Time::from_unix(now.as_secs());
        let request = |root: &Root, guest: &Guest| {
            let key = Key::generate(Curve::P384).unwrap();
            let attester = root.attester(now).unwrap();
            attester.request(&key, guest, &Binding::default()).unwrap()
        };
        let attester = root.attester(now).unwrap();
        let good: Vec<Vec<u8>> = (0..REQUESTS)
            .map(|_| {
                let key = Key::generate(Curve::P384).unwrap();
                attester.request(&key, &Guest::default(), &Binding::default()).unwrap()
            })
            .collect();
        let mut unsigned = good[0].clone();
        *unsigned.last_mut().unwrap() ^= 1;
        let shorter = good[1][..good[1].len() - 1].to_vec();
        let other = Root::create(now, Duration::from_secs(86_400)).unwrap();
        let debug = Guest { policy: Guest::default().policy | 1 << 19, ..Guest::default() };
        let garbage = vec![
            (unsigned, "csr.signature"),
            (shorter, "csr.malformed"),
            (vec![0x30; 3000], "csr.malformed"),
            (Vec::new(), "csr.malformed"),
            (request(&other, &Guest::default()), "development.root-not-accepted"),
            (request(&root, &debug), "policy.debug"),
        ];
        Self { good, garbage }
    }
}

/// A connection that stays open.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn ask(&mut self, csr: &[u8]) -> (u16, Vec<u8>) {
        let mut message = format!(
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/pkcs10\r\ncontent-length: {}\r\n\r\n",
            csr.len()
        )
        .into_bytes();
        message.extend_from_slice(csr);
        self.0.get_mut().write_all(&message).unwrap();
        let (mut status, mut length) = (0, 0);
        for number in 0.. {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            let line = line.trim_end().to_ascii_lowercase();
            if number == 0 {
                status = line.split(' ').nth(1).unwrap().parse().unwrap();
            } else if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            } else if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        (status, body)
    }
}

/// Kilobytes of memory, now or at most.
fn memory(service: &Service, field: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", service.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Sends so many requests, at most `rate` a second if it is not zero; the latencies, sorted.
fn load(
    service: &Service,
    Traffic { good, garbage }: &Traffic,
    count: usize,
    rate: f64,
) -> (Vec<Duration>, Duration) {
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    let mut all: Vec<Duration> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = Connection(BufReader::new(service.connect()));
                    let mut latencies = Vec::new();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= count {
                            return latencies;
                        }
                        // Latency counts from when the request was due, not from when there was time.
                        let mut due = Instant::now();
                        if rate > 0.0 {
                            due = start + Duration::from_secs_f64(number as f64 / rate);
                            std::thread::sleep(due.saturating_duration_since(Instant::now()));
                        }
                        if number.is_multiple_of(10) {
                            let (csr, code) = &garbage[number / 10 % garbage.len()];
                            let (status, body) = connection.ask(csr);
                            latencies.push(due.elapsed());
                            let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
                            assert_eq!(problem["code"], *code, "{status} {problem}");
                        } else {
                            let (status, body) = connection.ask(&good[number % good.len()]);
                            latencies.push(due.elapsed());
                            assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let duration = start.elapsed();
    all.sort();
    (all, duration)
}

#[test]
fn load_is_stood_without_errors_and_growth() {
    let count =
        std::env::var("STEWARD_LOAD").map_or(1500, |count| count.parse().expect("a number"));
    let home = Home::new();
    let service = home.start(&[]);
    let traffic = Traffic::new(&home);
    let report = |name: &str, (latencies, duration): (Vec<Duration>, Duration)| {
        let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
        let rate = latencies.len() as f64 / duration.as_secs_f64();
        println!(
            "{name}: {rate:.0} a second, p50 {:?}, p99 {:?}, memory {} KiB",
            at(50),
            at(99),
            memory(&service, "VmRSS:")
        );
        rate
    };
    let full = report("full load", load(&service, &traffic, count, 0.0));
    let before = memory(&service, "VmRSS:");
    report("half load", load(&service, &traffic, count / 2, full / 2.0));
    report("500 a second", load(&service, &traffic, count / 2, 500.0));
    report("full load", load(&service, &traffic, count, 0.0));
    let after = memory(&service, "VmRSS:");
    println!("memory at most: {} KiB", memory(&service, "VmHWM:"));
    assert!(after < before + 8192, "memory grew from {before} to {after} KiB");
    assert!(memory(&service, "VmHWM:") < 64 << 10, "more than 64 MiB");
    service.stop();
}
