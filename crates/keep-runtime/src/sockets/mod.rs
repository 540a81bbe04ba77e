// SPDX-License-Identifier: Apache-2.0

//! Sockets of modules: `listen` and `connect` of Enarx.toml as descriptors of WASI preview 1.
//!
//! Preview 1 has calls for sockets that are open already, and Wasmtime does not serve them. So the
//! entries of `files` that Wasmtime knows nothing of lie in a table here, by their place in the
//! file, and the calls that may meet one are put before Wasmtime's ([`link`]). Where it is not ours, a
//! descriptor goes on to Wasmtime. Accepted connections get numbers from [`ACCEPTED`] on, which
//! Wasmtime, who always takes the lowest, does not reach.
//!
//! What the workload does not wait for still has to happen: handshakes, the rest of what was
//! written, proper ends of closed connections. All of that is driven whenever the workload waits for
//! anything, and a call that would not wait gives way once before it says so.

mod calls;
mod poll;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use enarx_config::{Config, File, Prot};
use keep_deploy::Host as _;
use keep_launch::{Event, Refusal, Stdio};
use keep_net::{Listener, NetError, Stream};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use wasmtime_wasi::p1::types::Errno;

use crate::Refused;
use crate::host::Descriptors;
use crate::network::Network;
use crate::stdio::Input;

pub(crate) use calls::link;

/// The first number of accepted connections. Wasmtime would have to open that many files first.
const ACCEPTED: u32 = 1 << 16;

/// How long a closed connection may take to end properly.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long all of them together may keep the program from its end.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// How much of what a peer still says after our end is thrown away, so that the host does not reset the
/// connection before the peer has read ours; in bytes.
const MAX_DRAINED: usize = 256 << 10;

/// The descriptors of a workload that are served here.
#[derive(Debug)]
pub(crate) struct Sockets {
    entries: BTreeMap<u32, Entry>,
    /// Places of entries of `files`; they stay ours when they are closed.
    places: BTreeSet<u32>,
    /// Whether directories come after our places.
    directories: bool,
    /// Connections that hold bytes which the host has not taken.
    unsent: BTreeSet<u32>,
    /// Ends of connections that go on without the workload.
    farewells: JoinSet<()>,
    stdin: Input,
    /// How many polls in a row found nothing but room to write, while nothing was moved.
    vain: u32,
}

/// What stands behind a descriptor.
#[derive(Debug)]
enum Entry {
    Listener {
        listener: Listener,
        nonblocking: bool,
    },
    Stream(Connection),
    /// One of the program's own streams, or nothing.
    Stdio {
        stdio: Stdio,
        flags: u16,
    },
}

/// A connection and what the workload did to it.
#[derive(Debug)]
struct Connection {
    stream: Stream,
    nonblocking: bool,
    read_shut: bool,
    write_shut: bool,
}

impl Connection {
    fn new(stream: Stream, nonblocking: bool) -> Self {
        Self { stream, nonblocking, read_shut: false, write_shut: false }
    }
}

/// Binds what listens and makes the connections, before the workload starts, which may have
/// directories too.
pub(crate) async fn open(network: &Network, directories: bool) -> Result<Sockets, Refused> {
    let config = &network.config;
    warn_of_plaintext(config);
    let mut sockets = Sockets {
        entries: BTreeMap::new(),
        places: BTreeSet::new(),
        directories,
        vain: 0,
        unsent: BTreeSet::new(),
        farewells: JoinSet::new(),
        stdin: Input::new(),
    };
    let mut connections: JoinSet<Result<(u32, Stream), Refused>> = JoinSet::new();
    for (fd, file) in (0..).zip(&config.files) {
        let entry = match file {
            File::Listen(listen) => {
                let refused = |error| refused(&listen.name, &error);
                let listener = network.net.listen(listen).await.map_err(refused)?;
                let address = listener.local_addr().to_string();
                Descriptors.event(Event::Listening { name: listen.name.clone(), address });
                Some(Entry::Listener { listener, nonblocking: false })
            }
            File::Connect(connect) => {
                let (net, connect) = (network.net.clone(), connect.clone());
                connections.spawn(async move {
                    let stream = net.connect(&connect.peer).await;
                    stream
                        .map(|stream| (fd, stream))
                        .map_err(|error| refused(&connect.name, &error))
                });
                None
            }
            // The first three as everywhere: Wasmtime has them.
            _ if fd < 3 => continue,
            file => {
                let stdio = match file {
                    File::Stdin { .. } => Stdio::Stdin,
                    File::Stdout { .. } => Stdio::Stdout,
                    File::Stderr { .. } => Stdio::Stderr,
                    _ => Stdio::Null,
                };
                Some(Entry::Stdio { stdio, flags: 0 })
            }
        };
        sockets.places.insert(fd);
        sockets.entries.extend(entry.map(|entry| (fd, entry)));
    }
    while let Some(connected) = connections.join_next().await {
        let (fd, stream) = connected.map_err(|error| {
            Refused::new(Refusal::Internal, format!("cannot make a connection\n{error}"))
        })??;
        sockets.entries.insert(fd, Entry::Stream(Connection::new(stream, false)));
    }
    Ok(sockets)
}

/// Says once which entries of Enarx.toml leave everything to the host and the network.
pub(crate) fn warn_of_plaintext(config: &Config) {
    let mut plain: Vec<String> = Vec::new();
    for file in &config.files {
        match file {
            File::Listen(listen) if listen.prot == Prot::Tcp => {
                plain.push(format!("`{}`", listen.name));
            }
            File::Connect(connect) if connect.peer.prot == Prot::Tcp => {
                plain.push(format!("`{}`", connect.name));
            }
            _ => {}
        }
    }
    let allowed = &config.network;
    let peers = allowed.allow_connect.iter().filter(|peer| peer.prot == Prot::Tcp);
    plain.extend(peers.map(|peer| format!("`{}:{}`", peer.host, peer.port)));
    let ports = allowed.allow_listen.iter().filter(|listen| listen.prot == Prot::Tcp);
    plain.extend(ports.map(|listen| format!("port {}", listen.port)));
    if !plain.is_empty() {
        let message = format!(
            "without TLS, so that the host and the network can read and change everything: {}",
            plain.join(", ")
        );
        Descriptors.event(Event::Warning { message });
    }
}

fn refused(name: &str, error: &NetError) -> Refused {
    Refused::new(Refusal::Network, format!("the socket `{name}` cannot be opened\n{error}"))
}

impl Sockets {
    /// Whether a descriptor is none of Wasmtime's.
    fn owns(&self, fd: u32) -> bool {
        fd >= ACCEPTED || self.places.contains(&fd) || self.entries.contains_key(&fd)
    }

    fn entry(&mut self, fd: u32) -> Result<&mut Entry, Errno> {
        self.entries.get_mut(&fd).ok_or(Errno::Badf)
    }

    fn connection(&mut self, fd: u32) -> Result<&mut Connection, Errno> {
        match self.entry(fd)? {
            Entry::Stream(connection) => Ok(connection),
            Entry::Listener { .. } => Err(Errno::Notconn),
            Entry::Stdio { .. } => Err(Errno::Notsock),
        }
    }

    /// The lowest number that is free for an accepted connection.
    fn free(&self) -> u32 {
        let mut free = ACCEPTED;
        for taken in self.entries.range(ACCEPTED..).map(|(fd, _)| *fd) {
            if taken != free {
                break;
            }
            free += 1;
        }
        free
    }

    /// Sends what the host did not take before, and forgets connections that are over.
    fn drive(&mut self, cx: &mut Context<'_>) {
        let entries = &mut self.entries;
        self.unsent.retain(|fd| match entries.get_mut(fd) {
            Some(Entry::Stream(connection)) => {
                Pin::new(&mut connection.stream).poll_flush(cx).is_pending()
            }
            _ => false,
        });
        while let std::task::Poll::Ready(Some(_)) = self.farewells.poll_join_next(cx) {}
    }

    fn close(&mut self, fd: u32) -> Result<(), Errno> {
        self.unsent.remove(&fd);
        match self.entries.remove(&fd) {
            Some(Entry::Stream(connection)) => {
                self.farewells.spawn(farewell(connection));
                Ok(())
            }
            Some(_) => Ok(()),
            None => Err(Errno::Badf),
        }
    }

    /// Ends all connections properly, as far as their peers let us.
    pub(crate) async fn finish(mut self) {
        let open: Vec<u32> = self.entries.keys().copied().collect();
        for fd in open {
            let _ = self.close(fd);
        }
        let all = async { while self.farewells.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST_WORDS, all).await;
    }
}

/// Ends a connection so that the peer gets all that was written, and knows that it is all.
async fn farewell(connection: Connection) {
    let Connection { mut stream, .. } = connection;
    let end = async {
        stream.shutdown().await?;
        let mut piece = [0; 4096];
        let mut drained = 0;
        while drained < MAX_DRAINED {
            let count = stream.read(&mut piece).await?;
            if count == 0 {
                break;
            }
            drained += count;
        }
        io::Result::Ok(())
    };
    let _ = tokio::time::timeout(FAREWELL, end).await;
}

/// The code of preview 1 for an error of a connection.
fn errno(error: &io::Error) -> Errno {
    match error.kind() {
        io::ErrorKind::WouldBlock => Errno::Again,
        io::ErrorKind::Interrupted => Errno::Intr,
        io::ErrorKind::BrokenPipe | io::ErrorKind::WriteZero => Errno::Pipe,
        // A connection that is cut off is one that somebody on the way may have cut.
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => Errno::Connreset,
        io::ErrorKind::ConnectionAborted => Errno::Connaborted,
        io::ErrorKind::NotConnected => Errno::Notconn,
        io::ErrorKind::TimedOut => Errno::Timedout,
        // What came is no TLS, or not by who it began with.
        io::ErrorKind::InvalidData => Errno::Proto,
        _ => Errno::Io,
    }
}
