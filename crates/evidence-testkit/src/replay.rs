// SPDX-License-Identifier: Apache-2.0

//! A server on this machine that answers as a vendor's service does, and fails as one does.
//!
//! It speaks as much HTTP as its tests need: one request per connection, and an answer that is whole, cut
//! short, late or none at all.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What is answered.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Headers, besides length and connection.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// What goes wrong on the way.
    pub fault: Fault,
}

/// What goes wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The connection breaks in the middle of the body.
    HalfBody,
    /// The connection breaks before the first byte.
    HangUp,
    /// It comes late.
    Late(Duration),
}

impl Reply {
    /// Success, with that body.
    #[must_use]
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, headers: Vec::new(), body: body.into(), fault: Fault::None }
    }

    /// Another status.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::ok("") }
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With a fault.
    #[must_use]
    pub fn fault(self, fault: Fault) -> Self {
        Self { fault, ..self }
    }
}

/// A request, as far as anybody wants to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// `GET` or `POST`.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The body.
    pub body: Vec<u8>,
    /// How often that target was asked for before.
    pub before: usize,
}

/// The server. It ends with its value.
#[derive(Debug)]
pub struct Replay {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    end: Arc<AtomicBool>,
}

impl Replay {
    /// Starts one on a free port; `answer` says what is answered.
    ///
    /// # Panics
    ///
    /// If there is no port.
    #[must_use]
    pub fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (asked, end) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (log, over) = (Arc::clone(&asked), Arc::clone(&end));
        let (answer, counts) = (Arc::new(answer), Arc::new(Mutex::new(HashMap::new())));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                let counts: Arc<Mutex<HashMap<String, usize>>> = Arc::clone(&counts);
                thread::spawn(move || {
                    let Some(mut request) = read(&stream) else { return };
                    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
                    let count = counts.entry(request.target.clone()).or_default();
                    request.before = *count;
                    *count += 1;
                    drop(counts);
                    log.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
                    // Whoever hangs up in the middle does not want to know.
                    let _ = write(stream, &answer(&request));
                });
            }
        });
        Self { address, asked, end }
    }

    /// `http://127.0.0.1:PORT/`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// All requests so far, in their order.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        // The thread is in `accept`.
        drop(TcpStream::connect(self.address));
    }
}

fn read(mut stream: &TcpStream) -> Option<Asked> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        match stream.read(&mut part) {
            Ok(count) if count > 0 && bytes.len() < 1 << 20 => bytes.extend(&part[..count]),
            _ => return None,
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_owned)
        })
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(0);
    while bytes.len() < end + length {
        match stream.read(&mut part) {
            Ok(count) if count > 0 => bytes.extend(&part[..count]),
            _ => return None,
        }
    }
    let mut words = head.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    Some(Asked { method, target, body: bytes[end..].to_vec(), before: 0 })
}

fn write(mut stream: TcpStream, reply: &Reply) -> std::io::Result<()> {
    let mut body = reply.body.as_slice();
    match reply.fault {
        Fault::None => {}
        Fault::HangUp => return Ok(()),
        Fault::HalfBody => body = &body[..body.len() / 2],
        Fault::Late(pause) => thread::sleep(pause),
    }
    let mut head = format!("HTTP/1.1 {} Status\r\nConnection: close\r\n", reply.status);
    head += &format!("Content-Length: {}\r\n", reply.body.len());
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    stream.write_all(body)?;
    stream.flush()
}
