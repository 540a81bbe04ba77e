// SPDX-License-Identifier: Apache-2.0

//! Bytes and text: the crates that real programs use for it.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Random;

type Round = Box<dyn FnMut() -> u64>;

fn first_eight(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |sum, b| sum << 8 | u64::from(*b))
}

pub(crate) fn sha256() -> Round {
    let input: Vec<u8> = (0..4 << 20).map(|i: u32| (i ^ (i >> 8)) as u8).collect();
    Box::new(move || first_eight(&Sha256::digest(&input)))
}

#[derive(Serialize, Deserialize)]
struct Order {
    id: u64,
    customer: String,
    paid: bool,
    total: f64,
    lines: Vec<Line>,
    note: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    article: String,
    quantity: u32,
    price: f64,
}

pub(crate) fn json() -> Round {
    let mut random = Random(4);
    let orders: Vec<Order> = (0..1500)
        .map(|id| Order {
            id,
            customer: format!("customer \u{e9} \"{}\"", random.next() % 500),
            paid: random.next() % 2 == 0,
            total: (random.next() % 1_000_000) as f64 / 100.0,
            lines: (0..random.next() % 12)
                .map(|i| Line {
                    article: format!("article-{i}-{:x}", random.next() >> 40),
                    quantity: (random.next() % 100) as u32,
                    price: (random.next() % 10_000) as f64 / 7.0,
                })
                .collect(),
            note: (random.next() % 3 == 0).then(|| "line one\nline two\t\\".repeat(3)),
        })
        .collect();
    let text = serde_json::to_string(&orders).expect("plain data serialises");
    Box::new(move || {
        let typed: Vec<Order> = serde_json::from_str(&text).expect("our own text parses");
        let value: serde_json::Value = serde_json::from_str(&text).expect("our own text parses");
        let (a, b) = (serde_json::to_string(&typed), serde_json::to_string_pretty(&value));
        let (a, b) = (a.expect("serialises"), b.expect("serialises"));
        (a.len() as u64) << 32 | b.len() as u64
    })
}

pub(crate) fn regex() -> Round {
    let mut random = Random(5);
    let mut log = String::new();
    for i in 0..6000 {
        let (n, m) = (random.next(), random.next());
        log += &format!(
            "2026-{:02}-{:02}T{:02}:{:02}:00Z host{} GET /path/{:x}?id={} {} user{}@example.org\n",
            i % 12 + 1,
            i % 28 + 1,
            n % 24,
            m % 60,
            n % 7,
            m >> 40,
            n % 99_999,
            200 + m % 304,
            m % 77
        );
    }
    let patterns: Vec<_> = [
        r"(?m)^\d{4}-(0[1-9]|1[0-2])-\d\d",
        r"[a-z0-9]+@[a-z]+\.(org|com)",
        r"id=(\d+) (4|5)\d\d ",
        r"/path/[0-9a-f]*(dead|beef|cafe)",
        r"(GET|POST) [^ ]*7\?",
    ]
    .iter()
    .map(|p| regex::Regex::new(p).expect("the pattern is sound"))
    .collect();
    Box::new(move || {
        patterns.iter().fold(0u64, |sum, pattern| {
            let found = pattern.captures_iter(&log);
            found.fold(sum.rotate_left(7), |sum, c| sum.wrapping_add(c[0].len() as u64 * 31 + 1))
        })
    })
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn encode(input: &[u8], out: &mut Vec<u8>) {
    for three in input.chunks(3) {
        let byte = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            let digit = ALPHABET[(group >> (18 - 6 * i) & 63) as usize];
            out.push(if i > three.len() { b'=' } else { digit });
        }
    }
}

fn decode(input: &[u8], values: &[u8; 256], out: &mut Vec<u8>) {
    for four in input.chunks_exact(4) {
        let group =
            four.iter().fold(0, |g: u32, c| g << 6 | u32::from(values[usize::from(*c)] & 63));
        let padding = four.iter().filter(|c| **c == b'=').count();
        out.extend_from_slice(&group.to_be_bytes()[1..4 - padding]);
    }
}

pub(crate) fn base64() -> Round {
    let input: Vec<u8> = (0..(3 << 20) + 1).map(|i: u32| (i.wrapping_mul(37) >> 3) as u8).collect();
    let mut values = [0xff; 256];
    ALPHABET.iter().enumerate().for_each(|(i, c)| values[usize::from(*c)] = i as u8);
    let (mut text, mut back) = (Vec::new(), Vec::new());
    Box::new(move || {
        text.clear();
        back.clear();
        encode(&input, &mut text);
        decode(&text, &values, &mut back);
        assert!(back == input, "what was encoded comes back");
        first_eight(&text[text.len() - 8..])
    })
}
