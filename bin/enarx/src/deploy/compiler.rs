// SPDX-License-Identifier: Apache-2.0

//! A compiler Keep, if the runtime Keep asks for one.
//!
//! The host agent listens where the runtime Keep was told that a compiler answers, and starts one at
//! the first connection. It carries bytes from one Keep to the other and understands none of them:
//! the two speak TLS with each other, and each looks at the other's certificate.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use evidence_development::Root;
use keep_backend::{Backend, Killer, NetworkLimits, Program, Spec};
use keep_launch::{CompileService, Event, Launch, Report};

use crate::agent::{self, Happening, Progress, Watch};
use crate::exit::{Code, Failure};

/// More connections at a time than a runtime Keep has any use for.
const MAX_CONNECTIONS: usize = 4;
/// A compiler Keep has so long until it listens: it starts and gets a certificate.
const START: Duration = Duration::from_secs(60);
/// A connection on which nothing moves for so long is over; a large module compiles for minutes.
const IDLE: Duration = Duration::from_secs(900);
/// Memory that a compiler Keep may take at least.
const MEMORY: u64 = 4 << 30;

/// What a compiler Keep is started with.
pub(super) struct Setup {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) root: Option<Arc<Root>>,
    pub(super) service: CompileService,
    pub(super) memory: u64,
    pub(super) watch: Watch,
    pub(super) progress: Progress,
}

/// The place where a compiler answers. When it is dropped, the Keep behind it ends.
pub(super) struct Compiler {
    shared: Arc<Shared>,
    address: SocketAddr,
}

struct Shared {
    setup: Setup,
    stopped: AtomicBool,
    connections: AtomicUsize,
    /// Ends the Keep, from the moment on at which there is one.
    killer: Mutex<Option<Arc<dyn Killer>>>,
    /// Locked while the Keep starts, so that there is only one.
    keep: Mutex<State>,
}

/// How far the compiler Keep is.
enum State {
    Absent,
    Running(SocketAddr),
    /// It could not be started, or has ended; nobody tries twice.
    Gone,
}

impl Compiler {
    /// Listens at a free port of the loopback interface.
    pub(super) fn listen(setup: Setup) -> Result<Self, Failure> {
        let failed = "cannot listen for the compiler Keep";
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context(failed)?;
        let address = listener.local_addr().context(failed)?;
        let shared = Arc::new(Shared {
            setup,
            stopped: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            killer: Mutex::new(None),
            keep: Mutex::new(State::Absent),
        });
        let accepting = Arc::clone(&shared);
        thread::Builder::new()
            .name("compiler".into())
            .spawn(move || accept(&accepting, &listener))
            .context("cannot start a thread")?;
        Ok(Self { shared, address })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A way to end it from elsewhere, once it has done its work.
    pub(super) fn stopper(&self) -> impl Fn() + Send + use<> {
        let (shared, address) = (Arc::clone(&self.shared), self.address);
        move || shared.stop(address)
    }
}

impl Drop for Compiler {
    fn drop(&mut self) {
        self.shared.stop(self.address);
    }
}

impl Shared {
    fn stop(&self, address: SocketAddr) {
        if self.stopped.swap(true, Ordering::SeqCst) {
            return;
        }
        if let Some(killer) = &*self.killer.lock().unwrap_or_else(PoisonError::into_inner) {
            killer.kill();
        }
        // Whoever waits for a connection gets one, and sees that it is over.
        let _ = TcpStream::connect_timeout(&address, Duration::from_secs(1));
    }
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else {
            // Out of descriptors, most likely.
            thread::sleep(Duration::from_millis(50));
            continue;
        };
        if shared.connections.fetch_add(1, Ordering::SeqCst) >= MAX_CONNECTIONS {
            shared.connections.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let carrying = Arc::clone(shared);
        let spawned = thread::Builder::new().name("compiler-carry".into()).spawn(move || {
            if let Some(address) = start(&carrying)
                && let Err(error) = carry(stream, address)
            {
                tracing::debug!(%error, "the connection to the compiler Keep ended");
            }
            carrying.connections.fetch_sub(1, Ordering::SeqCst);
        });
        if spawned.is_err() {
            shared.connections.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// The address of the compiler Keep, which is started if there is none yet.
fn start(shared: &Arc<Shared>) -> Option<SocketAddr> {
    let mut state = shared.keep.lock().unwrap_or_else(PoisonError::into_inner);
    match &*state {
        State::Running(address) => return Some(*address),
        State::Gone => return None,
        State::Absent if shared.stopped.load(Ordering::SeqCst) => return None,
        State::Absent => {}
    }
    *state = State::Gone;
    match launch(shared) {
        Ok(address) => {
            *state = State::Running(address);
            Some(address)
        }
        Err(failure) => {
            if !shared.stopped.load(Ordering::SeqCst) && !failure.line().is_empty() {
                warn(&shared.setup.progress, &failure.line());
            }
            None
        }
    }
}

fn launch(shared: &Shared) -> Result<SocketAddr, Failure> {
    let setup = &shared.setup;
    setup.progress.tell(&Happening::Compiler);
    let (listening, listens) = mpsc::channel();
    let progress = setup.progress.clone();
    let spec = Spec {
        program: Program::Compiler,
        launch: Launch::CompileService(setup.service.clone()).encode(),
        input: File::open("/dev/null").context("cannot open /dev/null")?,
        output: None,
        stdio: [None, None, None],
        seeds: Vec::new(),
        memory: setup.memory.max(MEMORY),
        processors: setup.backend.threads(),
        evidence: agent::source(&setup.backend, Program::Compiler, setup.root.as_ref()),
        // Its steps and certificates are its own affair.
        events: Some(Box::new(move |event| match event {
            Event::Listening { address, .. } => {
                let _ = listening.send(address);
            }
            Event::Warning { message } => warn(&progress, &message),
            _ => {}
        })),
        network: Some(NetworkLimits::all()),
        signatures: None,
    };
    let keep = setup.backend.launch(spec).map_err(agent::backend_failure)?;
    let killer: Arc<dyn Killer> = Arc::from(keep.killer);
    let guard = setup.watch.guard(Box::new(Shot(Arc::clone(&killer))), None)?;
    *shared.killer.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&killer));
    if shared.stopped.load(Ordering::SeqCst) {
        killer.kill();
    }
    let (keep, progress) = (keep.keep, setup.progress.clone());
    thread::Builder::new()
        .name("compiler-keep".into())
        .spawn(move || {
            let result = keep.serve();
            drop(guard);
            match result {
                Ok(Report::Refused { message, .. }) => warn(&progress, &message),
                Ok(_) | Err(keep_backend::BackendError::Killed) => {}
                Err(error) => warn(&progress, &error.to_string()),
            }
        })
        .context("cannot start a thread")?;
    // When the Keep ends, so does the channel.
    let address = listens.recv_timeout(START).map_err(|error| match error {
        // The thread that serves it says why it ended.
        mpsc::RecvTimeoutError::Disconnected => Failure::told(Code::Keep),
        mpsc::RecvTimeoutError::Timeout => Failure::msg(Code::Keep, "it does not listen"),
    })?;
    Ok(address.parse().context("the compiler Keep listens at no address")?)
}

fn warn(progress: &Progress, message: &str) {
    let message = format!("the compiler Keep: {}", message.replace('\n', "; "));
    progress.tell(&Happening::Keep(Event::Warning { message }));
}

/// A killer that somebody else has as well.
struct Shot(Arc<dyn Killer>);

impl Killer for Shot {
    fn kill(&self) {
        self.0.kill();
    }
}

/// Carries bytes both ways until both ends have said all.
fn carry(near: TcpStream, address: SocketAddr) -> io::Result<()> {
    let far = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
    for stream in [&near, &far] {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(IDLE))?;
        stream.set_write_timeout(Some(IDLE))?;
    }
    let (to_near, from_far) = (near.try_clone()?, far.try_clone()?);
    let back = thread::Builder::new()
        .name("compiler-carry".into())
        .spawn(move || one_way(from_far, to_near))?;
    one_way(near, far);
    let _ = back.join();
    Ok(())
}

fn one_way(mut from: TcpStream, mut to: TcpStream) {
    match io::copy(&mut from, &mut to) {
        Ok(_) => {
            let _ = to.shutdown(Shutdown::Write);
        }
        Err(_) => {
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn bytes_are_carried_both_ways_to_their_end() {
        let echo = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = echo.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = echo.accept().unwrap();
            let mut got = Vec::new();
            stream.read_to_end(&mut got).unwrap();
            got.reverse();
            stream.write_all(&got).unwrap();
        });
        let front = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut client = TcpStream::connect(front.local_addr().unwrap()).unwrap();
        let near = front.accept().unwrap().0;
        let carrying = thread::spawn(move || carry(near, address));
        client.write_all(&[1, 2, 3]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        assert_eq!(got, [3, 2, 1]);
        carrying.join().unwrap().unwrap();
        server.join().unwrap();
    }

    #[test]
    fn nobody_behind_it_is_an_error() {
        let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let front = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let _client = TcpStream::connect(front.local_addr().unwrap()).unwrap();
        assert!(carry(front.accept().unwrap().0, gone).is_err());
    }
}
