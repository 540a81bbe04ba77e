// SPDX-License-Identifier: Apache-2.0

//! The messages, and a service that is played on a real socket.

use std::os::unix::net::UnixListener;
use std::thread::{self, JoinHandle};

use proptest::prelude::*;

use super::*;

fn number(field: u64, value: u64) -> Message {
    let mut message = Message::default();
    message.put_number(field, value);
    message
}

#[test]
fn messages_are_those_of_protocol_buffers() {
    // Field 1 as a number 150, field 2 as text: the examples of the format's own documentation.
    assert_eq!(number(1, 150).0, [0x08, 0x96, 0x01]);
    let mut text = Message::default();
    text.put_bytes(2, b"testing");
    assert_eq!(text.0, b"\x12\x07testing");
    let request = Message(vec![0xaa, 0x01, 0x03, 0x48, 0xac, 0x02]);
    assert_eq!(request.bytes(21).unwrap(), [0x48, 0xac, 0x02]);
    assert_eq!(Message(vec![0x48, 0xac, 0x02]).number(9), Some(300));
    // Unknown fields are skipped, cut ones end the message.
    let mixed = Message(vec![0x1d, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8, 0x08, 7, 0x12, 9, 1]);
    assert_eq!((mixed.number(1), mixed.bytes(2)), (Some(7), None));
}

proptest! {
    #[test]
    fn what_is_written_is_read(field in 1_u64..1000, value: u64, bytes: Vec<u8>) {
        let mut message = number(field, value);
        message.put_bytes(field + 1, &bytes);
        prop_assert_eq!(message.number(field), Some(value));
        prop_assert_eq!(message.bytes(field + 1), Some(bytes.as_slice()));
    }

    #[test]
    fn anything_is_survived(bytes: Vec<u8>) {
        let message = Message(bytes);
        let _ = (message.number(1), message.bytes(2), message.fields().count());
    }
}

fn key(algorithm: u32) -> [u8; KEY_ID] {
    let mut key = [7; KEY_ID];
    key[ALGORITHM].copy_from_slice(&algorithm.to_le_bytes());
    key
}

/// How the service behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Good,
    NoEcdsa,
    Busy,
    Unknown,
    Cut,
    Huge,
    ShortTarget,
}

/// Answers so many questions at most, and says what they were.
fn serve(listener: UnixListener, mood: Mood, count: usize) -> JoinHandle<Vec<Message>> {
    thread::spawn(move || {
        let mut asked = Vec::new();
        for socket in listener.incoming().take(count) {
            let mut socket = socket.unwrap();
            let mut length = [0; 4];
            socket.read_exact(&mut length).unwrap();
            let mut request = vec![0; u32::from_le_bytes(length) as usize];
            socket.read_exact(&mut request).unwrap();
            let request = Message(request);
            let (kind, _) = request.fields().next().unwrap();
            asked.push(Message(request.bytes(kind).unwrap().to_vec()));
            let mut answer = number(1, if mood == Mood::Busy { 10 } else { 0 });
            match kind {
                KEY_COUNT => answer.put_number(2, 2),
                KEYS => {
                    let second = if mood == Mood::NoEcdsa { 1 } else { ECDSA_P256 };
                    answer.put_bytes(2, &[key(0), key(second)].concat());
                }
                INIT_QUOTE => {
                    let length = if mood == Mood::ShortTarget { 100 } else { TARGET_INFO };
                    answer.put_bytes(2, &vec![0x11; length]);
                    answer.put_number(3, 32);
                }
                QUOTE_SIZE => answer.put_number(2, 4000),
                GET_QUOTE => answer.put_bytes(2, &[0x33; 4000]),
                other => panic!("{other}"),
            }
            let mut envelope = Message::default();
            envelope.put_bytes(if mood == Mood::Unknown { UNSUPPORTED } else { kind }, &answer.0);
            let mut out = (envelope.0.len() as u32).to_le_bytes().to_vec();
            if mood == Mood::Huge {
                out = u32::MAX.to_le_bytes().to_vec();
            }
            out.extend(envelope.0);
            if mood == Mood::Cut {
                out.truncate(out.len() - 1);
            }
            // Who does not like the length does not read on.
            let _ = socket.write_all(&out);
            if !matches!(mood, Mood::Good | Mood::NoEcdsa | Mood::ShortTarget) {
                break;
            }
        }
        asked
    })
}

fn service(mood: Mood) -> (tempfile::TempDir, Aesm, JoinHandle<Vec<Message>>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("aesm.socket");
    let served = serve(UnixListener::bind(&path).unwrap(), mood, 4);
    (folder, Aesm::at(path), served)
}

#[test]
fn a_quote_comes_of_six_questions() {
    let (_folder, aesm, served) = service(Mood::Good);
    let (ecdsa, target) = aesm.target().unwrap();
    assert_eq!(ecdsa, Key(key(ECDSA_P256).to_vec()));
    assert_eq!(*target, [0x11; TARGET_INFO]);
    let asked = served.join().unwrap();
    assert_eq!(asked[1].number(1), Some(2 * 256));
    assert_eq!((asked[2].number(3), asked[3].number(3)), (Some(0), Some(1)));
    assert_eq!((asked[3].number(4), asked[3].bytes(1)), (Some(32), Some(key(2).as_slice())));
    assert!(asked.iter().all(|request| request.number(9) == Some(30_000_000)));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("aesm.socket");
    let served = serve(UnixListener::bind(&path).unwrap(), Mood::Good, 2);
    assert_eq!(Aesm::at(path).quote(&ecdsa, &[0x22; REPORT]).unwrap(), [0x33; 4000]);
    let asked = served.join().unwrap();
    assert_eq!(asked[1].bytes(1), Some([0x22; REPORT].as_slice()));
    assert_eq!((asked[1].bytes(2), asked[1].number(4)), (Some(key(2).as_slice()), Some(4000)));
}

#[test]
fn each_failure_is_told_apart() {
    let error = |mood| {
        let (_folder, aesm, _served) = service(mood);
        aesm.target().unwrap_err()
    };
    assert!(matches!(error(Mood::Busy), AesmError::Refused { code: 10 }));
    assert!(error(Mood::Busy).to_string().contains("network busy (10)"));
    assert!(matches!(error(Mood::Unknown), AesmError::Refused { .. }));
    assert!(matches!(error(Mood::Cut), AesmError::Broken(_)));
    assert!(matches!(error(Mood::Huge), AesmError::Broken(_)));
    assert!(matches!(error(Mood::NoEcdsa), AesmError::NoKey));
    assert!(matches!(error(Mood::ShortTarget), AesmError::Malformed));
    let folder = tempfile::tempdir().unwrap();
    let nowhere = Aesm::at(folder.path().join("none")).target().unwrap_err();
    assert!(matches!(nowhere, AesmError::Connect { .. }), "{nowhere}");
}
