// SPDX-License-Identifier: Apache-2.0

//! How far a transfer is.

/// Is told how far a transfer is. `()` is one that does not care.
pub trait Progress: Send + Sync {
    /// A file begins; `total` is its length in bytes.
    fn begin(&self, name: &str, total: u64) {
        let _ = (name, total);
    }

    /// So many bytes of it are there; less than before when a part has to be sent again.
    fn at(&self, name: &str, position: u64) {
        let _ = (name, position);
    }

    /// The file is there, and its digest is right.
    fn end(&self, name: &str) {
        let _ = name;
    }
}

impl Progress for () {}
