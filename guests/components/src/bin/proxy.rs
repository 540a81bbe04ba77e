// SPDX-License-Identifier: Apache-2.0

//! Handles HTTP requests: a component of the world `wasi:http/proxy`.
//!
//! | path | answer |
//! |---|---|
//! | `/` | a greeting, with how many requests this instance has seen |
//! | `/echo` | the body of the request |
//! | `/wait/N` | a greeting after N milliseconds, while others are answered |
//! | `/fetch/URL` | what another server says |
//! | `/bytes/N` | N bytes |
//! | `/trap`, `/silent` | none |
//! | `/memory/N` | a greeting, if N bytes can be had |

use std::sync::atomic::{AtomicU32, Ordering};

use wasip2::clocks::monotonic_clock;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::StreamError;

wasip2::http::proxy::export!(Handler);

struct Handler;

static SEEN: AtomicU32 = AtomicU32::new(0);

impl wasip2::exports::http::incoming_handler::Guest for Handler {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let (name, rest) = path.trim_start_matches('/').split_once('/').unwrap_or((&path, ""));
        let number = || rest.parse::<u64>().unwrap_or_default();
        match name.trim_start_matches('/') {
            "" => {
                let seen = SEEN.fetch_add(1, Ordering::Relaxed) + 1;
                say(out, 200, &format!("hello from a component, request {seen}\n"));
            }
            "echo" => echo(request, out),
            "wait" => {
                monotonic_clock::subscribe_duration(number() * 1_000_000).block();
                say(out, 200, "hello, at last\n");
            }
            "fetch" => match components::fetch(rest) {
                Ok((status, body)) => answer(out, status, &body),
                Err(code) => say(out, 502, &format!("{code:?}\n")),
            },
            "bytes" => answer(out, 200, &vec![b'k'; number() as usize]),
            "memory" => {
                let memory = std::hint::black_box(vec![1_u8; number() as usize]);
                say(out, 200, &format!("{} bytes\n", memory.len()));
            }
            "trap" => core::arch::wasm32::unreachable(),
            "silent" => {}
            _ => say(out, 404, "no such page\n"),
        }
    }
}

fn say(out: ResponseOutparam, status: u16, text: &str) {
    answer(out, status, text.as_bytes());
}

fn begin(out: ResponseOutparam, status: u16) -> OutgoingBody {
    let response = OutgoingResponse::new(Fields::new());
    response.set_status_code(status).expect("a status");
    let body = response.body().expect("taken once");
    ResponseOutparam::set(out, Ok(response));
    body
}

fn answer(out: ResponseOutparam, status: u16, bytes: &[u8]) {
    let body = begin(out, status);
    let stream = body.write().expect("taken once");
    for piece in bytes.chunks(4096) {
        if stream.blocking_write_and_flush(piece).is_err() {
            return;
        }
    }
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}

/// Answers while the request still comes.
fn echo(request: IncomingRequest, out: ResponseOutparam) {
    let incoming = request.consume().expect("consumed once");
    let from = incoming.stream().expect("taken once");
    let body = begin(out, 200);
    let to = body.write().expect("taken once");
    loop {
        match from.blocking_read(4096) {
            Ok(piece) => {
                if to.blocking_write_and_flush(&piece).is_err() {
                    return;
                }
            }
            Err(StreamError::Closed) => break,
            // Not to finish the body is what tells the client.
            Err(StreamError::LastOperationFailed(_)) => return,
        }
    }
    drop(to);
    let _ = OutgoingBody::finish(body, None);
}

fn main() {}
