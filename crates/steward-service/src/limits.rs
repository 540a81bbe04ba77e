// SPDX-License-Identifier: Apache-2.0

//! What clients may take, and the gate that holds them to it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most bytes of a request's body: 1 MiB.
pub(crate) const MAX_BODY: usize = 1 << 20;

/// All bodies that are being read or worked on may have so many bytes together: 32 MiB. A request has
/// some 10 KiB, so only who means harm comes near it.
const MAX_BODIES: usize = 32 << 20;

/// What clients may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Requests for certificates at one time.
    pub requests: usize,
    /// Connections at one time.
    pub connections: usize,
    /// For each of: TLS handshake, head of a request, its body, the answer.
    pub timeout: Duration,
}

impl Default for Limits {
    /// What `steward serve` takes if it is not told.
    fn default() -> Self {
        Self { requests: 256, connections: 1024, timeout: Duration::from_secs(10) }
    }
}

/// Lets in as many requests as may be worked on; who comes too much is told so at once, since a queue
/// would only make all of them late.
#[derive(Debug)]
pub(crate) struct Gate {
    requests: Arc<Semaphore>,
    /// In KiB.
    bodies: Arc<Semaphore>,
}

/// The right to be worked on, as long as it is held.
#[derive(Debug)]
pub(crate) struct Admission {
    _request: OwnedSemaphorePermit,
    _body: OwnedSemaphorePermit,
}

impl Gate {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(limits.requests)),
            bodies: Arc::new(Semaphore::new(MAX_BODIES >> 10)),
        }
    }

    /// `None` if there is no room. A body of unknown length counts as the largest.
    pub(crate) fn admit(&self, length: Option<usize>) -> Option<Admission> {
        let size = length.unwrap_or(MAX_BODY).min(MAX_BODY).div_ceil(1 << 10);
        Some(Admission {
            _request: Arc::clone(&self.requests).try_acquire_owned().ok()?,
            _body: Arc::clone(&self.bodies)
                .try_acquire_many_owned(u32::try_from(size).ok()?)
                .ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_closes_by_count_and_by_size() {
        let limits = Limits { requests: 40, connections: 1, timeout: Duration::ZERO };
        let gate = Gate::new(&limits);
        let small: Vec<_> = (0..40).map(|_| gate.admit(Some(10)).unwrap()).collect();
        assert!(gate.admit(Some(10)).is_none());
        drop(small);
        let large: Vec<_> = (0..32).map(|_| gate.admit(None).unwrap()).collect();
        assert!(gate.admit(Some(10)).is_none());
        drop(large);
        assert!(gate.admit(Some(0)).is_some());
    }
}
