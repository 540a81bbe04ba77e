// SPDX-License-Identifier: Apache-2.0

//! Bodies: read with bounds of size, time and speed; sent as they are read from the store.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use drawbridge_store::Content;
use futures_util::stream::{BoxStream, Stream, StreamExt as _};
use http_body_util::BodyExt as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::problem::{Code, Refusal};
use crate::{Limits, Service};

/// What is read of the body of a request that was refused, so that its client reads the answer.
const COURTESY: (u64, Duration) = (64 << 20, Duration::from_secs(5));

/// A body that is being read.
#[derive(Debug)]
pub(crate) struct Reader {
    body: Body,
    limit: Duration,
    least_rate: u64,
    /// Since when, and how many bytes came.
    window: (Instant, u64),
    is_done: bool,
}

impl Reader {
    pub(crate) fn new(body: Body, limits: &Limits) -> Self {
        Self {
            body,
            limit: limits.timeout,
            least_rate: limits.least_rate,
            window: (Instant::now(), 0),
            is_done: false,
        }
    }

    /// The next bytes; none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        // Until it is known better: after a failure there is nothing to wait for.
        self.is_done = true;
        loop {
            let frame = timeout(self.limit, self.body.frame()).await;
            let frame = match frame.map_err(|_| Refusal::from(Code::BodySlow))? {
                None => return Ok(None),
                Some(frame) => frame.map_err(|_| Refusal::from(Code::BodyBroken))?,
            };
            // Trailers are of no interest.
            let Ok(bytes) = frame.into_data() else { continue };
            self.window.1 = self.window.1.saturating_add(bytes.len() as u64);
            let elapsed = self.window.0.elapsed();
            if elapsed >= self.limit {
                if self.window.1 < self.least_rate.saturating_mul(elapsed.as_secs()) {
                    return Err(Code::BodySlow.into());
                }
                self.window = (Instant::now(), 0);
            }
            self.is_done = false;
            return Ok(Some(bytes));
        }
    }

    /// All of a small body.
    pub(crate) async fn small(mut self, most: usize) -> Result<Vec<u8>, Refusal> {
        let mut out = Vec::new();
        while let Some(bytes) = self.next().await? {
            if out.len().saturating_add(bytes.len()) > most {
                self.drain().await;
                let detail = format!("this takes at most {most} bytes");
                return Err(Refusal::new(Code::BodyTooLarge, detail));
            }
            out.extend_from_slice(&bytes);
        }
        Ok(out)
    }

    /// Reads on for a moment after a refusal: closing with unread bytes would reset the connection, and the
    /// client might never see why. Who does not send is not waited for.
    pub(crate) async fn drain(&mut self) {
        if self.is_done {
            return;
        }
        let read = async {
            let mut count = 0u64;
            while let Some(Ok(frame)) = self.body.frame().await {
                count += frame.data_ref().map_or(0, |bytes| bytes.len() as u64);
                if count > COURTESY.0 {
                    break;
                }
            }
        };
        let _ = timeout(COURTESY.1, read).await;
    }
}

/// The right to move a large body.
pub(crate) fn admit(service: &Service) -> Result<OwnedSemaphorePermit, Refusal> {
    Arc::clone(&service.transfers).try_acquire_owned().map_err(|_| Code::Busy.into())
}

/// Content as the body of an answer.
pub(crate) fn sent(
    content: Content,
    service: Arc<Service>,
    permit: Option<OwnedSemaphorePermit>,
) -> Body {
    Body::from_stream(Sent { content: content.into_stream(), service, _permit: permit })
}

struct Sent {
    content: BoxStream<'static, Result<Bytes, drawbridge_store::StoreError>>,
    service: Arc<Service>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Stream for Sent {
    type Item = Result<Bytes, drawbridge_store::StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.content.poll_next_unpin(context);
        match &next {
            Poll::Ready(Some(Ok(bytes))) => self.service.metrics.sent(bytes.len() as u64),
            // The connection is cut, which is how the client learns of it.
            Poll::Ready(Some(Err(error))) => tracing::error!(%error, "content ended early"),
            _ => {}
        }
        next
    }
}
