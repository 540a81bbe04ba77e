// SPDX-License-Identifier: Apache-2.0

//! What a platform is asked for by: the values that Intel's `PCKIDRetrievalTool` writes into a file.
//!
//! Only an enclave of Intel's can find them out, so this program does not: it reads the file.

use evidence_pki::unhex;

/// Why a file does not name a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformIdError {
    /// Not one line of five or six fields.
    #[error("this is not what PCKIDRetrievalTool writes: one line with five or six fields")]
    Fields,
    /// A field of another length, or not in hexadecimal digits.
    #[error("the field {0} does not have {1} bytes in hexadecimal digits")]
    Field(&'static str, usize),
}

/// What names a platform to Intel's service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformId {
    /// The platform's provisioning id, encrypted for Intel: 384 bytes. A caching service can do without.
    pub encrypted_ppid: Vec<u8>,
    /// Which provisioning certification enclave, as it is in URLs.
    pub pce_id: [u8; 2],
    /// The processor's security version.
    pub cpu_svn: [u8; 16],
    /// The provisioning certification enclave's security version.
    pub pce_svn: u16,
    /// The quoting enclave's id, by which a caching service knows a platform.
    pub qe_id: [u8; 16],
    /// What registers a platform of several packages; empty where there is nothing to register.
    pub manifest: Vec<u8>,
}

impl PlatformId {
    /// Reads `pckid_retrieval.csv`: the values in this order, each in hexadecimal digits.
    ///
    /// # Errors
    ///
    /// [`PlatformIdError`].
    pub fn parse(text: &str) -> Result<Self, PlatformIdError> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return Err(PlatformIdError::Fields);
        };
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let (ppid, pce_id, cpu_svn, pce_svn, qe_id, manifest) = match fields[..] {
            [a, b, c, d, e] => (a, b, c, d, e, ""),
            [a, b, c, d, e, f] => (a, b, c, d, e, f),
            _ => return Err(PlatformIdError::Fields),
        };
        let encrypted_ppid = unhex(ppid)
            .filter(|bytes| matches!(bytes.len(), 0 | 384))
            .ok_or(PlatformIdError::Field("EncryptedPPID", 384))?;
        let manifest = unhex(manifest)
            .filter(|bytes| bytes.len() <= 64 << 10)
            .ok_or(PlatformIdError::Field("PLATFORM_MANIFEST", 65_536))?;
        Ok(Self {
            encrypted_ppid,
            pce_id: field("PCE_ID", pce_id)?,
            cpu_svn: field("CPUSVN", cpu_svn)?,
            pce_svn: u16::from_le_bytes(field("PCE ISVSVN", pce_svn)?),
            qe_id: field("QE_ID", qe_id)?,
            manifest,
        })
    }
}

fn field<const N: usize>(name: &'static str, text: &str) -> Result<[u8; N], PlatformIdError> {
    let bytes = unhex(text).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or(PlatformIdError::Field(name, N))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_tool_s_file_is_read() {
        let text =
            format!("{},0000,{},0B00,{}\r\n", "Ab".repeat(384), "05".repeat(16), "cd".repeat(16));
        let id = PlatformId::parse(&text).unwrap();
        assert_eq!((id.pce_svn, id.pce_id, id.qe_id), (11, [0, 0], [0xcd; 16]));
        assert_eq!((id.encrypted_ppid, id.manifest), (vec![0xab; 384], vec![]));
        let with = format!("{},{}", text.trim(), "11".repeat(9));
        assert_eq!(PlatformId::parse(&with).unwrap().manifest, [0x11; 9]);
        assert_eq!(PlatformId::parse(""), Err(PlatformIdError::Fields));
        assert_eq!(PlatformId::parse("a,b"), Err(PlatformIdError::Fields));
        assert_eq!(PlatformId::parse(&text.repeat(2)), Err(PlatformIdError::Fields));
        let short = text.replace("0B00", "0B");
        assert_eq!(PlatformId::parse(&short), Err(PlatformIdError::Field("PCE ISVSVN", 2)));
        let odd = text.replace("0B00", "0Bx0");
        assert_eq!(PlatformId::parse(&odd), Err(PlatformIdError::Field("PCE ISVSVN", 2)));
    }

    proptest! {
        #[test]
        fn anything_is_survived(text in "[0-9a-f,\\PC\n]{0,200}") {
            let _ = PlatformId::parse(&text);
        }
    }
}
