// SPDX-License-Identifier: Apache-2.0

//! The key with which a workload seals what only it shall read again.
//!
//! The platform's key is bound to the Keep's own program, which runs any workload. So each workload gets a key
//! that is derived from it, by HKDF (RFC 5869) with SHA-256, and the platform's is wiped.

use graviola::hashing::Sha256;
use graviola::hashing::hmac::Hmac;
use zeroize::{Zeroize as _, Zeroizing};

/// What a key for sealing is derived for; another version of it would be another key.
const LABEL: &[u8] = b"enarx sealing v1";

/// Who made the native code that gets the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeOrigin<'a> {
    /// The tenant: it is part of the workload, and pinned by its digest.
    Workload,
    /// A compiler Keep, which had to show a certificate under one of these roots, DER. **The host names them**:
    /// one that named a root of its own could have the workload compiled to whatever it likes. So other roots
    /// are another key.
    Compiler(&'a [Vec<u8>]),
}

/// The key of the workload with this digest, from the platform's, which is wiped.
#[must_use]
pub fn sealing_key(
    platform: &mut [u8; 32],
    workload: &[u8; 32],
    origin: CodeOrigin<'_>,
) -> Zeroizing<[u8; 32]> {
    let origin = match origin {
        CodeOrigin::Workload => [0; 33],
        CodeOrigin::Compiler(roots) => {
            let mut digests: Vec<[u8; 32]> = roots.iter().map(|root| sha256(root)).collect();
            digests.sort_unstable();
            digests.dedup();
            let mut origin = [1; 33];
            for (to, from) in origin.iter_mut().skip(1).zip(sha256(digests.as_flattened())) {
                *to = from;
            }
            origin
        }
    };
    hkdf(platform, &[LABEL, workload, &origin])
}

/// HKDF without a salt, to as many bytes as a digest has.
fn hkdf(input: &mut [u8; 32], info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut extract = Hmac::<Sha256>::new([0; 32]);
    extract.update(&*input);
    input.zeroize();
    let key = bytes(extract.finish().as_ref());
    let mut expand = Hmac::<Sha256>::new(&key[..]);
    for part in info {
        expand.update(part);
    }
    expand.update([1]);
    bytes(expand.finish().as_ref())
}

fn sha256(of: &[u8]) -> [u8; 32] {
    use graviola::hashing::Hash as _;
    *bytes(Sha256::hash(of).as_ref())
}

fn bytes(digest: &[u8]) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(digest.first_chunk().copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The inputs of RFC 5869's examples have other lengths, so the expected bytes were made by Python's `hmac`
    /// with code that gives what appendix A.3 shows.
    #[test]
    fn derivation_is_that_of_the_rfc() {
        let mut input = [0x0b; 32];
        let key = hkdf(&mut input, &[b"one", b"two"]);
        assert_eq!(input, [0; 32], "wiped");
        assert_eq!(*key, hex("24e4240f07077b1bd8d3ff954cc5d4cb83b1f5a754be68de5bc641fd41f16c6f"));
        assert_eq!(key, hkdf(&mut [0x0b; 32], &[b"onetwo"]));
    }

    fn hex(text: &str) -> [u8; 32] {
        std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
    }

    #[test]
    fn each_workload_and_each_way_to_its_code_has_a_key_of_its_own() {
        let (one, two) = (vec![1; 100], vec![2; 200]);
        let key =
            |platform, workload, origin| *sealing_key(&mut [platform; 32], &[workload; 32], origin);
        let both = [one.clone(), two.clone()];
        let keys = [
            key(1, 1, CodeOrigin::Workload),
            key(2, 1, CodeOrigin::Workload),
            key(1, 2, CodeOrigin::Workload),
            key(1, 1, CodeOrigin::Compiler(&[])),
            key(1, 1, CodeOrigin::Compiler(std::slice::from_ref(&one))),
            key(1, 1, CodeOrigin::Compiler(&both)),
        ];
        for (index, key) in keys.iter().enumerate() {
            assert!(keys.iter().skip(index + 1).all(|other| other != key), "{index}");
        }
        // The order in which a host names roots is no difference.
        assert_eq!(key(1, 1, CodeOrigin::Compiler(&[two, one.clone()])), keys[5]);
        // What was sealed has to be opened by later versions, too.
        assert_eq!(
            keys[0],
            hex("76fc71af524addd4df8607f227504168fcbbfe590e7328d110dc718a056e9840")
        );
    }
}
