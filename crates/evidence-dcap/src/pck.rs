// SPDX-License-Identifier: Apache-2.0

//! What a PCK certificate says of its platform (Intel SGX PCK Certificate and CRL
//! Profile Specification, 1.3.5).

use evidence_pki::{Certificate, Cursor, ObjectIdentifier, PkiError, tag};

use crate::DcapRefusal;

/// The extension itself.
const EXTENSION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1");
/// Its contents octets: all object identifiers inside begin with them.
const PREFIX: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01];

/// What a PCK certificate says of its platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PckExtensions {
    /// The 16 component SVNs that the key was derived for.
    pub svns: [u8; 16],
    /// `PCESVN` that the key was derived for.
    pub pce_svn: u16,
    /// Identity of the provisioning certification enclave.
    pub pce_id: [u8; 2],
    /// Family, model, stepping, platform type and custom SKU.
    pub fmspc: [u8; 6],
    /// Whether the platform may grow by further packages.
    pub dynamic_platform: Option<bool>,
    /// Whether platform keys are cached by Intel.
    pub cached_keys: Option<bool>,
    /// Whether simultaneous multithreading is on.
    pub smt_enabled: Option<bool>,
}

/// What has been found so far; each part once.
#[derive(Default)]
struct Found {
    svns: [Option<u8>; 16],
    pce_svn: Option<u16>,
    pce_id: Option<[u8; 2]>,
    fmspc: Option<[u8; 6]>,
    dynamic_platform: Option<bool>,
    cached_keys: Option<bool>,
    smt_enabled: Option<bool>,
}

fn malformed(_: PkiError) -> DcapRefusal {
    DcapRefusal::PckExtension("it is no DER of the expected form")
}

/// Keeps a value, unless there is one already.
fn once<T>(place: &mut Option<T>, value: Option<T>) -> Result<(), DcapRefusal> {
    match (place.is_some(), value) {
        (false, Some(value)) => {
            *place = Some(value);
            Ok(())
        }
        (true, _) => Err(DcapRefusal::PckExtension("a part occurs twice")),
        (false, None) => Err(DcapRefusal::PckExtension("a value is out of range")),
    }
}

impl PckExtensions {
    /// Reads them from a certificate. Parts that play no role in verification are skipped.
    ///
    /// # Errors
    ///
    /// [`DcapRefusal::PckExtension`].
    pub fn read(certificate: &Certificate<'_>) -> Result<Self, DcapRefusal> {
        let extension = certificate
            .extension(EXTENSION)
            .ok_or(DcapRefusal::PckExtension("the certificate has none"))?;
        Self::parse(extension.value)
    }

    /// Reads the value of the extension.
    ///
    /// # Errors
    ///
    /// [`DcapRefusal::PckExtension`].
    pub fn parse(value: &[u8]) -> Result<Self, DcapRefusal> {
        let mut found = Found::default();
        let list = Cursor::whole(value, tag::SEQUENCE, "SGX extension").map_err(malformed)?;
        found.list(list, 0)?;

        let missing = DcapRefusal::PckExtension("a part is missing");
        let mut svns = [0; 16];
        for (svn, found) in svns.iter_mut().zip(found.svns) {
            *svn = found.ok_or(missing.clone())?;
        }
        Ok(Self {
            svns,
            pce_svn: found.pce_svn.ok_or(missing.clone())?,
            pce_id: found.pce_id.ok_or(missing.clone())?,
            fmspc: found.fmspc.ok_or(missing)?,
            dynamic_platform: found.dynamic_platform,
            cached_keys: found.cached_keys,
            smt_enabled: found.smt_enabled,
        })
    }
}

impl Found {
    /// A list of pairs of name and value. The values of two names are lists of the same form; `depth`
    /// says that they are inside the outer one.
    fn list(&mut self, mut list: Cursor<'_>, depth: u8) -> Result<(), DcapRefusal> {
        while !list.is_done() {
            let mut pair = list.enter(tag::SEQUENCE).map_err(malformed)?;
            let name = pair.expect(tag::OID).map_err(malformed)?.value;
            let name = name
                .strip_prefix(PREFIX)
                .ok_or(DcapRefusal::PckExtension("a part has a foreign name"))?;
            match name {
                [2 | 7] if depth == 0 => {
                    self.list(pair.enter(tag::SEQUENCE).map_err(malformed)?, 1)?;
                }
                _ => self.part(name, &mut pair)?,
            }
            pair.finish().map_err(malformed)?;
        }
        Ok(())
    }

    fn part(&mut self, name: &[u8], pair: &mut Cursor<'_>) -> Result<(), DcapRefusal> {
        match name {
            [2, index @ 1..=16] => {
                let value = u8::try_from(pair.unsigned().map_err(malformed)?).ok();
                if let Some(place) = self.svns.get_mut(usize::from(index - 1)) {
                    once(place, value)?;
                }
                Ok(())
            }
            [2, 17] => {
                let value = u16::try_from(pair.unsigned().map_err(malformed)?).ok();
                once(&mut self.pce_svn, value)
            }
            [3] => {
                let value = pair.expect(tag::OCTET_STRING).map_err(malformed)?.value;
                once(&mut self.pce_id, value.try_into().ok())
            }
            [4] => {
                let value = pair.expect(tag::OCTET_STRING).map_err(malformed)?.value;
                once(&mut self.fmspc, value.try_into().ok())
            }
            [7, 1] => once(&mut self.dynamic_platform, Some(pair.boolean().map_err(malformed)?)),
            [7, 2] => once(&mut self.cached_keys, Some(pair.boolean().map_err(malformed)?)),
            [7, 3] => once(&mut self.smt_enabled, Some(pair.boolean().map_err(malformed)?)),
            // PPID, CPUSVN, SGX type, platform instance, and what may come.
            _ => pair.next().map(drop).map_err(malformed),
        }
    }
}
