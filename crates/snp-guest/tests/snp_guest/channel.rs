// SPDX-License-Identifier: Apache-2.0

//! The channel to the firmware, with a hypervisor between that does what it likes.

use proptest::prelude::*;
use snp_guest::host::{Firmware, FirmwareError, key_answer, report_answer, secrets_page};
use snp_guest::message::{Channel, ChannelError, Header, Kind, VERSION, open, seal};
use snp_guest::request::{
    KeyRequest, ReportRequest, RequestError, Root, SEALING_REQUEST, take_derived,
};
use snp_guest::secrets::{SecretsError, take_key};
use zeroize::Zeroizing;

const KEY: [u8; 32] = [7; 32];

fn pair() -> (Channel, Firmware) {
    (Channel::new(Zeroizing::new(KEY)), Firmware::new(Zeroizing::new(KEY)))
}

fn request() -> ReportRequest {
    ReportRequest { report_data: [9; 64], vmpl: 0 }
}

/// A report as the firmware would make it, without a signature.
fn report(request: &ReportRequest) -> [u8; 1184] {
    let mut report = [0; 1184];
    report[0] = 3;
    report[0x30] = request.vmpl as u8;
    report[0x50..0x90].copy_from_slice(&request.report_data);
    report
}

fn serve(firmware: &mut Firmware, sent: &[u8; 4096]) -> Result<[u8; 4096], FirmwareError> {
    let mut answer = [0; 4096];
    let reply = report_answer(&report(&request()));
    firmware.serve(sent, &mut answer, |header, payload| {
        assert_eq!((header.kind, header.version, header.key), (Kind::ReportRequest as u8, 1, 0));
        assert_eq!(payload, request().to_bytes());
        (Kind::ReportAnswer, &reply)
    })?;
    Ok(answer)
}

/// Asks for a report, and gets what `carry` makes of the message.
fn ask(
    channel: &mut Channel,
    carry: impl FnOnce(&[u8; 4096]) -> [u8; 4096],
) -> Result<Vec<u8>, ChannelError> {
    let exchange = |page: &mut [u8; 4096]| {
        *page = carry(page);
        Ok(())
    };
    let mut page = [0; 4096];
    let payload = request().to_bytes();
    channel.ask(Kind::ReportRequest, &payload, &mut page, exchange).map(|answer| answer.to_vec())
}

#[test]
fn a_message_is_what_the_specification_says() {
    let mut page = [0xee; 4096];
    let header = Header { sequence: 0x0102, kind: 5, version: 1, size: 96, key: 2 };
    seal(&KEY, header, &request().to_bytes(), &mut page).unwrap();
    let mut expected = [0; 0x60];
    expected[0x20..0x22].copy_from_slice(&[2, 1]);
    expected[0x30..0x38].copy_from_slice(&[1, 1, 0x60, 0, 5, 1, 96, 0]);
    expected[0x3c] = 2;
    assert_eq!(page[16..0x60], expected[16..]);
    assert!(page[0x60 + 96..].iter().all(|byte| *byte == 0));
    // Tag and end of the ciphertext, as OpenSSL makes them with a nonce and a header by hand.
    let tag = [
        0x5e, 0x9f, 0xb6, 0x92, 0xdf, 0x3d, 0xc9, 0x3d, 0x13, 0x98, 0xc3, 0x16, 0x50, 0xc4, 0xc2,
        0xb5,
    ];
    let end = [
        0x97, 0xe5, 0x51, 0xf8, 0x6a, 0xb8, 0x01, 0x34, 0x45, 0x1f, 0x33, 0xd4, 0xe0, 0xcc, 0x18,
        0xd3,
    ];
    assert_eq!((&page[..16], &page[0x60 + 80..0x60 + 96]), (&tag[..], &end[..]));
    let mut opened = page;
    assert_eq!(open(&KEY, &mut opened), Ok((header, &mut request().to_bytes()[..])));
    // Each byte that counts, flipped.
    for at in (0..16).chain(0x20..0x28).chain(0x30..0x60 + 96) {
        let mut bad = page;
        bad[at] ^= 1;
        let sent = bad;
        match open(&KEY, &mut bad) {
            Err(ChannelError::Header) => assert_eq!(bad, sent, "{at:#x}"),
            // Nothing of what was not authenticated is left.
            Err(ChannelError::Forged) => assert_eq!(bad[0x60..0x60 + 95], [0; 95], "{at:#x}"),
            other => panic!("{at:#x}: {other:?}"),
        }
    }
    assert_eq!(seal(&KEY, header, &[0; 95], &mut page), Err(ChannelError::Length));
    let long = Header { size: 4001, ..header };
    assert_eq!(seal(&KEY, long, &[0; 4001], &mut page), Err(ChannelError::Length));
}

#[test]
fn reports_and_keys_come_through() {
    let (mut channel, mut firmware) = pair();
    for round in 0..3_u64 {
        let answer = ask(&mut channel, |sent| {
            assert_eq!(Header::read(sent).unwrap().sequence, 2 * round + 1);
            let answer = serve(&mut firmware, sent).unwrap();
            assert_eq!(Header::read(&answer).unwrap().sequence, 2 * round + 2);
            answer
        });
        assert_eq!(request().read(&answer.unwrap()), Ok(&report(&request())));
    }
    let mut page = [0; 4096];
    let reply = key_answer(&[3; 32]);
    let answer = channel.ask(Kind::KeyRequest, SEALING_REQUEST, &mut page, |page| {
        let sent = *page;
        firmware
            .serve(&sent, page, |header, seen| {
                assert_eq!((header.version, seen), (1, &SEALING_REQUEST[..]));
                (Kind::KeyAnswer, &reply)
            })
            .unwrap();
        Ok(())
    });
    assert_eq!(*take_derived(answer.unwrap()).unwrap(), [3; 32]);
    assert!(page[0x60..].iter().all(|byte| *byte == 0), "the answer is wiped");
    // Firmware takes requests of another version, too.
    let wanted = KeyRequest::new(Root::Chip).svn(4).mitigations(1);
    let payload = &wanted.to_bytes()[..wanted.length()];
    let (kind, version, size) = (Kind::KeyRequest as u8, wanted.version(), payload.len() as u16);
    let header = Header { sequence: 9, kind, version, size, key: 0 };
    seal(&KEY, header, payload, &mut page).unwrap();
    let mut answer = [0; 4096];
    firmware
        .serve(&page, &mut answer, |header, seen| {
            assert_eq!((header.version, seen), (2, payload));
            (Kind::KeyAnswer, &reply)
        })
        .unwrap();
    let (header, answer) = open(&KEY, &mut answer).unwrap();
    assert_eq!((header.sequence, header.version), (10, 2));
    assert_eq!(*wanted.take(answer).unwrap(), [3; 32]);
}

/// What a hypervisor may do to an answer; each ends the channel, and wipes the key.
#[test]
fn replayed_reordered_and_changed_messages_end_the_channel() {
    // The answer to the request before.
    let (mut channel, mut firmware) = pair();
    let (mut old, mut second) = ([0; 4096], [0; 4096]);
    ask(&mut channel, |sent| {
        old = serve(&mut firmware, sent).unwrap();
        old
    })
    .unwrap();
    let repeated = ask(&mut channel, |sent| {
        second = *sent;
        old
    });
    assert_eq!(repeated, Err(ChannelError::Sequence(4, 2)));
    assert!(!channel.is_alive());
    serve(&mut firmware, &second).unwrap();
    let dead = ask(&mut channel, |_| panic!("it is carried"));
    assert_eq!(dead, Err(ChannelError::Dead));
    // The firmware does not take a request twice, nor one that leaves one out.
    assert_eq!(serve(&mut firmware, &second), Err(FirmwareError::Sequence(3)));
    let mut ahead = Channel::after(Zeroizing::new(KEY), 10);
    let _ = ask(&mut ahead, |sent| {
        assert_eq!(serve(&mut firmware, sent), Err(FirmwareError::Sequence(11)));
        [0; 4096]
    });

    // The guest's own request, sent back; an answer of another kind or to another key.
    let (mut channel, _) = pair();
    let sent_back = ask(&mut channel, |sent| *sent);
    assert!(matches!(sent_back, Err(ChannelError::Sequence(..))));
    for header in [
        Header { sequence: 2, kind: 4, version: 1, size: 0, key: 0 },
        Header { sequence: 2, kind: 6, version: 2, size: 0, key: 0 },
        Header { sequence: 2, kind: 6, version: 1, size: 0, key: 1 },
    ] {
        let (mut channel, _) = pair();
        let mut page = [0; 4096];
        seal(&KEY, header, &[], &mut page).unwrap();
        assert_eq!(ask(&mut channel, |_| page), Err(ChannelError::Header), "{header:?}");
        assert!(!channel.is_alive());
    }
    // Another's key, and a page of nothing.
    let (mut channel, mut firmware) = pair();
    let changed = ask(&mut channel, |sent| {
        assert!(serve(&mut Firmware::new(Zeroizing::new([8; 32])), sent).is_err());
        let mut answer = serve(&mut firmware, sent).unwrap();
        answer[0x60] ^= 1;
        answer
    });
    assert_eq!(changed, Err(ChannelError::Forged));
    let (mut channel, _) = pair();
    assert_eq!(ask(&mut channel, |_| [0; 4096]), Err(ChannelError::Header));
}

#[test]
fn no_number_is_used_twice() {
    let (mut channel, mut firmware) = pair();
    assert!(ask(&mut channel, |sent| serve(&mut firmware, sent).unwrap()).is_ok());
    assert!(channel.is_alive());
    assert!(!format!("{channel:?}").contains('7'));
    // A message that may have been seen is the last one, and one that is too long, too.
    let failed = channel
        .ask(Kind::ReportRequest, &[], &mut [0; 4096], |_| Err(ChannelError::Busy))
        .map(|_| ());
    assert_eq!((failed, channel.is_alive()), (Err(ChannelError::Busy), false));
    for size in [4001, 70_000] {
        let (mut channel, _) = pair();
        let carry = |_: &mut [u8; 4096]| panic!("it is carried");
        let long = channel.ask(Kind::KeyRequest, &vec![0; size], &mut [0; 4096], carry).map(|_| ());
        assert_eq!((long, channel.is_alive()), (Err(ChannelError::Length), false));
    }
    // At the end of all numbers.
    let mut last = Channel::after(Zeroizing::new(KEY), u64::MAX - 3);
    let answer = ask(&mut last, |sent| {
        assert_eq!(Header::read(sent).unwrap().sequence, u64::MAX - 2);
        let mut page = [0; 4096];
        let header = Header { sequence: u64::MAX - 1, kind: 6, version: 1, size: 0, key: 0 };
        seal(&KEY, header, &[], &mut page).unwrap();
        page
    });
    assert_eq!(answer, Ok(Vec::new()));
    let exhausted = ask(&mut last, |_| panic!("it is carried"));
    assert_eq!(exhausted, Err(ChannelError::Exhausted));
    assert!(!last.is_alive());
}

#[test]
fn a_wrong_report_is_refused() {
    let mine = request();
    let good = report_answer(&report(&mine));
    assert!(mine.read(&good).is_ok());
    assert!(mine.read(&[&good[..], &[0; 32]].concat()).is_ok());
    let other = report_answer(&report(&ReportRequest { report_data: [8; 64], ..mine }));
    assert_eq!(mine.read(&other), Err(RequestError::WrongReport("REPORT_DATA")));
    let other = report_answer(&report(&ReportRequest { vmpl: 1, ..mine }));
    assert_eq!(mine.read(&other), Err(RequestError::WrongReport("VMPL")));
    let mut refused = good;
    refused[0] = 0x16;
    assert_eq!(mine.read(&refused), Err(RequestError::Refused(0x16)));
    let mut short = good;
    short[4] = 0;
    assert_eq!(mine.read(&short), Err(RequestError::Size(0x400)));
    for length in [0, 31, 32, good.len() - 1] {
        assert_eq!(mine.read(&good[..length]), Err(RequestError::Length(length)));
    }
}

#[test]
fn derived_keys_are_bound_to_measurement_and_policy() {
    let plain = KeyRequest::new(Root::Chip);
    let bytes = plain.to_bytes();
    assert_eq!(plain.length(), 0x20);
    assert_eq!(bytes[8..16], [0b1001, 0, 0, 0, 0, 0, 0, 0]);
    // What a Keep sends is this very request.
    assert_eq!((&bytes[..0x20], plain.version()), (&SEALING_REQUEST[..], VERSION));
    let all = KeyRequest::new(Root::Migration)
        .ids()
        .svn(0x0102_0304)
        .tcb([1, 2, 3, 4, 5, 6, 7, 8])
        .mitigations(0xab);
    let bytes = all.to_bytes();
    assert_eq!((all.length(), all.version()), (0x28, 2));
    assert_eq!(bytes[..4], [1, 0, 0, 0]);
    assert_eq!(bytes[8..16], [0b111_1111, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes[0x10..0x18], [0, 0, 0, 0, 4, 3, 2, 1]);
    assert_eq!(bytes[0x18..0x20], [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(bytes[0x20..], [0xab, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(plain.take(&mut key_answer(&[0; 32])), Err(RequestError::NoKey));
    let mut refused = key_answer(&[1; 32]);
    refused[0] = 0x27;
    assert_eq!(plain.take(&mut refused.clone()), Err(RequestError::Refused(0x27)));
    assert_eq!(plain.take(&mut refused[..63]), Err(RequestError::Length(63)));
    assert!(refused[..63].iter().all(|byte| *byte == 0), "the answer is wiped");
}

#[test]
fn a_key_is_taken_once() {
    let mut page = secrets_page(&[[1; 32], [2; 32], [3; 32], [4; 32]], 0x00a0_0f11);
    assert_eq!(*take_key(&mut page).unwrap(), [1; 32]);
    assert!(page[0x20..0xa0].iter().all(|byte| *byte == 0));
    assert_eq!(take_key(&mut page), Err(SecretsError::NoKey));
    for (at, value, error) in
        [(0, 1, SecretsError::Version(1)), (4, 1, SecretsError::MigrationImage)]
    {
        let mut page = secrets_page(&[[1; 32]; 4], 0);
        page[at] = value;
        assert_eq!(take_key(&mut page), Err(error));
        assert!(page[0x20..0xa0].iter().all(|byte| *byte == 0));
    }
}

proptest! {
    /// Whatever a hypervisor does to pages on their way, the Keep gets the firmware's words in their
    /// order, or the channel ends.
    #[test]
    fn a_hostile_courier_changes_nothing(
        actions in prop::collection::vec((0_u8..6, any::<prop::sample::Index>(), any::<u8>()), 1..30),
    ) {
        let (mut channel, mut firmware) = pair();
        let mut seen: Vec<[u8; 4096]> = Vec::new();
        let mut rounds = 0;
        for (action, place, value) in actions {
            let (mut honest, mut given) = ([0; 4096], [0; 4096]);
            let alive = channel.is_alive();
            let asked = ask(&mut channel, |sent| {
                seen.push(*sent);
                honest = serve(&mut firmware, sent).unwrap();
                seen.push(honest);
                given = match action {
                    0 => *place.get(&seen),
                    1 => {
                        let mut changed = honest;
                        let at = place.index(0x60 + 1216);
                        changed[at] ^= value;
                        changed
                    }
                    2 => [value; 4096],
                    _ => honest,
                };
                given
            });
            if !alive {
                prop_assert_eq!(asked, Err(ChannelError::Dead));
                break;
            }
            rounds += 1;
            match asked {
                Ok(answer) => {
                    // Bytes that mean nothing may differ.
                    prop_assert_eq!(&given[0x30..], &honest[0x30..]);
                    prop_assert_eq!(request().read(&answer), Ok(&report(&request())));
                    prop_assert_eq!(Header::read(&given).unwrap().sequence, 2 * rounds);
                }
                Err(_) => prop_assert!(!channel.is_alive()),
            }
        }
    }

    #[test]
    fn any_payload_is_read_without_a_panic(payload in prop::collection::vec(any::<u8>(), 0..1300)) {
        let _ = request().read(&payload);
        let _ = KeyRequest::new(Root::Chip).take(&mut payload.clone());
        let mut page = [0; 4096];
        page[..payload.len()].copy_from_slice(&payload);
        let _ = Header::read(&page);
        let _ = take_key(&mut page);
    }
}
