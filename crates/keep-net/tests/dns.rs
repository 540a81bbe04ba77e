// SPDX-License-Identifier: Apache-2.0

//! Names, with servers that answer rightly, wrongly, partly and not at all.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use keep_launch::Network;
use keep_net::{IdentityHandle, Net, NetError};

/// What a server sends for a question: messages in turn.
type Answers = fn(&[u8]) -> Vec<Vec<u8>>;

/// A server of both kinds, and how often it was asked by UDP. Ends with the process.
fn serve(udp: Answers, tcp: Answers) -> (String, Arc<AtomicUsize>) {
    let stream = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = stream.local_addr().unwrap();
    let socket = UdpSocket::bind(address).unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    thread::spawn(move || {
        let mut question = [0; 600];
        while let Ok((len, from)) = socket.recv_from(&mut question) {
            counter.fetch_add(1, Ordering::Relaxed);
            for answer in udp(&question[..len]) {
                socket.send_to(&answer, from).unwrap();
            }
        }
    });
    thread::spawn(move || {
        for stream in stream.incoming() {
            let mut stream = stream.unwrap();
            let mut len = [0; 2];
            stream.read_exact(&mut len).unwrap();
            let mut question = vec![0; u16::from_be_bytes(len).into()];
            stream.read_exact(&mut question).unwrap();
            for answer in tcp(&question) {
                let len = u16::try_from(answer.len()).unwrap().to_be_bytes();
                let _ = stream.write_all(&[&len[..], &answer].concat());
            }
        }
    });
    (address.to_string(), count)
}

/// The answer to a question, with these flags and records.
fn answer(question: &[u8], flags: u16, records: &[Vec<u8>]) -> Vec<u8> {
    let mut out = question.to_vec();
    out[2..4].copy_from_slice(&flags.to_be_bytes());
    out[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    out.extend(records.concat());
    out
}

fn record(owner: &[u8], kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut out = owner.to_vec();
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&1_u16.to_be_bytes());
    out.extend_from_slice(&ttl.to_be_bytes());
    out.extend_from_slice(&(data.len() as u16).to_be_bytes());
    out.extend_from_slice(data);
    out
}

/// A, AAAA, CNAME.
fn kind_of(question: &[u8]) -> u16 {
    u16::from_be_bytes([question[question.len() - 4], question[question.len() - 3]])
}

const ASKED: &[u8] = &[0xc0, 12];
const GOOD: u16 = 0x8180;

/// 192.0.2.1 and no IPv6.
fn right(question: &[u8]) -> Vec<u8> {
    let records = match kind_of(question) {
        1 => vec![record(ASKED, 1, 60, &[192, 0, 2, 1])],
        _ => vec![],
    };
    answer(question, GOOD, &records)
}

fn net(servers: &[String]) -> Net {
    let network = Network {
        resolvers: servers.to_vec(),
        hosts: vec![("Fixed.Example".to_owned(), "192.0.2.77".to_owned())],
        ..Network::default()
    };
    Net::new(&network, IdentityHandle::new(), &[]).unwrap()
}

fn addresses(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|one| one.parse().unwrap()).collect()
}

fn why(error: NetError) -> &'static str {
    match error {
        NetError::Resolve { why, .. } => why,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn what_needs_no_server() {
    let net = net(&[]);
    assert_eq!(net.resolve("192.0.2.5").await.unwrap(), addresses(&["192.0.2.5"]));
    assert_eq!(net.resolve("::1").await.unwrap(), addresses(&["::1"]));
    assert_eq!(net.resolve("LOCALHOST").await.unwrap(), addresses(&["127.0.0.1", "::1"]));
    assert_eq!(net.resolve("fixed.example.").await.unwrap(), addresses(&["192.0.2.77"]));
    assert_eq!(why(net.resolve("other.example").await.unwrap_err()), "there is no DNS server");
    assert_eq!(why(net.resolve("a..b").await.unwrap_err()), "it is not a DNS name");
}

#[tokio::test]
async fn both_kinds_and_a_memory() {
    let (server, count) = serve(
        |question| {
            let six = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1]].concat();
            vec![match kind_of(question) {
                28 => answer(question, GOOD, &[record(ASKED, 28, 60, &six)]),
                _ => right(question),
            }]
        },
        |_| vec![],
    );
    let net = net(&[server]);
    for name in ["a.example", "A.EXAMPLE."] {
        let found = net.resolve(name).await.unwrap();
        assert_eq!(found, addresses(&["2001:db8::1", "192.0.2.1"]));
    }
    assert_eq!(count.load(Ordering::Relaxed), 2, "the second time nobody is asked");
}

#[tokio::test]
async fn lies_before_the_truth() {
    let (server, _) = serve(
        |question| {
            let evil = vec![record(ASKED, 1, 60, &[6, 6, 6, 6])];
            let mut other_id = answer(question, GOOD, &evil);
            other_id[0] ^= 1;
            let mut other_name = answer(question, GOOD, &evil);
            other_name[13] ^= 1;
            let question_back = question.to_vec();
            let cut = answer(question, GOOD, &evil)[..question.len() + 5].to_vec();
            let beside = answer(question, GOOD, &[record(b"\x04evil\x00", 1, 60, &[6, 6, 6, 6])]);
            let mut list = vec![vec![], other_id, other_name, question_back, cut];
            // An answer about somebody else answers nothing.
            list.push(if kind_of(question) == 28 { beside } else { right(question) });
            list
        },
        |_| vec![],
    );
    assert_eq!(net(&[server]).resolve("a.example").await.unwrap(), addresses(&["192.0.2.1"]));
}

#[tokio::test]
async fn long_answers_come_by_tcp() {
    let (server, _) = serve(
        |question| vec![answer(question, GOOD | 0x0200, &[])],
        |question| vec![right(question)],
    );
    assert_eq!(net(&[server]).resolve("a.example").await.unwrap(), addresses(&["192.0.2.1"]));
    // One that is never complete is an error, and not a loop.
    let (server, _) = serve(
        |question| vec![answer(question, GOOD | 0x0200, &[])],
        |question| vec![answer(question, GOOD | 0x0200, &[])],
    );
    assert!(net(&[server]).resolve("a.example").await.is_err());
}

#[tokio::test]
async fn aliases_are_followed_but_not_for_ever() {
    let (server, _) = serve(
        |question| {
            // The alias alone, as some servers answer.
            vec![if question[13] == b'a' {
                answer(question, GOOD, &[record(ASKED, 5, 60, b"\x01b\x07example\x00")])
            } else {
                right(question)
            }]
        },
        |_| vec![],
    );
    assert_eq!(net(&[server]).resolve("a.example").await.unwrap(), addresses(&["192.0.2.1"]));
    let (server, count) = serve(
        |question| {
            let other: &[u8] = if question[13] == b'a' {
                b"\x01b\x07example\x00"
            } else {
                b"\x01a\x07example\x00"
            };
            vec![answer(question, GOOD, &[record(ASKED, 5, 60, other)])]
        },
        |_| vec![],
    );
    let error = net(&[server]).resolve("a.example").await.unwrap_err();
    assert_eq!(why(error), "the DNS server fails");
    assert!(count.load(Ordering::Relaxed) < 50);
}

#[tokio::test]
async fn servers_in_turn() {
    let dead: SocketAddr = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (failing, _) = serve(|question| vec![answer(question, GOOD | 2, &[])], |_| vec![]);
    let (good, _) = serve(|question| vec![right(question)], |_| vec![]);
    let servers = [dead.to_string(), failing.clone(), good];
    assert_eq!(net(&servers).resolve("a.example").await.unwrap(), addresses(&["192.0.2.1"]));
    let error = net(&[failing]).resolve("a.example").await.unwrap_err();
    assert_eq!(why(error), "the DNS server fails");
    let (missing, _) = serve(|question| vec![answer(question, GOOD | 3, &[])], |_| vec![]);
    let error = net(&[missing]).resolve("a.example").await.unwrap_err();
    assert_eq!(why(error), "there is no such name");
    let (empty, _) = serve(|question| vec![answer(question, GOOD, &[])], |_| vec![]);
    assert_eq!(why(net(&[empty]).resolve("a.example").await.unwrap_err()), "it has no address");
}
