// SPDX-License-Identifier: Apache-2.0

//! The filter against the real kernel: what is forbidden ends the process, what serving takes does
//! not. Each case runs in a process of its own, which is this test program started again.

#![cfg(target_os = "linux")]

mod common;

use std::os::fd::AsRawFd;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use common::{keep, streams};
use keep_backend::NetworkLimits;
use keep_host::{Allow, Filter, Poller, Scope, Streams};
use sallyport::{ClockId, Stream};

const CASE: &str = "KEEP_HOST_SECCOMP_CASE";

/// Runs a test of this program again, as the case that it is to be.
fn again(test: &str, case: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CASE, case)
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap()
}

fn case() -> Option<String> {
    std::env::var(CASE).ok()
}

fn confine(allow: Allow) {
    Filter::new(&allow).unwrap().install(Scope::Thread).unwrap();
}

fn exec_memory() -> *mut libc::c_void {
    let prot = libc::PROT_READ | libc::PROT_EXEC;
    // SAFETY: a new mapping.
    unsafe {
        libc::mmap(std::ptr::null_mut(), 4096, prot, libc::MAP_PRIVATE | libc::MAP_ANON, -1, 0)
    }
}

/// glibc looks how the kernel commits memory before it gives some back, and how many processors there are
/// before it makes another heap; that may not end a Keep.
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
#[test]
fn the_allocator_is_refused_and_goes_on() {
    if case().is_none() {
        let output = again("the_allocator_is_refused_and_goes_on", "ask");
        assert!(output.status.success(), "{output:?}");
        return;
    }
    confine(Allow::default());
    for path in ["/proc/sys/vm/overcommit_memory", "/sys/devices/system/cpu/online", "/proc/stat"] {
        let error = std::fs::File::open(path).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EACCES));
    }
    std::process::exit(0);
}

#[test]
fn forbidden_calls_end_the_process() {
    let Some(case) = case() else {
        for (case, number) in [
            ("open", libc::SYS_openat),
            ("open for writing", libc::SYS_openat),
            ("socket", libc::SYS_socket),
            ("unix socket", libc::SYS_socket),
            ("raw socket", libc::SYS_socket),
            ("socket that waits", libc::SYS_socket),
            ("listen", libc::SYS_listen),
            ("connect", libc::SYS_connect),
            ("send to an address", libc::SYS_sendto),
            ("option", libc::SYS_setsockopt),
            ("execute", libc::SYS_execve),
            ("executable memory", libc::SYS_mmap),
            ("ioctl", libc::SYS_ioctl),
            ("signal to another", libc::SYS_tgkill),
        ] {
            let output = again("forbidden_calls_end_the_process", case);
            assert_eq!(output.status.code(), Some(159), "{case}: {output:?}");
            let message = String::from_utf8_lossy(&output.stderr).into_owned();
            let named = format!("forbidden system call {number:04}.");
            assert!(message.contains(&named), "{case}: {message}");
        }
        return;
    };
    let allow = Allow { ioctls: vec![0xae80], ..Allow::default() };
    match case.as_str() {
        "open" => {
            confine(allow);
            _ = std::fs::File::open("/etc/passwd");
        }
        "open for writing" => {
            confine(Allow { read_files: true, ..allow });
            std::fs::File::open("/etc/passwd").unwrap();
            _ = std::fs::File::create("/tmp/not-to-be-made");
        }
        "socket" => {
            confine(allow);
            // SAFETY: numbers only.
            unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) };
        }
        "unix socket" | "raw socket" | "socket that waits" => {
            confine(Allow { network: Some(NetworkLimits::all()), ..allow });
            let new = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
            let (family, kind) = match case.as_str() {
                "unix socket" => (libc::AF_UNIX, libc::SOCK_STREAM | new),
                "raw socket" => (libc::AF_INET, libc::SOCK_RAW | new),
                _ => (libc::AF_INET, libc::SOCK_STREAM),
            };
            // SAFETY: numbers only.
            unsafe { libc::socket(family, kind, 0) };
        }
        "listen" | "connect" | "send to an address" | "option" => {
            let limits = NetworkLimits { listen: false, connect: false, ..NetworkLimits::all() };
            confine(Allow { network: Some(limits), ..allow });
            let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
            // SAFETY: the address and the value live, and the lengths are theirs.
            unsafe {
                let fd = libc::socket(libc::AF_INET, kind, 0);
                assert!(fd >= 0);
                let mut to: libc::sockaddr_in = std::mem::zeroed();
                to.sin_family = libc::AF_INET as libc::sa_family_t;
                let (at, len) = (std::ptr::from_ref(&to).cast(), 16);
                match case.as_str() {
                    "listen" => drop(libc::listen(fd, 1)),
                    "connect" => drop(libc::connect(fd, at, len)),
                    "option" => {
                        let on = std::ptr::from_ref(&1_i32).cast();
                        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_BROADCAST, on, 4);
                    }
                    _ => {
                        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
                        libc::sendto(fd, [1_u8].as_ptr().cast(), 1, flags, at, len);
                    }
                }
            }
        }
        "execute" => {
            confine(allow);
            // SAFETY: the arrays end with null.
            unsafe {
                let name = c"/bin/true".as_ptr();
                libc::execve(name, [name, std::ptr::null()].as_ptr(), [std::ptr::null()].as_ptr());
            }
        }
        "executable memory" => {
            confine(allow);
            exec_memory();
        }
        "ioctl" => {
            confine(allow);
            // SAFETY: allowed, and refused by the descriptor; then forbidden.
            unsafe {
                assert_eq!(libc::ioctl(0, 0xae80), -1);
                libc::ioctl(0, 0xae81);
            }
        }
        "signal to another" => {
            // SAFETY: numbers only; signal 0 does nothing.
            let parent = unsafe { libc::getppid() };
            confine(allow);
            // SAFETY: as above.
            unsafe { libc::syscall(libc::SYS_tgkill, parent, parent, 0) };
        }
        _ => unreachable!(),
    }
    panic!("survived");
}

/// All that a serving thread does, confined: calls, growth, a poller, a stop, allocation, a panic.
#[test]
fn serving_needs_nothing_else() {
    if case().is_none() {
        let output = again("serving_needs_nothing_else", "serve");
        assert!(output.status.success(), "{output:?}");
        return;
    }
    let out = tempfile::tempfile().unwrap();
    let mut keep = keep(Streams { stdio: [None, Some(out), None], ..streams() });
    let filter = Filter::new(&Allow { threads: true, ..Allow::default() }).unwrap();
    let poller = Poller::new(&keep.server);
    let port = &mut keep.port;
    let body = move || {
        filter.install(Scope::Thread).unwrap();
        for _ in 0..2_000 {
            port.write_later(Stream::Stdout, &[1; 300]).unwrap().unwrap();
        }
        port.write(Stream::Stdout, &vec![1; 500_000]).unwrap().unwrap();
        port.read(Stream::Launch, &mut [0; 8]).unwrap().unwrap();
        port.poll(0, 1_000_000).unwrap().unwrap();
        port.clock(ClockId::Realtime).unwrap();
        port.grow(4 << 20, 2 << 20, 16 << 20).unwrap().unwrap();
        let grown = vec![1_u8; 64 << 20];
        assert!(grown.iter().all(|&b| b == 1));
        drop(poller);
        assert!(std::panic::catch_unwind(|| panic!("on purpose")).is_err());
        std::thread::sleep(Duration::from_millis(1));
        eprintln!("served {}", std::io::stderr().as_raw_fd());
    };
    std::thread::scope(|scope| scope.spawn(body).join().unwrap());
}

#[test]
fn a_filter_for_the_process_binds_threads_that_run_already() {
    if case().is_none() {
        let output = again("a_filter_for_the_process_binds_threads_that_run_already", "process");
        assert_eq!(output.status.code(), Some(159), "{output:?}");
        return;
    }
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (started, running) = std::sync::mpsc::channel::<()>();
    let other = std::thread::spawn(move || {
        started.send(()).unwrap();
        wait.recv().unwrap();
        _ = std::fs::File::open("/etc/passwd");
    });
    // Starting a thread takes calls that are forbidden then.
    running.recv().unwrap();
    Filter::new(&Allow::default()).unwrap().install(Scope::Process).unwrap();
    go.send(()).unwrap();
    other.join().unwrap();
    panic!("survived");
}

/// Compiling is part of each start.
#[test]
fn compiling_is_cheap() {
    let allow = Allow { ioctls: vec![0xae80, 0x4020_ae46], read_files: true, ..Allow::default() };
    let mut best = Duration::MAX;
    for _ in 0..20 {
        let begun = Instant::now();
        Filter::new(&allow).unwrap();
        best = best.min(begun.elapsed());
    }
    println!("compiling the filter: {best:?}");
    assert!(best < Duration::from_millis(2), "{best:?}");
}
