// SPDX-License-Identifier: Apache-2.0

//! A Keep in this process: a real [`Port`] on a real [`Server`], joined by a function call.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of this")]

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use keep_backend::BackendError;
use keep_host::{Ended, Memory, Server, Stop, Streams};
use sallyport::testing::Block;
use sallyport::{Doorbell, Port, RawWindow};

/// What the last doorbell of a Keep returned, if it did not just let the Keep go on.
pub type Last = Arc<Mutex<Option<Result<Ended, BackendError>>>>;

/// Rings by calling the server.
pub struct Bell {
    pub server: Server,
    /// What leaving the Keep and coming back costs.
    pub exit: Duration,
    pub last: Last,
    pub rings: Arc<Mutex<u64>>,
}

impl Doorbell for Bell {
    fn ring(&mut self) {
        *self.rings.lock().unwrap() += 1;
        let begun = Instant::now();
        while begun.elapsed() < self.exit {}
        match self.server.doorbell(0) {
            Ok(None) => {}
            Ok(Some(ended)) => *self.last.lock().unwrap() = Some(Ok(ended)),
            Err(error) => {
                let mut last = self.last.lock().unwrap();
                if last.is_none() {
                    *last = Some(Err(error));
                }
            }
        }
    }
}

/// Memory that grows to 16 MiB.
pub struct Ram(pub u64);

impl Memory for Ram {
    fn grow(&mut self, bytes: u64) -> io::Result<u64> {
        if self.0 + bytes > 16 << 20 {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.0 += bytes;
        Ok(self.0)
    }
}

pub struct Keep {
    pub port: Port<RawWindow, Bell>,
    pub server: Server,
    pub stop: Stop,
    pub last: Last,
    pub rings: Arc<Mutex<u64>>,
    pub window: RawWindow,
    _block: Arc<Block>,
}

pub fn null() -> File {
    File::options().read(true).write(true).open("/dev/null").unwrap()
}

pub fn streams() -> Streams {
    Streams {
        stdio: [None, None, None],
        launch: b"launch".to_vec(),
        input: null(),
        output: None,
        seed: None,
        agent: None,
        network: None,
    }
}

pub fn keep(streams: Streams) -> Keep {
    keep_with_exit(streams, Duration::ZERO)
}

pub fn keep_with_exit(streams: Streams, exit: Duration) -> Keep {
    let block = Arc::new(Block::new());
    // SAFETY: the block is kept beside all that uses the window.
    let window = unsafe { block.window() };
    let stop = Stop::new().unwrap();
    let server = Server::new(window, streams, Box::new(Ram(4 << 20)), stop.clone()).unwrap();
    let (last, rings) = (Last::default(), Arc::default());
    let bell = Bell { server: server.clone(), exit, last: last.clone(), rings: Arc::clone(&rings) };
    let port = Port::new(window, bell);
    Keep { port, server, stop, last, rings, window, _block: block }
}
