// SPDX-License-Identifier: Apache-2.0

//! Signatures by the pinned root are checked once.
//!
//! The root signs a handful of things in its life: two PCK authorities, a signing certificate, and now and
//! then a revocation list. Every quote of every platform brings three of them. That a signature is good
//! does not change with time, so it is enough to find it out once. What does change is asked each time, by
//! who asks for a signature here: whether a certificate or a list is valid at `now`, and not revoked.

use std::sync::Mutex;

use evidence_crypto::{BadSignature, Crypto, Scheme};

/// How many signatures are remembered at most; there are four or five at a time.
const MAX: usize = 32;

/// Which signatures of the root were found good, by the SHA-256 of the length of the message, the message
/// and the signature.
#[derive(Debug, Default)]
pub(crate) struct RootSignatures {
    good: Mutex<Vec<[u8; 32]>>,
}

impl RootSignatures {
    fn has(&self, digest: &[u8; 32]) -> bool {
        self.good.lock().is_ok_and(|good| good.contains(digest))
    }

    fn add(&self, digest: [u8; 32]) {
        // A poisoned memory remembers nothing.
        let Ok(mut good) = self.good.lock() else { return };
        if good.len() >= MAX {
            good.remove(0);
        }
        good.push(digest);
    }
}

/// The cryptographic operations, with that memory for one key.
#[derive(Debug)]
pub(crate) struct WithMemory<'a> {
    pub(crate) crypto: &'a dyn Crypto,
    /// The root's key, a point.
    pub(crate) root: &'a [u8],
    pub(crate) memory: &'a RootSignatures,
}

impl Crypto for WithMemory<'_> {
    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.crypto.sha256(parts)
    }

    fn sha384(&self, parts: &[&[u8]]) -> [u8; 48] {
        self.crypto.sha384(parts)
    }

    fn sha512(&self, parts: &[&[u8]]) -> [u8; 64] {
        self.crypto.sha512(parts)
    }

    fn hmac_sha256(&self, key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        self.crypto.hmac_sha256(key, parts)
    }

    fn verify(
        &self,
        scheme: Scheme,
        key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        if scheme != Scheme::P256Der || key != self.root {
            return self.crypto.verify(scheme, key, message, signature);
        }
        let length = (message.len() as u64).to_be_bytes();
        let digest = self.crypto.sha256(&[&length, message, signature]);
        if self.memory.has(&digest) {
            return Ok(());
        }
        self.crypto.verify(scheme, key, message, signature)?;
        self.memory.add(digest);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use evidence_crypto::RustCrypto;

    use super::*;

    /// Finds a signature good if it equals the message, and counts.
    #[derive(Debug, Default)]
    struct Counting(AtomicUsize);

    impl Crypto for Counting {
        fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
            RustCrypto.sha256(parts)
        }
        fn sha384(&self, parts: &[&[u8]]) -> [u8; 48] {
            RustCrypto.sha384(parts)
        }
        fn sha512(&self, parts: &[&[u8]]) -> [u8; 64] {
            RustCrypto.sha512(parts)
        }
        fn hmac_sha256(&self, key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
            RustCrypto.hmac_sha256(key, parts)
        }
        fn verify(
            &self,
            _: Scheme,
            _: &[u8],
            message: &[u8],
            signature: &[u8],
        ) -> Result<(), BadSignature> {
            self.0.fetch_add(1, Ordering::Relaxed);
            if message == signature { Ok(()) } else { Err(BadSignature) }
        }
    }

    #[test]
    fn only_good_signatures_of_the_root_are_remembered() {
        let (crypto, memory) = (Counting::default(), RootSignatures::default());
        let with = WithMemory { crypto: &crypto, root: b"root", memory: &memory };
        let asked = |scheme, key: &[u8], message: &[u8], signature: &[u8]| {
            let before = crypto.0.load(Ordering::Relaxed);
            let verdict = with.verify(scheme, key, message, signature);
            (verdict.is_ok(), crypto.0.load(Ordering::Relaxed) - before)
        };
        use Scheme::{P256Der, P256Fixed};
        for (scheme, key, message, signature, answer) in [
            (P256Der, &b"root"[..], &b"one"[..], &b"one"[..], (true, 1)),
            (P256Der, b"root", b"one", b"one", (true, 0)),
            // The same bytes, cut at another place, are another signature.
            (P256Der, b"root", b"on", b"eone", (false, 1)),
            (P256Der, b"root", b"on", b"eone", (false, 1)),
            (P256Der, b"other", b"one", b"one", (true, 1)),
            (P256Der, b"other", b"one", b"one", (true, 1)),
            (P256Fixed, b"root", b"one", b"one", (true, 1)),
            (P256Fixed, b"root", b"one", b"one", (true, 1)),
        ] {
            assert_eq!(asked(scheme, key, message, signature), answer, "{key:?} {message:?}");
        }
        for number in 0..2 * MAX {
            let message = number.to_be_bytes();
            assert_eq!(asked(P256Der, b"root", &message, &message), (true, 1));
        }
        assert_eq!(memory.good.lock().unwrap().len(), MAX);
    }

    #[test]
    fn all_but_the_signatures_is_the_librarys_own() {
        let counting = Counting::default();
        let memory = RootSignatures::default();
        let crypto = WithMemory { crypto: &counting, root: b"root", memory: &memory };
        let parts: &[&[u8]] = &[b"one", b"two"];
        assert_eq!(crypto.sha256(parts), RustCrypto.sha256(parts));
        assert_eq!(crypto.sha384(parts), RustCrypto.sha384(parts));
        assert_eq!(crypto.sha512(parts), RustCrypto.sha512(parts));
        assert_eq!(crypto.hmac_sha256(b"key", parts), RustCrypto.hmac_sha256(b"key", parts));
        assert_eq!(counting.0.load(Ordering::Relaxed), 0);
    }
}
