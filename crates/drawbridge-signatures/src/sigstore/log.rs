// SPDX-License-Identifier: Apache-2.0

//! What a transparency log proves: its promise, and that an entry is in it.

use base64ct::{Base64, Encoding as _};
use evidence_crypto::{AwsLc, Crypto as _, Scheme};
use evidence_pki::{Time, hex, pem_blocks};
use serde::Deserialize;

use super::bundle::{Bundle, Entry, Proof, base64};
use super::root::{Log, TrustedRoot};
use crate::SignatureError;

/// Most hashes of a proof: one for each bit of the size.
const MAX_HASHES: usize = 64;

/// `hashedrekord` 0.0.1.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    api_version: String,
    kind: String,
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    data: Data,
    signature: Signature,
}

#[derive(Deserialize)]
struct Data {
    hash: Hash,
}

#[derive(Deserialize)]
struct Hash {
    algorithm: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Signature {
    content: String,
    public_key: PublicKey,
}

#[derive(Deserialize)]
struct PublicKey {
    content: String,
}

/// When a log of the trusted root took in what the bundle says.
pub(super) fn verify(
    entry: &Entry,
    bundle: &Bundle,
    root: &TrustedRoot,
) -> Result<Time, SignatureError> {
    let time = Time::from_unix(entry.time);
    let log = root
        .logs
        .iter()
        .find(|log| log.id == entry.log_id && log.validity.contains(time))
        .ok_or(SignatureError::Log("the log is not one of the trusted root's at that time"))?;
    body(entry, bundle)?;
    promise(entry, log)?;
    inclusion(entry, log)?;
    Ok(time)
}

/// Whether the entry is about this bundle.
fn body(entry: &Entry, bundle: &Bundle) -> Result<(), SignatureError> {
    if (entry.kind.0.as_str(), entry.kind.1.as_str()) != ("hashedrekord", "0.0.1") {
        return Err(SignatureError::Unsupported("a kind of entry that is no hashedrekord".into()));
    }
    let body: Body = serde_json::from_slice(&entry.body)
        .map_err(|error| SignatureError::malformed("the entry of the log", error))?;
    let certificate = base64(&body.spec.signature.public_key.content)?;
    let is_same = (body.kind, body.api_version) == entry.kind
        && body.spec.data.hash.algorithm == "sha256"
        && body.spec.data.hash.value == hex(&bundle.digest)
        && base64(&body.spec.signature.content)? == bundle.signature
        && pem_blocks(&certificate, "CERTIFICATE")
            .is_ok_and(|blocks| matches!(blocks.as_slice(), [one] if *one == bundle.certificate));
    if is_same { Ok(()) } else { Err(SignatureError::Log("its entry is about something else")) }
}

/// The signed entry timestamp: a signature over entry, index, log and time as canonical JSON.
fn promise(entry: &Entry, log: &Log) -> Result<(), SignatureError> {
    let message = format!(
        r#"{{"body":"{}","integratedTime":{},"logID":"{}","logIndex":{}}}"#,
        Base64::encode_string(&entry.body),
        entry.time,
        hex(&entry.log_id),
        entry.index,
    );
    AwsLc
        .verify(Scheme::P256Der, &log.key, message.as_bytes(), &entry.promise)
        .map_err(|_| SignatureError::Log("its signed timestamp does not verify"))
}

/// Whether the entry is in the tree of a checkpoint that the log signed.
fn inclusion(entry: &Entry, log: &Log) -> Result<(), SignatureError> {
    let proof = &entry.proof;
    let (size, root) = checkpoint(&proof.checkpoint, log)?;
    if (size, root.as_slice()) != (proof.size, proof.root.as_slice()) {
        return Err(SignatureError::Log("proof and checkpoint are of different trees"));
    }
    if climb(&AwsLc.sha256(&[&[0], &entry.body]), proof).is_some_and(|found| found[..] == root) {
        Ok(())
    } else {
        Err(SignatureError::Log("the proof does not lead to the checkpoint"))
    }
}

/// The root that a leaf's audit path leads to (RFC 9162, 2.1.3.2, the same tree as in RFC 6962). None if the
/// path is too short or too long for that tree.
fn climb(leaf: &[u8; 32], proof: &Proof) -> Option<[u8; 32]> {
    if proof.index >= proof.size || proof.hashes.len() > MAX_HASHES {
        return None;
    }
    let (mut node, mut last) = (proof.index, proof.size - 1);
    let mut hash = *leaf;
    for other in &proof.hashes {
        if last == 0 || other.len() != 32 {
            return None;
        }
        if node & 1 == 1 || node == last {
            hash = AwsLc.sha256(&[&[1], other, &hash]);
            // Levels at which this node has no sibling.
            while node & 1 == 0 && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            hash = AwsLc.sha256(&[&[1], &hash, other]);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    (last == 0).then_some(hash)
}

/// Size and root of a checkpoint (C2SP tlog-checkpoint), if the log signed it.
///
/// It is text: origin, size, root hash in base64, further lines, an empty line; then signatures, each
/// `— NAME BASE64`, where the first four bytes are the beginning of the key's digest.
fn checkpoint(text: &str, log: &Log) -> Result<(u64, Vec<u8>), SignatureError> {
    const FORM: SignatureError = SignatureError::Log("the checkpoint is malformed");
    let at = text.find("\n\n").ok_or(FORM)?;
    let (note, signatures) = text.split_at_checked(at + 1).ok_or(FORM)?;
    let is_by_log = |line: &str| {
        let (name, value) = line.strip_prefix("\u{2014} ")?.rsplit_once(' ')?;
        let value = Base64::decode_vec(value).ok()?;
        let (hint, signature) = value.split_at_checked(4)?;
        let is_named = name == log.name && log.id.starts_with(hint);
        let is_good =
            || AwsLc.verify(Scheme::P256Der, &log.key, note.as_bytes(), signature).is_ok();
        (is_named && is_good()).then_some(())
    };
    if !signatures.lines().take(16).any(|line| is_by_log(line).is_some()) {
        return Err(SignatureError::Log("the checkpoint is not signed by the log"));
    }
    let mut lines = note.lines().skip(1);
    let size = lines.next().and_then(|line| line.parse().ok()).ok_or(FORM)?;
    let root = lines.next().and_then(|line| Base64::decode_vec(line).ok()).ok_or(FORM)?;
    Ok((size, root))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree hash by its definition (RFC 6962, 2.1).
    fn root(leaves: &[[u8; 32]]) -> [u8; 32] {
        match leaves {
            [] => AwsLc.sha256(&[]),
            [one] => *one,
            _ => {
                let split = 1 << (leaves.len() - 1).ilog2();
                let (left, right) = leaves.split_at(split);
                AwsLc.sha256(&[&[1], &root(left), &root(right)])
            }
        }
    }

    /// The audit path by its definition (RFC 6962, 2.1.1).
    fn path(index: usize, leaves: &[[u8; 32]]) -> Vec<Vec<u8>> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let split = 1 << (leaves.len() - 1).ilog2();
        let (left, right) = leaves.split_at(split);
        let (mut path, other) = if index < split {
            (path(index, left), root(right))
        } else {
            (path(index - split, right), root(left))
        };
        path.push(other.to_vec());
        path
    }

    fn proof(index: usize, leaves: &[[u8; 32]]) -> Proof {
        Proof {
            index: index as u64,
            size: leaves.len() as u64,
            root: root(leaves).to_vec(),
            hashes: path(index, leaves),
            checkpoint: String::new(),
        }
    }

    #[test]
    fn every_leaf_of_every_small_tree_is_proven_and_nothing_else() {
        let all: Vec<[u8; 32]> = (0..33_u8).map(|n| AwsLc.sha256(&[&[0, n]])).collect();
        for size in 1..=all.len() {
            let leaves = &all[..size];
            for (index, leaf) in leaves.iter().enumerate() {
                let good = proof(index, leaves);
                assert_eq!(climb(leaf, &good), Some(root(leaves)), "{index} of {size}");
                let is_other = |proof: Proof| climb(leaf, &proof) != Some(root(leaves));
                let foreign = [9; 32];
                assert_ne!(climb(&foreign, &good), Some(root(leaves)));
                let mut longer = proof(index, leaves);
                longer.hashes.push(vec![0; 32]);
                assert!(is_other(longer));
                assert!(is_other(Proof { index: size as u64, ..proof(index, leaves) }));
                if size > 1 {
                    let next = ((index + 1) % size) as u64;
                    assert!(is_other(Proof { index: next, ..proof(index, leaves) }));
                    let mut shorter = proof(index, leaves);
                    shorter.hashes.pop();
                    assert!(is_other(shorter));
                    let mut odd = proof(index, leaves);
                    odd.hashes[0].pop();
                    assert_eq!(climb(leaf, &odd), None);
                }
            }
        }
    }
}
