// SPDX-License-Identifier: Apache-2.0

//! What the firmware leaves for Intel when a platform of several packages has to be registered: the EFI
//! variable `SgxRegistrationServerRequest` ("Intel SGX Multi-Package Registration Agent", UEFI variables).
//!
//! Linux shows it as a file: four bytes of attributes, then a version and a size, then what is meant for
//! Intel, which begins with a GUID that says what it is. Platforms of one package have no such variable.
//!
//! **Never read on hardware.** The format is pure logic, and tested.

/// Where Linux shows the variable.
const PATH: &str = "/sys/firmware/efi/efivars/\
                    SgxRegistrationServerRequest-304e0796-d515-4698-ac6e-e76cb1a71c28";
/// No request has a reason to be larger.
const MAX_SIZE: usize = 64 << 10;
/// A platform with all its packages, to be registered.
const PLATFORM: [u8; 16] = 0x178e874b_49e4_4aa5_99bb_3057170925b4_u128.to_be_bytes();
/// A package that comes to a registered platform.
const ADD_PACKAGE: [u8; 16] = 0x696519ca_73c1_4785_a0f6_4d289d37e995_u128.to_be_bytes();

/// Why there is nothing to register with.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// No such variable.
    #[error(
        "the firmware asks for no registration: the platform has one package, or is registered already"
    )]
    None,
    /// The variable cannot be read.
    #[error("cannot read {path}")]
    Io {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Not what the firmware writes.
    #[error("this is no request for registration: {0}")]
    Malformed(&'static str),
    /// A request for something else.
    #[error(
        "the firmware asks for a package to be added, which only Intel's registration agent can do"
    )]
    AddPackage,
}

/// What Intel is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest(Vec<u8>);

impl Manifest {
    /// Takes the EFI variable of this machine.
    ///
    /// # Errors
    ///
    /// [`ManifestError`].
    pub fn of_firmware() -> Result<Self, ManifestError> {
        match std::fs::read(PATH) {
            Ok(bytes) => Self::from_variable(&bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(ManifestError::None),
            Err(source) => Err(ManifestError::Io { path: PATH.into(), source }),
        }
    }

    /// Takes the variable's file apart: attributes, version, size (16 bits in versions 1 and 2, 32 bits in
    /// version 3, little-endian), and as many bytes as that.
    ///
    /// # Errors
    ///
    /// [`ManifestError`].
    pub fn from_variable(bytes: &[u8]) -> Result<Self, ManifestError> {
        let short = ManifestError::Malformed("it is too short");
        let Some([_, _, _, _, v0, v1, rest @ ..]) = bytes.get(..) else { return Err(short) };
        let (size, body) = match (u16::from_le_bytes([*v0, *v1]), rest) {
            (1 | 2, [a, b, body @ ..]) => (u32::from(u16::from_le_bytes([*a, *b])), body),
            (3, [a, b, c, d, body @ ..]) => (u32::from_le_bytes([*a, *b, *c, *d]), body),
            (1..=3, _) => return Err(short),
            _ => return Err(ManifestError::Malformed("its version is not 1, 2 or 3")),
        };
        if usize::try_from(size) != Ok(body.len()) {
            return Err(ManifestError::Malformed("it has not the size that it says"));
        }
        Self::new(body)
    }

    /// Takes what is meant for Intel, as `PCKIDRetrievalTool` writes it as well.
    ///
    /// # Errors
    ///
    /// [`ManifestError`].
    pub fn new(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_SIZE {
            return Err(ManifestError::Malformed("it has more than 64 KiB"));
        }
        if bytes.starts_with(&ADD_PACKAGE) {
            return Err(ManifestError::AddPackage);
        }
        if !bytes.starts_with(&PLATFORM) {
            return Err(ManifestError::Malformed(
                "it does not begin as a platform's manifest does",
            ));
        }
        Ok(Self(bytes.to_vec()))
    }

    /// The bytes that are sent.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn variable(version: u16, size: u32, body: &[u8]) -> Vec<u8> {
        let mut out = vec![6, 0, 0, 0];
        out.extend(version.to_le_bytes());
        out.extend(&size.to_le_bytes()[..if version == 3 { 4 } else { 2 }]);
        out.extend(body);
        out
    }

    #[test]
    fn requests_are_told_apart() {
        let mut body = PLATFORM.to_vec();
        body.extend([9; 100]);
        for version in 1..=3 {
            let manifest = Manifest::from_variable(&variable(version, 116, &body)).unwrap();
            assert_eq!(manifest.as_bytes(), body);
        }
        for (version, size, body) in
            [(4, 116, &body[..]), (1, 115, &body), (3, 117, &body), (1, 3, b"abc"), (2, 0, b"")]
        {
            let refused = Manifest::from_variable(&variable(version, size, body));
            assert!(matches!(refused, Err(ManifestError::Malformed(_))), "{refused:?}");
        }
        let refused = Manifest::from_variable(&variable(1, 16, &ADD_PACKAGE));
        assert!(matches!(refused, Err(ManifestError::AddPackage)));
    }

    proptest! {
        #[test]
        fn anything_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = Manifest::from_variable(&bytes);
        }
    }
}
