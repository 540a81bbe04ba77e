// SPDX-License-Identifier: Apache-2.0

//! Servers as reactors are: one thread, edge-triggered `epoll`, sockets that never wait.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Event {
    events: u32,
    data: u64,
}

unsafe extern "C" {
    fn epoll_create1(flags: i32) -> i32;
    fn epoll_ctl(epoll: i32, operation: i32, fd: i32, event: *mut Event) -> i32;
    fn epoll_wait(epoll: i32, events: *mut Event, max: i32, timeout: i32) -> i32;
}

const IN: u32 = 1;
const OUT: u32 = 4;
const RDHUP: u32 = 0x2000;
const EDGE: u32 = 1 << 31;

struct Reactor(i32);

impl Reactor {
    fn new() -> Self {
        // SAFETY: no pointers.
        Self(unsafe { epoll_create1(0) })
    }

    fn add(&self, fd: i32) {
        let mut event = Event { events: IN | OUT | RDHUP | EDGE, data: fd as u64 };
        // SAFETY: the event lives.
        assert_eq!(unsafe { epoll_ctl(self.0, 1, fd, &mut event) }, 0);
    }

    fn wait(&self, timeout: i32) -> Vec<(i32, u32)> {
        let mut events = [Event { events: 0, data: 0 }; 64];
        // SAFETY: there is room for 64 events.
        let n = unsafe { epoll_wait(self.0, events.as_mut_ptr(), 64, timeout) };
        assert!(n >= 0, "{}", std::io::Error::last_os_error());
        events[..n as usize].iter().map(|event| (event.data as i32, event.events)).collect()
    }
}

struct Connection {
    stream: TcpStream,
    unsent: Vec<u8>,
    ended: bool,
}

impl Connection {
    /// Goes on until it would have to wait; whether it is over.
    fn turn(&mut self, buf: &mut [u8]) -> std::io::Result<bool> {
        loop {
            while !self.unsent.is_empty() {
                match self.stream.write(&self.unsent) {
                    Ok(n) => drop(self.unsent.drain(..n)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                    Err(error) => return Err(error),
                }
            }
            if self.ended {
                return Ok(true);
            }
            match self.stream.read(buf) {
                Ok(0) => self.ended = true,
                Ok(n) => self.unsent.extend(&buf[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Echoes until so many connections have come and gone.
pub(crate) fn echo(address: &str, count: usize) {
    let listener = TcpListener::bind(address).expect("bound");
    listener.set_nonblocking(true).expect("an option");
    crate::say(&listener.local_addr().expect("an address").to_string());
    let reactor = Reactor::new();
    reactor.add(listener.as_raw_fd());
    let mut open = HashMap::new();
    let mut buf = vec![0; 16 << 10];
    let (mut gone, mut most) = (0, 0);
    while gone < count {
        for (fd, _) in reactor.wait(-1) {
            if fd == listener.as_raw_fd() {
                loop {
                    match listener.accept() {
                        Ok((stream, _)) => {
                            stream.set_nonblocking(true).expect("an option");
                            reactor.add(stream.as_raw_fd());
                            let unsent = Vec::new();
                            let fd = stream.as_raw_fd();
                            open.insert(fd, Connection { stream, unsent, ended: false });
                        }
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => panic!("{error}"),
                    }
                }
                most = most.max(open.len());
                continue;
            }
            let Some(connection) = open.get_mut(&fd) else { continue };
            // A peer that breaks off is nobody else's concern.
            if connection.turn(&mut buf).unwrap_or(true) {
                open.remove(&fd);
                gone += 1;
            }
        }
    }
    crate::say(&format!("most {most}"));
}

/// Answers each piece with a small one, and a line with many bytes, as a server of small pages does;
/// ends with its first connection.
pub(crate) fn pingpong(address: &str) {
    echo(address, 1);
}
