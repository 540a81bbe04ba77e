// SPDX-License-Identifier: Apache-2.0

//! An HTTP/1.1 server on the socket `web`, by tokio and hyper.
//!
//! | path | answer |
//! |---|---|
//! | `/` | a greeting |
//! | `/echo` | the body of the request |
//! | `/bytes/N` | N bytes, in pieces of 64 KiB |
//! | `/slow/N` | a greeting after N milliseconds, while others are answered |
//! | `/end` | a farewell, and the end of the program |

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use network::Io;
use tokio::sync::Notify;
use tokio::task::LocalSet;

type Answer = Response<UnsyncBoxBody<Bytes, hyper::Error>>;

const PIECE: Bytes = Bytes::from_static(&[b'k'; 64 << 10]);

/// So many bytes.
struct Zeroes(u64);

impl Body for Zeroes {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let len = self.0.min(PIECE.len() as u64);
        self.0 -= len;
        Poll::Ready((len > 0).then(|| Ok(Frame::data(PIECE.slice(..len as usize)))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}

fn text(status: StatusCode, text: &'static str) -> Answer {
    let body = Full::new(Bytes::from_static(text.as_bytes()));
    let mut answer = Response::new(body.map_err(|never: Infallible| match never {}).boxed_unsync());
    *answer.status_mut() = status;
    answer
}

async fn answer(request: Request<Incoming>, end: Rc<Notify>) -> Result<Answer, Infallible> {
    let path = request.uri().path().to_owned();
    let mut parts = path.trim_start_matches('/').split('/');
    let number = |part: Option<&str>| part.and_then(|part| part.parse::<u64>().ok());
    Ok(match parts.next() {
        Some("") => text(StatusCode::OK, "hello from a Keep\n"),
        Some("echo") => Response::new(request.into_body().boxed_unsync()),
        Some("bytes") => match number(parts.next()) {
            Some(count) => Response::new(Zeroes(count).boxed_unsync()),
            None => text(StatusCode::BAD_REQUEST, "how many?\n"),
        },
        Some("slow") => {
            let time = Duration::from_millis(number(parts.next()).unwrap_or(100));
            tokio::time::sleep(time).await;
            text(StatusCode::OK, "hello, at last\n")
        }
        Some("end") => {
            end.notify_one();
            text(StatusCode::OK, "farewell\n")
        }
        _ => text(StatusCode::NOT_FOUND, "no such page\n"),
    })
}

async fn serve() -> io::Result<()> {
    let listener = network::listener("web")?;
    let end = Rc::new(Notify::new());
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted?,
            () = end.notified() => break,
        };
        let end = Rc::clone(&end);
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| answer(request, Rc::clone(&end)));
            if let Err(error) = http1::Builder::new().serve_connection(Io(stream), service).await {
                eprintln!("a connection failed: {error}");
            }
        });
    }
    // Time for the last answer.
    tokio::time::sleep(Duration::from_millis(200)).await;
    Ok(())
}

fn main() -> io::Result<()> {
    network::run(LocalSet::new().run_until(serve()))
}
