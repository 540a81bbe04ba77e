// SPDX-License-Identifier: Apache-2.0

//! `Content-Digest`: digests of one content by several algorithms (RFC 9530 §2, RFC 8941).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64ct::{Base64, Encoding as _};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};

/// A digest algorithm. Those that are not listed are not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-224, 28 bytes.
    Sha224,
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-384, 48 bytes.
    Sha384,
    /// SHA-512, 64 bytes.
    Sha512,
}

impl Algorithm {
    /// All of them, in the order in which they are written.
    pub const ALL: [Self; 4] = [Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    /// Its name in `Content-Digest`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha224 => "sha-224",
            Self::Sha256 => "sha-256",
            Self::Sha384 => "sha-384",
            Self::Sha512 => "sha-512",
        }
    }

    /// How many bytes a digest has.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name().eq_ignore_ascii_case(name))
    }
}

/// Digests of one content. At least one; more do not make it weaker, since all have to agree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentDigest(BTreeMap<Algorithm, Vec<u8>>);

impl ContentDigest {
    /// By all four algorithms, as published clients send it.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        let mut hasher = Hasher::all();
        hasher.update(content);
        hasher.finish()
    }

    /// One digest, if it has the length that its algorithm makes.
    ///
    /// # Errors
    ///
    /// [`DigestError::Length`].
    pub fn single(algorithm: Algorithm, digest: &[u8]) -> Result<Self, DigestError> {
        if digest.len() != algorithm.size() {
            return Err(DigestError::Length(algorithm));
        }
        Ok(Self([(algorithm, digest.to_vec())].into()))
    }

    /// The digest by one algorithm.
    #[must_use]
    pub fn get(&self, algorithm: Algorithm) -> Option<&[u8]> {
        self.0.get(&algorithm).map(Vec::as_slice)
    }

    /// The algorithms and digests, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Algorithm, &[u8])> {
        self.0.iter().map(|(algorithm, digest)| (*algorithm, digest.as_slice()))
    }

    /// `sha256:` and 64 hexadecimal digits, which is how workloads are named: the SHA-256 digest.
    #[must_use]
    pub fn workload(&self) -> Option<String> {
        let digest = self.get(Algorithm::Sha256)?;
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(format!("sha256:{hex}"))
    }

    /// The other way round: the digest that a text like `sha256:…` names.
    ///
    /// # Errors
    ///
    /// [`DigestError`].
    pub fn from_workload(text: &str) -> Result<Self, DigestError> {
        let (name, hex) = text.split_once(':').ok_or(DigestError::Malformed)?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha384" => Algorithm::Sha384,
            "sha512" => Algorithm::Sha512,
            _ => return Err(DigestError::Algorithm(shortened(name))),
        };
        if hex.len() != 2 * algorithm.size() {
            return Err(DigestError::Length(algorithm));
        }
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let digest: Option<Vec<u8>> = hex
            .as_bytes()
            .chunks(2)
            .map(|pair| match pair {
                [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
                _ => None,
            })
            .collect();
        Self::single(algorithm, &digest.ok_or(DigestError::Malformed)?)
    }

    /// A hasher by these algorithms.
    #[must_use]
    pub fn hasher(&self) -> Hasher {
        Hasher::new(self.0.keys().copied())
    }

    /// Whether every digest here is one of `found`'s: for what was reckoned by [`Self::hasher`].
    ///
    /// # Errors
    ///
    /// [`Mismatch`].
    pub fn check(&self, found: &Self) -> Result<(), Mismatch> {
        for (algorithm, digest) in &self.0 {
            if found.0.get(algorithm) != Some(digest) {
                return Err(Mismatch(*algorithm));
            }
        }
        Ok(())
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (algorithm, digest)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}=:{}:", algorithm.name(), Base64::encode_string(digest))?;
        }
        Ok(())
    }
}

impl FromStr for ContentDigest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let mut digests = BTreeMap::new();
        for part in text.split(',') {
            let (name, value) = part.trim().split_once('=').ok_or(DigestError::Malformed)?;
            let value = value.strip_prefix(':').and_then(|value| value.strip_suffix(':'));
            insert(&mut digests, name, value.ok_or(DigestError::Malformed)?)?;
        }
        if digests.is_empty() { Err(DigestError::Malformed) } else { Ok(Self(digests)) }
    }
}

fn insert(
    digests: &mut BTreeMap<Algorithm, Vec<u8>>,
    name: &str,
    value: &str,
) -> Result<(), DigestError> {
    let algorithm =
        Algorithm::from_name(name).ok_or_else(|| DigestError::Algorithm(shortened(name)))?;
    // The longest is 64 bytes; what is longer need not be decoded.
    if value.len() > 96 {
        return Err(DigestError::Length(algorithm));
    }
    let digest = Base64::decode_vec(value).map_err(|_| DigestError::Malformed)?;
    if digest.len() != algorithm.size() {
        return Err(DigestError::Length(algorithm));
    }
    match digests.insert(algorithm, digest) {
        None => Ok(()),
        Some(_) => Err(DigestError::Twice(algorithm)),
    }
}

fn shortened(name: &str) -> String {
    name.chars().filter(|one| !one.is_control()).take(32).collect()
}

impl Serialize for ContentDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(
            self.iter()
                .map(|(algorithm, digest)| (algorithm.name(), Base64::encode_string(digest))),
        )
    }
}

impl<'de> Deserialize<'de> for ContentDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = BTreeMap::<String, String>::deserialize(deserializer)?;
        let mut digests = BTreeMap::new();
        for (name, value) in &map {
            insert(&mut digests, name, value).map_err(D::Error::custom)?;
        }
        if digests.is_empty() {
            return Err(D::Error::custom(DigestError::Malformed));
        }
        Ok(Self(digests))
    }
}

/// Reckons digests by several algorithms while content passes.
#[derive(Debug, Clone)]
pub struct Hasher {
    sha224: Option<Sha224>,
    sha256: Option<Sha256>,
    sha384: Option<Sha384>,
    sha512: Option<Sha512>,
}

impl Hasher {
    /// By these algorithms.
    pub fn new(algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        let mut new = Self { sha224: None, sha256: None, sha384: None, sha512: None };
        for algorithm in algorithms {
            match algorithm {
                Algorithm::Sha224 => new.sha224 = Some(Sha224::new()),
                Algorithm::Sha256 => new.sha256 = Some(Sha256::new()),
                Algorithm::Sha384 => new.sha384 = Some(Sha384::new()),
                Algorithm::Sha512 => new.sha512 = Some(Sha512::new()),
            }
        }
        new
    }

    /// By all algorithms.
    #[must_use]
    pub fn all() -> Self {
        Self::new(Algorithm::ALL)
    }

    /// Takes in more content.
    pub fn update(&mut self, content: &[u8]) {
        self.sha224.iter_mut().for_each(|one| one.update(content));
        self.sha256.iter_mut().for_each(|one| one.update(content));
        self.sha384.iter_mut().for_each(|one| one.update(content));
        self.sha512.iter_mut().for_each(|one| one.update(content));
    }

    /// The digests of all content.
    #[must_use]
    pub fn finish(self) -> ContentDigest {
        let digests = [
            self.sha224.map(|one| (Algorithm::Sha224, one.finalize().to_vec())),
            self.sha256.map(|one| (Algorithm::Sha256, one.finalize().to_vec())),
            self.sha384.map(|one| (Algorithm::Sha384, one.finalize().to_vec())),
            self.sha512.map(|one| (Algorithm::Sha512, one.finalize().to_vec())),
        ];
        ContentDigest(digests.into_iter().flatten().collect())
    }
}

/// Why a text is no `Content-Digest`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// It does not have the form `sha-256=:…:`, several separated by commas.
    #[error("a digest has the form `sha-256=:BASE64:`, several are separated by commas")]
    Malformed,
    /// An algorithm that is not accepted.
    #[error("`{0}` is not one of sha-224, sha-256, sha-384, sha-512")]
    Algorithm(String),
    /// The digest is shorter or longer than its algorithm makes it.
    #[error("a digest by {} has {} bytes", .0.name(), .0.size())]
    Length(Algorithm),
    /// The same algorithm twice.
    #[error("there are two digests by {}", .0.name())]
    Twice(Algorithm),
}

/// Content is not what its digest says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the content is not the one whose {} digest was given", .0.name())]
pub struct Mismatch(pub Algorithm);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_json_survive_the_trip() {
        let digest = ContentDigest::of(b"content");
        assert_eq!(digest.to_string().parse(), Ok(digest.clone()));
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<ContentDigest>(&json).unwrap(), digest);
    }

    #[test]
    fn a_known_digest_has_its_published_form() {
        // FIPS 180-4's example: SHA-256 of "abc".
        let digest = ContentDigest::of(b"abc");
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.workload().as_deref(), Some(text));
        let back = ContentDigest::from_workload(text).unwrap();
        assert_eq!(back.check(&digest), Ok(()));
        assert_eq!(back.to_string(), "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:");
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        for text in [
            "",
            "sha-256",
            "sha-256=abc",
            "sha-256=:abc",
            "sha-256=:YWJj:",
            "md5=:YWJj:",
            "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:,",
        ] {
            assert!(text.parse::<ContentDigest>().is_err(), "{text}");
        }
        for text in ["sha256:00", "sha224:00", "sha256", &format!("sha256:{}", "G".repeat(64))] {
            assert!(ContentDigest::from_workload(text).is_err(), "{text}");
        }
    }

    #[test]
    fn all_digests_have_to_agree() {
        let mut two = ContentDigest::of(b"a");
        two.0.insert(Algorithm::Sha512, vec![0; 64]);
        assert_eq!(two.check(&ContentDigest::of(b"a")), Err(Mismatch(Algorithm::Sha512)));
    }
}
