// SPDX-License-Identifier: Apache-2.0

//! Messages of DNS (RFC 1035 §4): one question, and of an answer what answers it.
//!
//! Whoever answers may be anybody. The reader looks at nothing but addresses and other names of what
//! was asked, takes a bounded number of steps for any bytes, and refuses what is not well-formed as
//! far as it has to look.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest name in its wire form, in bytes (RFC 1035 §2.3.4).
const MAX_NAME: usize = 255;
/// Most records of an answer that are looked at.
const MAX_RECORDS: usize = 64;
/// Most further names between a name and its addresses.
const MAX_ALIASES: usize = 8;

const CLASS_IN: u16 = 1;
const TYPE_CNAME: u16 = 5;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// IPv4.
    A,
    /// IPv6.
    Aaaa,
}

impl Kind {
    const fn code(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
        }
    }
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Addresses, maybe none, and for how many seconds that holds.
    Addresses(Vec<IpAddr>, u32),
    /// The name is another name for this one, of which the answer says no more.
    Alias(Name),
    /// There is no such name.
    NoSuchName,
    /// The server does not want to, or cannot.
    Failed,
    /// It did not fit; ask again by TCP.
    Truncated,
}

/// A name in its wire form, in lower case: labels with their lengths, and the empty one last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name(Vec<u8>);

impl Name {
    /// From text; none if it is not one that DNS can carry.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let mut out = Vec::new();
        for label in text.split('.') {
            let len = u8::try_from(label.len()).ok().filter(|len| (1..=63).contains(len))?;
            if !label.is_ascii() {
                return None;
            }
            out.push(len);
            out.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        out.push(0);
        (out.len() <= MAX_NAME).then_some(Self(out))
    }
}

/// The question, with recursion desired.
pub(super) fn question(id: u16, name: &Name, kind: Kind) -> Vec<u8> {
    let mut out = Vec::with_capacity(12 + name.0.len() + 4);
    out.extend_from_slice(&id.to_be_bytes());
    // A standard query with recursion desired; one question and nothing else.
    out.extend_from_slice(&[0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&name.0);
    out.extend_from_slice(&kind.code().to_be_bytes());
    out.extend_from_slice(&CLASS_IN.to_be_bytes());
    out
}

/// What a message says to that question; none if it is no answer to it, or none that can be read.
pub(super) fn answer(message: &[u8], id: u16, name: &Name, kind: Kind) -> Option<Answer> {
    let mut reader = Reader { message, at: 0 };
    let [their_id, flags, questions, answers] =
        [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?];
    reader.skip(4)?;
    // An answer to a standard query, about one question, which is ours.
    if their_id != id || flags & 0xf800 != 0x8000 || questions != 1 {
        return None;
    }
    if reader.name()? != *name || reader.u16()? != kind.code() || reader.u16()? != CLASS_IN {
        return None;
    }
    match flags & 0x000f {
        _ if flags & 0x0200 != 0 => return Some(Answer::Truncated),
        0 => {}
        3 => return Some(Answer::NoSuchName),
        _ => return Some(Answer::Failed),
    }

    let mut addresses: Vec<(Name, IpAddr, u32)> = Vec::new();
    let mut aliases: Vec<(Name, Name, u32)> = Vec::new();
    for _ in 0..usize::from(answers).min(MAX_RECORDS) {
        let owner = reader.name()?;
        let (code, class) = (reader.u16()?, reader.u16()?);
        // The first bit of a time to live is never set (RFC 2181 §8).
        let ttl = reader.u32().map(|ttl| if ttl >> 31 == 0 { ttl } else { 0 })?;
        let len = usize::from(reader.u16()?);
        let data = message.get(reader.at..reader.at.checked_add(len)?)?;
        let start = reader.at;
        reader.skip(len)?;
        if class != CLASS_IN {
            continue;
        }
        if code == TYPE_CNAME {
            let mut inner = Reader { message, at: start };
            let target = inner.name()?;
            aliases.push((owner, target, ttl));
        } else if code == kind.code() {
            addresses.push((owner, address(data, kind)?, ttl));
        }
    }

    let (mut current, mut ttl) = (name.clone(), u32::MAX);
    for _ in 0..=MAX_ALIASES {
        let found: Vec<_> = addresses.iter().filter(|(owner, ..)| *owner == current).collect();
        if !found.is_empty() {
            let ttl = found.iter().map(|(.., ttl)| *ttl).fold(ttl, u32::min);
            return Some(Answer::Addresses(found.iter().map(|(_, ip, _)| *ip).collect(), ttl));
        }
        match aliases.iter().find(|(owner, ..)| *owner == current) {
            Some((_, target, time)) => (current, ttl) = (target.clone(), ttl.min(*time)),
            None if current == *name => return Some(Answer::Addresses(Vec::new(), 0)),
            None => return Some(Answer::Alias(current)),
        }
    }
    Some(Answer::Failed)
}

fn address(data: &[u8], kind: Kind) -> Option<IpAddr> {
    match kind {
        Kind::A => Some(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).into()),
        Kind::Aaaa => Some(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).into()),
    }
}

struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn skip(&mut self, len: usize) -> Option<()> {
        let end = self.at.checked_add(len)?;
        (end <= self.message.len()).then(|| self.at = end)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = self.message.get(self.at..)?.first_chunk::<N>()?;
        self.at += N;
        Some(*bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// A name, with what it refers to further up (RFC 1035 §4.1.4). Each reference leads to an
    /// earlier place than the one before, so there is an end.
    fn name(&mut self) -> Option<Name> {
        let mut out = Vec::new();
        let mut at = self.at;
        let mut bound = self.at;
        let mut after = None;
        loop {
            let len = *self.message.get(at)?;
            match len {
                0 => {
                    out.push(0);
                    self.at = after.unwrap_or(at + 1);
                    return (out.len() <= MAX_NAME).then_some(Name(out));
                }
                1..=63 => {
                    let end = at + 1 + usize::from(len);
                    let label = self.message.get(at + 1..end)?;
                    out.push(len);
                    out.extend(label.iter().map(u8::to_ascii_lowercase));
                    if out.len() > MAX_NAME {
                        return None;
                    }
                    at = end;
                }
                0xc0.. => {
                    let low = *self.message.get(at + 1)?;
                    after.get_or_insert(at + 2);
                    let target = usize::from(u16::from_be_bytes([len & 0x3f, low]));
                    if target >= bound {
                        return None;
                    }
                    (at, bound) = (target, target);
                }
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Header and question of an answer.
    fn head(id: u16, flags: u16, records: u16, name: &str, kind: Kind) -> Vec<u8> {
        let mut out = question(id, &Name::parse(name).unwrap(), kind);
        out[2..4].copy_from_slice(&flags.to_be_bytes());
        out[6..8].copy_from_slice(&records.to_be_bytes());
        out
    }

    fn record(owner: &[u8], code: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
        let mut out = owner.to_vec();
        out.extend_from_slice(&code.to_be_bytes());
        out.extend_from_slice(&CLASS_IN.to_be_bytes());
        out.extend_from_slice(&ttl.to_be_bytes());
        out.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
        out.extend_from_slice(data);
        out
    }

    /// A reference to the name of the question.
    const ASKED: &[u8] = &[0xc0, 12];

    fn read(message: &[u8]) -> Option<Answer> {
        answer(message, 7, &Name::parse("a.example").unwrap(), Kind::A)
    }

    #[test]
    fn names() {
        assert_eq!(Name::parse("A.Example.").unwrap().0, b"\x01a\x07example\x00");
        for bad in ["", ".", "a..b", "ä.example", &"a".repeat(64), &"a.".repeat(128)] {
            assert_eq!(Name::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn addresses_of_the_name_and_of_its_aliases() {
        let mut message = head(7, 0x8180, 4, "a.example", Kind::A);
        let other = Name::parse("B.example").unwrap();
        message.extend(record(ASKED, TYPE_CNAME, 60, &other.0));
        message.extend(record(&other.0, 1, 30, &[192, 0, 2, 1]));
        message.extend(record(&other.0, 1, 90, &[192, 0, 2, 2]));
        message.extend(record(b"\x04evil\x00", 1, 1, &[6, 6, 6, 6]));
        let expected = vec!["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()];
        assert_eq!(read(&message), Some(Answer::Addresses(expected, 30)));
        for len in 0..message.len() {
            assert_eq!(read(&message[..len]), None, "{len} bytes were believed");
        }
    }

    #[test]
    fn what_is_no_answer_to_the_question() {
        let good = head(7, 0x8180, 0, "a.example", Kind::A);
        assert_eq!(read(&good), Some(Answer::Addresses(vec![], 0)));
        assert_eq!(read(&head(8, 0x8180, 0, "a.example", Kind::A)), None);
        assert_eq!(read(&head(7, 0x0100, 0, "a.example", Kind::A)), None);
        assert_eq!(read(&head(7, 0x8180, 0, "b.example", Kind::A)), None);
        assert_eq!(read(&head(7, 0x8180, 0, "a.example", Kind::Aaaa)), None);
        assert_eq!(read(&head(7, 0x8183, 0, "a.example", Kind::A)), Some(Answer::NoSuchName));
        assert_eq!(read(&head(7, 0x8185, 0, "a.example", Kind::A)), Some(Answer::Failed));
        assert_eq!(read(&head(7, 0x8380, 0, "a.example", Kind::A)), Some(Answer::Truncated));
    }

    #[test]
    fn circles_have_an_end() {
        let mut message = head(7, 0x8180, 2, "a.example", Kind::A);
        let other = Name::parse("b.example").unwrap();
        message.extend(record(ASKED, TYPE_CNAME, 60, &other.0));
        message.extend(record(&other.0, TYPE_CNAME, 60, ASKED));
        assert_eq!(read(&message), Some(Answer::Failed));

        let mut message = head(7, 0x8180, 1, "a.example", Kind::A);
        message.extend(record(ASKED, TYPE_CNAME, 60, &other.0));
        assert_eq!(read(&message), Some(Answer::Alias(other)));

        // A name that refers to itself, and one that refers forward.
        let at = u8::try_from(head(7, 0, 0, "a.example", Kind::A).len()).unwrap();
        for target in [at, at + 2] {
            let mut message = head(7, 0x8180, 1, "a.example", Kind::A);
            message.extend(record(&[0xc0, target], 1, 1, &[1, 1, 1, 1]));
            assert_eq!(read(&message), None);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            let mut message = head(7, 0x8180, 9, "a.example", Kind::A);
            message.append(&mut bytes);
            let _ = read(&message);
        }

        #[test]
        fn damaged_answers_never_panic(at in 0_usize..100, with: u8) {
            let mut message = head(7, 0x8180, 2, "a.example", Kind::A);
            message.extend(record(ASKED, TYPE_CNAME, 60, b"\x01b\xc0\x0e"));
            message.extend(record(b"\x01b\xc0\x0e", 1, 60, &[192, 0, 2, 1]));
            let at = at % message.len();
            message[at] = with;
            let _ = read(&message);
        }
    }
}
