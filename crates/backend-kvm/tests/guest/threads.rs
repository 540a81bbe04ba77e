// SPDX-License-Identifier: Apache-2.0

//! Several threads at once: that they run, wait for each other, fault and end as on Linux.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

unsafe extern "C" {
    fn mmap(at: *mut u8, len: usize, prot: i32, flags: i32, fd: i32, offset: i64) -> *mut u8;
    fn munmap(at: *mut u8, len: usize) -> i32;
    fn mprotect(at: *mut u8, len: usize, prot: i32) -> i32;
}

/// Fresh memory.
fn map(len: usize) -> *mut u8 {
    // SAFETY: a new mapping at an address that the kernel chooses.
    let place = unsafe { mmap(std::ptr::null_mut(), len, 3, 0x22, -1, 0) };
    assert!(place as isize > 0, "no memory");
    place
}

fn unmap(place: *mut u8, len: usize) {
    // SAFETY: it came from `map`, and nobody uses it any more.
    assert_eq!(unsafe { munmap(place, len) }, 0);
}

fn protect(place: *mut u8, len: usize, prot: i32) {
    // SAFETY: as above.
    assert_eq!(unsafe { mprotect(place, len, prot) }, 0);
}

pub(crate) fn one(what: &str) {
    match what {
        "meet" => meet(),
        "many" => many(),
        "locks" => locks(),
        "times" => times(),
        "memory" => {
            rights();
            moves();
        }
        "sockets" => sockets(),
        "stdin" => stdin(),
        "crash" => crash(),
        "exit" => exit(),
        "spin" => spin(),
        _ => panic!("what is {what:?}?"),
    }
}

/// Two threads that see each other's stores without any call: they run at the same time.
fn meet() {
    static TURN: AtomicU32 = AtomicU32::new(0);
    let other = thread::spawn(|| {
        for turn in 0..20_000 {
            while TURN.load(Ordering::Acquire) != 2 * turn + 1 {
                std::hint::spin_loop();
            }
            TURN.store(2 * turn + 2, Ordering::Release);
        }
    });
    for turn in 0..20_000 {
        TURN.store(2 * turn + 1, Ordering::Release);
        while TURN.load(Ordering::Acquire) != 2 * turn + 2 {
            std::hint::spin_loop();
        }
    }
    other.join().expect("its end");
}

/// As many as there are processors, again and again; one more is refused.
fn many() {
    let limit = thread::available_parallelism().expect("a number").get();
    for round in 0..20 {
        let barrier = Arc::new(Barrier::new(limit));
        let threads: Vec<_> = (1..limit)
            .map(|number| {
                let barrier = Arc::clone(&barrier);
                thread::Builder::new()
                    .spawn(move || {
                        barrier.wait();
                        number * round
                    })
                    .expect("a thread")
            })
            .collect();
        // On a plain Linux there is no such limit.
        if !std::path::Path::new("/proc/self").exists() {
            let more = thread::Builder::new().spawn(|| {});
            assert!(more.is_err(), "there is no processor for it");
        }
        barrier.wait();
        for (number, thread) in (1..).zip(threads) {
            assert_eq!(thread.join().expect("its end"), number * round);
        }
    }
    println!("{limit}");
}

/// Mutexes, condition variables and channels.
fn locks() {
    let counter = Arc::new(Mutex::new(0_u64));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let counter = Arc::clone(&counter);
            thread::spawn(move || {
                for _ in 0..3_000 {
                    *counter.lock().expect("the lock") += 1;
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("its end"));
    assert_eq!(*counter.lock().expect("the lock"), 6_000);

    let pair = Arc::new((Mutex::new(0), Condvar::new()));
    let theirs = Arc::clone(&pair);
    let other = thread::spawn(move || {
        let (number, changed) = &*theirs;
        for expected in (1..200).step_by(2) {
            let mut number = number.lock().expect("the lock");
            while *number != expected {
                number = changed.wait(number).expect("the lock");
            }
            *number += 1;
            changed.notify_all();
        }
    });
    let (number, changed) = &*pair;
    for expected in (0..200).step_by(2) {
        let mut number = number.lock().expect("the lock");
        while *number != expected {
            number = changed.wait(number).expect("the lock");
        }
        *number += 1;
        changed.notify_all();
    }
    other.join().expect("its end");

    let (sender, receiver) = sync_channel(1);
    let other = thread::spawn(move || (0..300_u64).for_each(|n| sender.send(n).expect("a reader")));
    assert_eq!(receiver.iter().sum::<u64>(), 299 * 300 / 2);
    other.join().expect("its end");
}

/// Waiting with a limit, asleep or for something that does not come, while others run.
fn times() {
    let start = Instant::now();
    let other = thread::spawn(|| {
        let start = Instant::now();
        thread::sleep(Duration::from_millis(30));
        assert!(start.elapsed() >= Duration::from_millis(30));
    });
    let (sender, receiver) = channel::<()>();
    assert!(receiver.recv_timeout(Duration::from_millis(20)).is_err());
    assert!(start.elapsed() >= Duration::from_millis(20));
    thread::sleep(Duration::from_millis(1));
    drop(sender);
    other.join().expect("its end");
    let mutex = Mutex::new(());
    let (guard, result) =
        Condvar::new().wait_timeout(mutex.lock().expect("it"), Duration::from_millis(5)).expect("it");
    assert!(result.timed_out());
    drop(guard);
}

/// Rights that one thread takes, another has not any more, although it makes no call.
fn rights() {
    const LEN: usize = 1 << 20;
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    static ANSWER: AtomicUsize = AtomicUsize::new(0);
    crate::memory::note_faults();
    let other = thread::spawn(|| loop {
        let at = ASKED.swap(0, Ordering::AcqRel);
        match at {
            0 => std::hint::spin_loop(),
            1 => break,
            at => {
                let code = crate::memory::store(at as *mut u8).map_or_else(|code| code as usize, |()| 0);
                ANSWER.store(code + 1, Ordering::Release);
            }
        }
    });
    let ask = |at: *mut u8| {
        ASKED.store(at as usize, Ordering::Release);
        loop {
            match ANSWER.swap(0, Ordering::AcqRel) {
                0 => std::hint::spin_loop(),
                answer => break answer - 1,
            }
        }
    };
    for round in 0..100 {
        let place = map(LEN);
        let at = place.wrapping_add(round % 5 * 4096);
        assert_eq!(ask(at), 0);
        assert_eq!(ask(at), 0, "what it remembers");
        protect(place, LEN, 1);
        assert_eq!(ask(at), 2, "to be read only, round {round}");
        protect(place, LEN, 3);
        assert_eq!(ask(at), 0);
        protect(place, LEN, 0);
        assert_eq!(ask(at), 2, "nothing, round {round}");
        protect(place, LEN, 3);
        assert_eq!(ask(at), 0);
        unmap(place, LEN);
        assert_eq!(ask(at), 1, "gone, round {round}");
    }
    ASKED.store(1, Ordering::Release);
    other.join().expect("its end");
}

/// Memory that one thread takes away, another does not see any more.
fn moves() {
    const LEN: usize = 64 << 12;
    static PLACE: AtomicUsize = AtomicUsize::new(0);
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    static ENDS: AtomicBool = AtomicBool::new(false);
    // It makes no call, so it learns of nothing but by the processor.
    let other = thread::spawn(|| {
        let mut round = 0;
        while !ENDS.load(Ordering::Acquire) {
            let place = PLACE.load(Ordering::Acquire);
            if place & 1 == 1 {
                let at = (place & !1) as *mut u8;
                for page in (0..LEN).step_by(4096) {
                    // SAFETY: the other thread keeps the memory until we say that we are done.
                    unsafe {
                        assert_eq!(at.add(page).read_volatile(), 0, "old memory, round {round}");
                        at.add(page).write_volatile(7);
                    }
                }
                round += 1;
                PLACE.store(0, Ordering::Release);
                SEEN.store(round, Ordering::Release);
            }
            std::hint::spin_loop();
        }
    });
    let first = map(LEN);
    unmap(first, LEN);
    for round in 1..=150 {
        // The same address again and again, with other memory behind it.
        let place = map(LEN);
        PLACE.store(place as usize | 1, Ordering::Release);
        while SEEN.load(Ordering::Acquire) != round {
            std::hint::spin_loop();
        }
        // SAFETY: it is ours again.
        unsafe { assert_eq!(place.read_volatile(), 7) };
        if round % 2 == 0 {
            protect(place, LEN, 0);
            protect(place, LEN, 1);
        }
        unmap(place, LEN);
    }
    ENDS.store(true, Ordering::Release);
    other.join().expect("its end");

    // Both touch the same fresh memory at the same time.
    for _ in 0..20 {
        let place = map(LEN) as usize;
        let barrier = Arc::new(Barrier::new(2));
        let touch = move |from: usize| {
            for page in (0..LEN).step_by(4096) {
                // SAFETY: the memory is there until both are done; each has bytes of its own.
                unsafe { ((place + page + from) as *mut u8).write_volatile(from as u8 + 1) };
            }
        };
        let theirs = Arc::clone(&barrier);
        let other = thread::spawn(move || {
            theirs.wait();
            touch(1);
        });
        barrier.wait();
        touch(0);
        other.join().expect("its end");
        for page in (0..LEN).step_by(4096) {
            // SAFETY: as above; nobody else uses it any more.
            let both = unsafe { ((place + page) as *const [u8; 2]).read_volatile() };
            assert_eq!(both, [1, 2]);
        }
        unmap(place as *mut u8, LEN);
    }
}

/// One thread waits for connections while another talks, and a third computes.
fn sockets() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address");
    let busy = Arc::new(AtomicBool::new(true));
    let computes = Arc::clone(&busy);
    let (began, begun) = std::sync::mpsc::channel();
    let third = thread::spawn(move || {
        let mut rounds = 0_u64;
        began.send(()).expect("somebody waits");
        while computes.load(Ordering::Relaxed) {
            rounds += 1;
        }
        rounds
    });
    let server = thread::spawn(move || {
        for _ in 0..20 {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut buf = [0; 1000];
            loop {
                match stream.read(&mut buf).expect("bytes") {
                    0 => break,
                    n => stream.write_all(&buf[..n]).expect("sent"),
                }
            }
        }
    });
    begun.recv().expect("a third thread");
    for round in 0..20_u8 {
        let mut stream = TcpStream::connect(address).expect("connected");
        stream.write_all(&[round; 300]).expect("sent");
        let mut back = [0; 300];
        stream.read_exact(&mut back).expect("bytes");
        assert_eq!(back, [round; 300]);
    }
    server.join().expect("its end");
    busy.store(false, Ordering::Relaxed);
    assert!(third.join().expect("its end") > 0);
}

/// Who waits for standard input does not keep others from anything.
fn stdin() {
    let reader = thread::spawn(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).expect("a line");
        line
    });
    for number in 0..5 {
        println!("{number}");
        thread::sleep(Duration::from_millis(2));
    }
    println!("ready");
    assert_eq!(reader.join().expect("its end"), "a line\n");
}

/// A thread that touches what is not there ends the program.
fn crash() {
    let thread = thread::spawn(|| {
        // SAFETY: it is not; that is the point.
        unsafe { (0x123_000 as *mut u8).write_volatile(1) };
    });
    thread.join().expect("not even that");
}

/// The program ends although a thread runs and another waits.
fn exit() {
    thread::spawn(|| loop {
        std::hint::spin_loop();
    });
    thread::spawn(|| thread::sleep(Duration::from_secs(1000)));
    thread::sleep(Duration::from_millis(5));
}

/// Until somebody ends it from outside.
fn spin() {
    println!("ready");
    let other = thread::spawn(|| loop {
        std::hint::spin_loop();
    });
    other.join().expect("never");
}
