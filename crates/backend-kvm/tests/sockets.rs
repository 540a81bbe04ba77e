// SPDX-License-Identifier: Apache-2.0

//! Sockets, events and evidence, by a real program in a real Keep, and as a process beside it.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Place, Running, on_all};
use keep_backend::{Claim, EvidenceSource, NetworkLimits};
use keep_launch::{Event, Evidence, Platform};

fn noise(len: usize) -> Vec<u8> {
    let mut x = 0x9e37_79b9_u32;
    let next = |_| {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        x as u8
    };
    (0..len).map(next).collect()
}

#[test]
fn one_connection_after_the_other_is_echoed() {
    on_all(|place| {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let mut keep = Running::start(place, &format!("echo {address} 3"));
            let at = keep.line();
            for len in [1, 5_000, 3_000_000] {
                let data = noise(len);
                let mut stream = TcpStream::connect(&at).unwrap();
                let mut writer = stream.try_clone().unwrap();
                let sent = data.clone();
                let thread = std::thread::spawn(move || {
                    writer.write_all(&sent).unwrap();
                    writer.shutdown(Shutdown::Write).unwrap();
                });
                let mut back = Vec::new();
                stream.read_to_end(&mut back).unwrap();
                thread.join().unwrap();
                assert!(back == data, "{len} bytes came back as {}", back.len());
            }
            keep.finish();
        }
    });
}

#[test]
fn a_client_reaches_a_server_outside() {
    on_all(|place| {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let at = listener.local_addr().unwrap();
            let mut keep = Running::start(place, &format!("client {at} 2000000"));
            let (mut stream, peer) = listener.accept().unwrap();
            let mut buf = vec![0; 70_000];
            loop {
                match stream.read(&mut buf).unwrap() {
                    0 => break,
                    n => stream.write_all(&buf[..n]).unwrap(),
                }
            }
            drop(stream);
            assert_eq!(keep.line(), peer.to_string());
            keep.finish();
        }
    });
}

/// 500 connections at once, of which each is served while all others are idle.
#[test]
fn many_connections_are_open_at_once() {
    const COUNT: usize = 500;
    on_all(|place| {
        let mut keep = Running::start(place, &format!("reactor 127.0.0.1:0 {COUNT}"));
        let at = keep.line();
        let mut open: Vec<_> = (0..COUNT).map(|_| TcpStream::connect(&at).unwrap()).collect();
        for round in 0..3 {
            for (n, stream) in open.iter_mut().enumerate() {
                let data = noise(100 + n + round);
                stream.write_all(&data).unwrap();
                let mut back = vec![0; data.len()];
                stream.read_exact(&mut back).unwrap();
                assert!(back == data, "connection {n}");
            }
        }
        // All at once.
        for stream in &mut open {
            stream.write_all(b"all").unwrap();
        }
        for stream in &mut open {
            let mut back = [0; 3];
            stream.read_exact(&mut back).unwrap();
            assert_eq!(&back, b"all");
        }
        drop(open);
        assert_eq!(keep.line(), format!("most {COUNT}"));
        keep.finish();
    });
}

/// Peers that send byte by byte, or never read, hold up nobody.
#[test]
fn slow_peers_do_not_hold_up_others() {
    on_all(|place| {
        let mut keep = Running::start(place, "reactor 127.0.0.1:0 12");
        let at = keep.line();
        // These send what they never read back, until nobody takes it any more.
        let piece = noise(1 << 16);
        let mut stuck: Vec<_> = (0..4)
            .map(|_| {
                let mut stream = TcpStream::connect(&at).unwrap();
                stream.set_nonblocking(true).unwrap();
                for _ in 0..2_000 {
                    if stream.write(&piece).is_err() {
                        break;
                    }
                }
                stream
            })
            .collect();
        let mut slow = TcpStream::connect(&at).unwrap();
        for _ in 0..7 {
            let mut fast = TcpStream::connect(&at).unwrap();
            slow.write_all(b"x").unwrap();
            let data = noise(300_000);
            let mut writer = fast.try_clone().unwrap();
            let sent = data.clone();
            let thread = std::thread::spawn(move || writer.write_all(&sent).unwrap());
            let mut back = vec![0; data.len()];
            fast.read_exact(&mut back).unwrap();
            thread.join().unwrap();
            assert!(back == data);
        }
        let mut back = [0; 7];
        slow.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"xxxxxxx");
        drop(slow);
        // What was stuck is not lost.
        let mut first = stuck.remove(0);
        first.set_nonblocking(false).unwrap();
        let mut back = vec![0; piece.len()];
        first.read_exact(&mut back).unwrap();
        assert!(back == piece);
        drop((first, stuck));
        assert!(keep.line().starts_with("most "));
        keep.finish();
    });
}

#[test]
fn much_goes_in_and_out() {
    on_all(|place| {
        let mut keep = Running::start(place, "sink 127.0.0.1:0");
        let mut stream = TcpStream::connect(keep.line()).unwrap();
        let piece = noise(1 << 20);
        let sum: u64 = piece.iter().map(|byte| u64::from(*byte)).sum();
        for _ in 0..64 {
            stream.write_all(&piece).unwrap();
        }
        stream.shutdown(Shutdown::Write).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        assert_eq!(said, format!("{} {}", 64 << 20, sum * 64));
        keep.finish();

        let len = (64 << 20) + 12_345;
        let mut keep = Running::start(place, &format!("source 127.0.0.1:0 {len}"));
        let mut stream = TcpStream::connect(keep.line()).unwrap();
        // It sends all and ends at once; what it has sent arrives nevertheless.
        std::thread::sleep(Duration::from_millis(100));
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), len);
        assert!(all.iter().enumerate().all(|(n, byte)| *byte == (n % (64 << 10) % 253) as u8));
        keep.finish();
    });
}

#[test]
fn half_a_connection_still_answers() {
    on_all(|place| {
        let mut keep = Running::start(place, "halves 127.0.0.1:0");
        let mut stream = TcpStream::connect(keep.line()).unwrap();
        let data = noise(200_000);
        stream.write_all(&data).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        back.reverse();
        assert!(back == data);
        keep.finish();
    });
}

#[test]
fn a_peer_that_breaks_off_is_noticed() {
    on_all(|place| {
        let mut keep = Running::start(place, "reset 127.0.0.1:0");
        let at = keep.line();
        let mut stream = TcpStream::connect(&at).unwrap();
        stream.write_all(b"hello").unwrap();
        std::thread::sleep(Duration::from_millis(50));
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        drop(stream);
        let mut said = String::new();
        TcpStream::connect(&at).unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(said, "fine");
        keep.finish();
    });
}

/// A process that is killed in the middle is a peer like any other.
#[test]
fn a_peer_that_is_killed_is_noticed() {
    on_all(|place| {
        let mut keep = Running::start(place, "reactor 127.0.0.1:0 2");
        let at = keep.line();
        let (host, port) = at.rsplit_once(':').unwrap();
        let script = format!("exec 3<>/dev/tcp/{host}/{port}; while :; do echo x >&3; done");
        let Ok(mut peer) = std::process::Command::new("bash").args(["-c", &script]).spawn() else {
            println!("skipped: no bash");
            return keep.kill();
        };
        std::thread::sleep(Duration::from_millis(200));
        peer.kill().unwrap();
        peer.wait().unwrap();
        let mut stream = TcpStream::connect(&at).unwrap();
        stream.write_all(b"still there").unwrap();
        let mut back = [0; 11];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"still there");
        drop(stream);
        assert!(keep.line().starts_with("most "));
        keep.finish();
    });
}

#[test]
fn questions_over_udp_are_answered() {
    on_all(|place| {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let server = UdpSocket::bind(address).unwrap();
            let at = server.local_addr().unwrap();
            std::thread::spawn(move || {
                let mut buf = [0; 2000];
                while let Ok((len, from)) = server.recv_from(&mut buf) {
                    server.send_to(&buf[..len], from).unwrap();
                }
            });
            Running::start(place, &format!("udp {at}")).finish();
        }
    });
}

#[test]
fn addresses_and_errors_are_those_of_linux() {
    on_all(|place| {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = taken.local_addr().unwrap();
        Running::start(place, &format!("names {at}")).finish();
        Running::start(place, "options").finish();
    });
}

#[test]
fn waiting_ends_in_time() {
    on_all(|place| {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = silent.local_addr().unwrap();
        Running::start(place, &format!("timeouts {at}")).finish();
    });
}

#[test]
fn a_keep_that_waits_for_a_peer_can_be_ended() {
    on_all(|place| {
        let mut keep = Running::start(place, "echo 127.0.0.1:0 1");
        let at = keep.line();
        let stream = TcpStream::connect(at).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        keep.kill();
        drop(stream);
    });
}

#[test]
fn what_is_not_allowed_is_refused() {
    on_all(|place| {
        Running::start_with(place, "nothing", |_| {}).finish();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let says = |listen, connect| {
            let limits = NetworkLimits { listen, connect, ..NetworkLimits::all() };
            let launch = format!("refused {at}");
            let mut keep = Running::start_with(place, &launch, |spec| spec.network = Some(limits));
            let line = keep.line();
            keep.finish();
            line
        };
        let no = "Err(PermissionDenied)";
        assert_eq!(says(true, true), "Ok(()) Ok(()) Ok(())");
        assert_eq!(says(false, true), format!("{no} Ok(()) Ok(())"));
        assert_eq!(says(true, false), format!("Ok(()) {no} {no}"));
        assert_eq!(says(false, false), format!("{no} {no} {no}"));
    });
}

#[test]
fn there_are_so_many_sockets_and_no_more() {
    on_all(|place| {
        if place == Place::Nil {
            return println!("skipped: sockets of processes are not counted");
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let limits = NetworkLimits { max_sockets: 20, ..NetworkLimits::all() };
        let keep = Running::start_with(place, &format!("limits {at} 20"), |spec| {
            spec.network = Some(limits);
        });
        keep.finish();
    });
}

/// A server that may have few connections accepts the next one when one ends.
#[test]
fn connections_wait_for_their_turn() {
    on_all(|place| {
        let limits = NetworkLimits { max_sockets: 3, ..NetworkLimits::all() };
        let mut keep = Running::start_with(place, "reactor 127.0.0.1:0 6", |spec| {
            spec.network = Some(limits);
        });
        let at = keep.line();
        let mut open: Vec<_> = (0..6).map(|_| TcpStream::connect(&at).unwrap()).collect();
        for mut stream in open.drain(..) {
            stream.write_all(b"turn").unwrap();
            let mut back = [0; 4];
            stream.read_exact(&mut back).unwrap();
            assert_eq!(&back, b"turn");
        }
        let most = keep.line();
        assert!(place == Place::Nil || most == "most 2", "{most}");
        keep.finish();
    });
}

struct Echo;

impl EvidenceSource for Echo {
    fn evidence(&mut self, claim: &Claim) -> Evidence {
        Evidence::Made {
            platform: Platform::Development,
            // Longer than a pipe holds, with the report data at the end.
            evidence: [&vec![0xee; 200_000], &claim.report_data()[..]].concat(),
            endorsements: Vec::new(),
        }
    }
}

#[test]
fn events_and_evidence_make_the_trip() {
    on_all(|place| {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&heard);
        let keep = Running::start_with(place, "evidence", |spec| {
            spec.evidence = Some(Box::new(Echo));
            spec.events = Some(Box::new(move |event| hears.lock().unwrap().push(event)));
        });
        keep.finish();
        let warning = |message: &str| Event::Warning { message: message.into() };
        assert_eq!(*heard.lock().unwrap(), [warning("hi"), warning("bye")]);
    });
}

/// A program in a Keep has the vectors that a process has, and none of them is lost.
#[test]
fn vectors_survive() {
    let features = Mutex::new(Vec::new());
    on_all(|place| {
        let mut keep = Running::start(place, "vectors");
        let found = keep.line();
        println!("{found}");
        let tiles = keep.line();
        assert!(place == Place::Nil || tiles == "no tiles");
        keep.finish();
        features.lock().unwrap().push(found);
    });
    println!("{features:?}");
}

/// Rights to memory come and go as under Linux, except that what was written never runs.
#[test]
fn memory_is_what_it_was_made() {
    on_all(|place| {
        // Linux lets a process execute what it has written.
        if place != Place::Nil {
            Running::start(place, "memory").finish();
        }
    });
}

/// What the image builder did not find to rewrite works as well.
#[test]
fn what_was_not_rewritten_works() {
    on_all(|place| {
        // Plain KVM cannot make `cpuid` an exception, as SEV-SNP does, so it says what the processor is.
        if matches!(place, Place::Kvm | Place::SgxSim) {
            Running::start(place, "raw").finish();
        }
    });
}
