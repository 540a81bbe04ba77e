// SPDX-License-Identifier: Apache-2.0

//! A host that answers as the fuzzer likes, against a real [`Port`].
//!
//! Whatever it does, the Keep's end must not panic, must come back, and must give either a result
//! that is within the bounds of what was asked for, or a [`Lie`]. And it must not be led to make a
//! request that is malformed.

use std::cell::{Cell, RefCell};
use std::vec;

use super::{Bytes, MemoryWindow};
use crate::{
    ANSWER_WORDS, ANSWERS, BULK, COMPLETED, Call, ClockId, Doorbell, ENTRIES, ExitKind, Grant,
    HOST_AWAKE, Handle, HostErrno, Lie, MAX_GRANT, Port, REQUEST_WORDS, REQUESTS, Request,
    SEND_WINDOW, SHARED_SIZE, SUBMITTED, SocketEvent, SocketFlags, SocketKind, SocketOption,
    Stream, Window, entry,
};

/// More rings than that for one call, and the Keep's end hangs.
const PATIENCE: u32 = 1_000;

struct Host<'a> {
    window: &'a MemoryWindow,
    bytes: &'a RefCell<Bytes<'a>>,
    rings: &'a Cell<u32>,
    seen: u64,
    answered: u64,
}

impl Host<'_> {
    /// Answers what was submitted, honestly for the most part, and then tampers.
    fn act(&mut self) {
        let bytes = &mut *self.bytes.borrow_mut();
        let submitted = self.window.load(SUBMITTED);
        assert!(submitted - self.seen <= ENTRIES, "more requests than fit");
        for n in self.seen..submitted {
            let at = entry(REQUESTS, REQUEST_WORDS, n);
            let words = core::array::from_fn(|word| self.window.load(at + word * 8));
            // The direction of a stream is the caller's business.
            let sound = matches!(Request::decode(&words), Ok(_) | Err(HostErrno::BadStream));
            assert!(sound, "a malformed request: {words:x?}");
        }
        self.seen = submitted;
        let plan = bytes.byte();
        if plan & 1 == 0 {
            while self.answered < submitted {
                self.answer(bytes);
            }
            self.window.store(COMPLETED, self.answered);
        }
        if plan & 0x0e == 0x02 {
            self.window.store(COMPLETED, bytes.word());
        }
        if plan & 0x30 == 0x10 {
            self.window.store(HOST_AWAKE, bytes.word());
        }
        if plan & 0xc0 == 0x40 {
            for _ in 0..bytes.byte() % 8 {
                let at = bytes.place();
                // A request that it has not looked at would be its own, not the Keep's.
                if at != SUBMITTED {
                    self.window.store(at, bytes.word());
                }
            }
        }
    }

    fn answer(&mut self, bytes: &mut Bytes<'_>) {
        let request = entry(REQUESTS, REQUEST_WORDS, self.answered);
        // Mostly the length that was asked for, which suits READ and WRITE.
        let mut words = [self.answered, 0, self.window.load(request + 3 * 8), 0];
        if self.window.load(request) == Call::Poll.number() {
            words[2] = self.events(bytes) << 32;
        } else if self.window.load(request) >= Call::Listen.number() {
            words[2] = 0;
        }
        match bytes.byte() {
            0..160 => {}
            160..192 => words[2] = bytes.word(),
            192..224 => words[1] = u64::from(bytes.byte() % 40),
            kind => words[usize::from(kind % 4)] = bytes.word(),
        }
        let at = entry(ANSWERS, ANSWER_WORDS, self.answered);
        for (n, word) in words.into_iter().enumerate() {
            self.window.store(at + n * 8, word);
        }
        self.answered += 1;
    }
}

impl Host<'_> {
    /// Writes events, sound ones for the most part; how many bytes they are.
    fn events(&self, bytes: &mut Bytes<'_>) -> u64 {
        let mut at = BULK;
        for _ in 0..bytes.byte() % 4 {
            let Some(handle) = Handle::new(u64::from(bytes.byte()) * 9 % 2048) else { break };
            let len = usize::from(bytes.byte());
            let local = ([127, 0, 0, 1], 80).into();
            let event = match bytes.byte() % 6 {
                0 => SocketEvent::Data { handle, len, more: len % 2 == 0 },
                1 => SocketEvent::Room { handle, queued: len % 3 },
                2 => SocketEvent::End { handle },
                3 => SocketEvent::Failed { handle, errno: HostErrno::Reset },
                4 => SocketEvent::Connected { handle, local },
                _ => SocketEvent::Accepted { listener: handle, handle, peer: local, local },
            };
            let (mut words, count) = event.encode();
            if bytes.byte() > 200 {
                words[usize::from(bytes.byte()) % count] = bytes.word();
            }
            for word in &words[..count] {
                self.window.store(at, *word);
                at += 8;
            }
            if matches!(event, SocketEvent::Data { .. }) {
                at += len.next_multiple_of(8);
            }
        }
        (at - BULK) as u64
    }
}

impl Doorbell for Host<'_> {
    fn ring(&mut self) {
        self.rings.set(self.rings.get() + 1);
        assert!(self.rings.get() < PATIENCE, "the Keep rings without end");
        self.act();
    }

    fn relax(&mut self) {
        // While the Keep spins, the host acts now and then.
        if !self.bytes.borrow().is_empty() && self.bytes.borrow_mut().byte() & 3 == 0 {
            self.act();
        }
    }
}

/// Runs a Keep against the host that `input` describes.
pub fn lying_host(input: &[u8]) {
    let window = MemoryWindow::default();
    let bytes = RefCell::new(Bytes::new(input));
    let rings = Cell::new(0);
    let host = Host { window: &window, bytes: &bytes, rings: &rings, seen: 0, answered: 0 };
    let mut port = Port::new(&window, host);
    while !bytes.borrow().is_empty() {
        rings.set(0);
        if one_call(&mut port, &bytes).is_err() {
            break;
        }
    }
    // A kernel that was lied to still says so.
    port.post_exit(ExitKind::Panic, b"lied to");
}

fn one_call(
    port: &mut Port<&MemoryWindow, Host<'_>>,
    bytes: &RefCell<Bytes<'_>>,
) -> Result<(), Lie> {
    let next = || bytes.borrow_mut().byte();
    let stream = Stream::ALL[usize::from(next()) % Stream::ALL.len()];
    let len = || bytes.borrow_mut().word() as usize % (SHARED_SIZE + 2);
    match next() % 12 {
        8.. => one_socket_call(port, bytes)?,
        0 | 1 => {
            let len = len().min(1 << 12);
            let mut buf = vec![0xa5; len];
            if let Ok(n) = port.read(stream, &mut buf)? {
                assert!(n <= len);
                assert!(buf[n..].iter().all(|&byte| byte == 0xa5), "read beyond the answer");
            }
        }
        2 => {
            let data = vec![1; len().min(1 << 12)];
            if let Ok(n) = port.write(stream, &data)? {
                assert!(n <= data.len());
            }
        }
        3 | 4 => {
            let data = vec![1; len().min(3 << 16)];
            if let Ok(n) = port.write_later(stream, &data)? {
                assert!(n <= data.len() && (n > 0 || data.is_empty()));
            }
        }
        5 => {
            let mask = u64::from(next()) & Stream::POLLABLE;
            if let Ok(ready) = port.poll(mask, 0)? {
                assert_eq!(ready & !mask, 0);
            }
            port.flush()?;
        }
        6 => assert!(port.clock(ClockId::Monotonic)? <= i64::MAX as u64),
        _ => {
            let (have, more, limit) = (8 << 20, 2 << 20, 64 << 20);
            if let Ok(total) = port.grow(have, more, limit)? {
                assert!(total >= have + more && total <= limit && total.is_multiple_of(2 << 20));
            }
        }
    }
    Ok(())
}

fn one_socket_call(
    port: &mut Port<&MemoryWindow, Host<'_>>,
    bytes: &RefCell<Bytes<'_>>,
) -> Result<(), Lie> {
    let next = || bytes.borrow_mut().byte();
    let handle = Handle::new(u64::from(next() % 4)).expect("it is small");
    let flags = SocketFlags::decode(u64::from(next()));
    let address = ([127, 0, 0, 1], u16::from(next())).into();
    match next() % 10 {
        0 => {
            if let Ok(bound) = port.bind(handle, flags, address)? {
                assert!(bound != 0 && (address.port() == 0 || address.port() == bound));
            }
        }
        1 => _ = port.connect(handle, flags, address)?,
        2 => _ = port.listen(handle, next().into())?,
        3 => port.shutdown(handle)?,
        4 => port.close(handle)?,
        5 => port.option(handle, SocketOption::NoDelay, next().into())?,
        6 | 7 => {
            let data = vec![1; usize::from(next()) << (next() % 11)];
            let room = port.room(handle);
            assert!(room <= SEND_WINDOW);
            let kind = if next() % 4 == 0 { SocketKind::Datagram } else { SocketKind::Stream };
            let sent = port.send(handle, kind, &data)?;
            assert!(kind == SocketKind::Datagram || sent <= room.max(SEND_WINDOW));
        }
        _ => {
            let grants = vec![Grant { handle, allowance: next().into(), room: true }; 3];
            let Ok((ready, mut events)) = port.exchange(0, 0, &grants)? else { return Ok(()) };
            assert_eq!(ready, 0);
            while let Some(event) = port.next_event(&mut events)? {
                if let SocketEvent::Data { len, .. } = event {
                    assert!(len <= MAX_GRANT);
                    port.payload(&mut events, &mut vec![0; len])?;
                }
            }
        }
    }
    Ok(())
}
