// SPDX-License-Identifier: Apache-2.0

//! The host's end of the rings: takes requests in order, answers them in order, and says whether it
//! is awake. What a request means is not its concern.

use core::fmt;

use crate::{
    ANSWER_WORDS, ANSWERS, COMPLETED, ENTRIES, HOST_AWAKE, HostErrno, REQUEST_WORDS, REQUESTS,
    Request, SUBMITTED, Window, entry,
};

/// The host's end of the rings in one shared block.
#[derive(Debug)]
pub struct HostEnd<W> {
    window: W,
    answered: u64,
}

/// The Keep claims to have made more requests than fit into the ring, or fewer than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breach {
    /// What the Keep said.
    pub submitted: u64,
    /// How many were answered.
    pub answered: u64,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { submitted, answered } = self;
        write!(f, "it claims {submitted} host calls where {answered} were answered")
    }
}

impl core::error::Error for Breach {}

impl<W: Window> HostEnd<W> {
    /// The end in a block whose rings are still zero.
    pub const fn new(window: W) -> Self {
        Self { window, answered: 0 }
    }

    /// How many requests were answered, ever.
    pub const fn answered(&self) -> u64 {
        self.answered
    }

    /// The block.
    pub const fn window(&self) -> &W {
        &self.window
    }

    /// How many requests wait; at most [`ENTRIES`].
    ///
    /// # Errors
    ///
    /// [`Breach`] if there cannot be so many.
    pub fn pending(&self) -> Result<u64, Breach> {
        let (submitted, answered) = (self.window.load(SUBMITTED), self.answered);
        match submitted.checked_sub(answered) {
            Some(n) if n <= ENTRIES => Ok(n),
            _ => Err(Breach { submitted, answered }),
        }
    }

    /// A copy of the oldest request that waits, checked. Call it only when
    /// [`pending`](Self::pending) said there is one, and [`answer`](Self::answer) before the next.
    ///
    /// # Errors
    ///
    /// What to answer if the request is malformed; see [`Request::decode`].
    pub fn request(&self) -> Result<Request, HostErrno> {
        let at = entry(REQUESTS, REQUEST_WORDS, self.answered);
        Request::decode(&core::array::from_fn(|n| self.window.load(at + n * 8)))
    }

    /// Answers the oldest request that waits: with a value, or with an error and, for WRITE, how
    /// many bytes were written before it.
    pub fn answer(&mut self, answer: Result<u64, (HostErrno, u64)>) {
        let (status, value) = match answer {
            Ok(value) => (0, value),
            Err((errno, before)) => (errno.number(), before),
        };
        let at = entry(ANSWERS, ANSWER_WORDS, self.answered);
        for (n, word) in [self.answered, status, value, 0].into_iter().enumerate() {
            self.window.store(at + n * 8, word);
        }
        self.answered += 1;
        self.window.store(COMPLETED, self.answered);
    }
}

/// What a thread does that watches the rings without serving them: it needs no lock.
#[derive(Debug, Clone, Copy)]
pub struct Watch<W> {
    window: W,
}

impl<W: Window> Watch<W> {
    /// A watch over the block.
    pub const fn new(window: W) -> Self {
        Self { window }
    }

    /// How many requests the Keep claims to have made. Good for nothing but to notice a change.
    pub fn submitted(&self) -> u64 {
        self.window.load(SUBMITTED)
    }

    /// Tells the Keep whether a thread watches the ring, so that it need not ring. Whoever goes to
    /// sleep looks at [`submitted`](Self::submitted) once more **after** saying so.
    pub fn set_awake(&self, awake: bool) {
        self.window.store(HOST_AWAKE, awake.into());
        self.window.fence();
    }
}
