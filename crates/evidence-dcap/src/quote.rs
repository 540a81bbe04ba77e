// SPDX-License-Identifier: Apache-2.0

//! Quotes of versions 3, 4 and 5, taken apart but not believed.
//!
//! A quote is a header, a body (what is quoted) and signature data, one after the other. Lengths inside
//! must fit exactly; after the quote, zeros may follow and nothing else, because clouds hand out quotes
//! in buffers of fixed size.

use crate::DcapRefusal;
use crate::report::{EnclaveReport, TdReport};

/// `attestation_key_type` of ECDSA over P-256.
pub const KEY_TYPE_ECDSA_P256: u16 = 2;
/// `qe_vendor_id` of Intel's quoting enclaves.
pub const INTEL_VENDOR: [u8; 16] = [
    0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
];

/// The kind of environment that a quote speaks of (`tee_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub enum Tee {
    /// An SGX enclave.
    #[serde(rename = "SGX")]
    Sgx,
    /// A TDX trust domain.
    #[serde(rename = "TDX")]
    Tdx,
}

impl Tee {
    /// The number in a quote's header.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Sgx => 0,
            Self::Tdx => 0x81,
        }
    }

    /// Intel's name for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sgx => "SGX",
            Self::Tdx => "TDX",
        }
    }
}

/// What is quoted.
#[derive(Debug, Clone, Copy)]
pub enum Body<'a> {
    /// An enclave's report.
    Sgx(EnclaveReport<'a>),
    /// A TD's report.
    Tdx(TdReport<'a>),
}

/// How the quote's key is certified (`certification data`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certification<'a> {
    /// Type 5: the PCK certificate chain in PEM.
    Chain(&'a [u8]),
    /// Type 3: the platform's name encrypted for Intel, and after it `CPUSVN`, `PCESVN` and `PCE-ID`.
    /// The chain has to come along.
    Encrypted {
        /// `PCE-ID`.
        pce_id: [u8; 2],
    },
}

/// A quote, read but not believed.
#[derive(Debug, Clone, Copy)]
pub struct Quote<'a> {
    /// All of it, without padding.
    pub raw: &'a [u8],
    /// `version`: 3, 4 or 5.
    pub version: u16,
    /// `attestation_key_type`.
    pub key_type: u16,
    /// `tee_type`.
    pub tee: Tee,
    /// Bytes 8 to 11 of the header: `QESVN` and `PCESVN` in version 3, reserved afterwards.
    pub header_svns: [u8; 4],
    /// `qe_vendor_id`.
    pub vendor: [u8; 16],
    /// `user_data`: which platform's key it is.
    pub user_data: [u8; 20],
    /// Type of the body, in quotes of version 5.
    pub body_type: Option<u16>,
    /// What is quoted.
    pub body: Body<'a>,
    /// Header and body, as they are signed.
    pub signed: &'a [u8],
    /// ECDSA signature over `signed`, `r ‖ s`.
    pub signature: &'a [u8; 64],
    /// The attestation key: `x ‖ y`.
    pub attestation_key: &'a [u8; 64],
    /// The quoting enclave's report.
    pub qe_report: EnclaveReport<'a>,
    /// ECDSA signature over `qe_report`, `r ‖ s`.
    pub qe_report_signature: &'a [u8; 64],
    /// The quoting enclave's authentication data.
    pub qe_auth_data: &'a [u8],
    /// How the key that signed `qe_report` is certified.
    pub certification: Certification<'a>,
    /// Where the signature data begin.
    pub(crate) signature_offset: usize,
}

/// Bytes that are read from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], DcapRefusal> {
        let (head, tail) = self.0.split_at_checked(length).ok_or(DcapRefusal::Quote(what))?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<&'a [u8; N], DcapRefusal> {
        let (head, tail) = self.0.split_first_chunk().ok_or(DcapRefusal::Quote(what))?;
        self.0 = tail;
        Ok(head)
    }

    fn u16(&mut self, what: &'static str) -> Result<u16, DcapRefusal> {
        Ok(u16::from_le_bytes(*self.array(what)?))
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, DcapRefusal> {
        Ok(u32::from_le_bytes(*self.array(what)?))
    }

    /// That many bytes, where their number is given before them.
    fn sized(&mut self, what: &'static str) -> Result<&'a [u8], DcapRefusal> {
        let length = usize::try_from(self.u32(what)?).map_err(|_| DcapRefusal::Quote(what))?;
        self.take(length, what)
    }

    fn finish(&self, what: &'static str) -> Result<(), DcapRefusal> {
        if self.0.is_empty() { Ok(()) } else { Err(DcapRefusal::Quote(what)) }
    }
}

impl<'a> Quote<'a> {
    /// No quote may be larger, padding included: 64 KiB.
    pub const MAX_SIZE: usize = 64 << 10;

    /// Takes a quote apart. `bytes` may end in zeros.
    ///
    /// # Errors
    ///
    /// [`DcapRefusal::Quote`], [`DcapRefusal::QuoteVersion`], [`DcapRefusal::TeeType`],
    /// [`DcapRefusal::BodyType`], [`DcapRefusal::ExtendedBody`], [`DcapRefusal::CertificationData`],
    /// [`DcapRefusal::TrailingBytes`]. What fields say is not looked at beyond that.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DcapRefusal> {
        if bytes.len() > Self::MAX_SIZE {
            return Err(DcapRefusal::Quote("it is larger than 64 KiB"));
        }
        let mut reader = Reader(bytes);
        let header = "the header is cut short";
        let version = reader.u16(header)?;
        if !(3..=5).contains(&version) {
            return Err(DcapRefusal::QuoteVersion(version));
        }
        let key_type = reader.u16(header)?;
        let tee = match reader.u32(header)? {
            0 => Tee::Sgx,
            0x81 if version > 3 => Tee::Tdx,
            found => return Err(DcapRefusal::TeeType { found, expected: 0 }),
        };
        let header_svns = *reader.array(header)?;
        let vendor = *reader.array(header)?;
        let user_data = *reader.array(header)?;

        let (body_type, body) = Self::body(&mut reader, version, tee)?;
        let signed_length = bytes.len().saturating_sub(reader.0.len());
        let signed = bytes.get(..signed_length).unwrap_or_default();

        let signature_data = reader.sized("the signature data are cut short")?;
        let padding = reader.0;
        let raw = bytes.get(..bytes.len().saturating_sub(padding.len())).unwrap_or_default();
        if padding.iter().any(|byte| *byte != 0) {
            return Err(DcapRefusal::TrailingBytes(padding.len()));
        }

        let mut reader = Reader(signature_data);
        let short = "the signature data end too early";
        let signature = reader.array(short)?;
        let attestation_key = reader.array(short)?;
        if version > 3 {
            // From version 4 on, what follows is itself certification data, of type 6.
            let outer = reader.u16(short)?;
            if outer != 6 {
                return Err(DcapRefusal::CertificationData(outer));
            }
            let inner = reader.sized(short)?;
            reader.finish("bytes follow the QE report certification data")?;
            reader = Reader(inner);
        }
        let qe_report = EnclaveReport::new(reader.array(short)?);
        let qe_report_signature = reader.array(short)?;
        let auth_length = usize::from(reader.u16(short)?);
        let qe_auth_data = reader.take(auth_length, short)?;
        let kind = reader.u16(short)?;
        let data = reader.sized(short)?;
        reader.finish("bytes follow the certification data")?;
        let certification = Self::certification(kind, data)?;

        Ok(Self {
            raw,
            version,
            key_type,
            tee,
            header_svns,
            vendor,
            user_data,
            body_type,
            body,
            signed,
            signature,
            attestation_key,
            qe_report,
            qe_report_signature,
            qe_auth_data,
            certification,
            signature_offset: signed_length,
        })
    }

    /// The body: its kind follows from the kind of environment, or is given (version 5).
    fn body(
        reader: &mut Reader<'a>,
        version: u16,
        tee: Tee,
    ) -> Result<(Option<u16>, Body<'a>), DcapRefusal> {
        let short = "the body is cut short";
        if version < 5 {
            let body = match tee {
                Tee::Sgx => Body::Sgx(EnclaveReport::new(reader.array(short)?)),
                Tee::Tdx => Body::Tdx(TdReport::first(reader.array(short)?)),
            };
            return Ok((None, body));
        }
        let kind = reader.u16(short)?;
        let body = reader.sized(short)?;
        let wrong = DcapRefusal::Quote("the body has not the length of its type");
        let body = match (kind, tee) {
            (1, Tee::Sgx) => Body::Sgx(EnclaveReport::new(body.try_into().map_err(|_| wrong)?)),
            (2, Tee::Tdx) => Body::Tdx(TdReport::first(body.try_into().map_err(|_| wrong)?)),
            (3, Tee::Tdx) => Body::Tdx(TdReport::second(body.try_into().map_err(|_| wrong)?)),
            (4, Tee::Tdx) => return Err(DcapRefusal::ExtendedBody),
            _ => return Err(DcapRefusal::BodyType(kind)),
        };
        Ok((Some(kind), body))
    }

    fn certification(kind: u16, data: &'a [u8]) -> Result<Certification<'a>, DcapRefusal> {
        match kind {
            5 => Ok(Certification::Chain(data)),
            // 384 bytes of ciphertext, CPUSVN (16), PCESVN (2), PCE-ID (2).
            3 => match data.split_last_chunk() {
                Some((rest, pce_id)) if rest.len() == 384 + 16 + 2 => {
                    Ok(Certification::Encrypted { pce_id: *pce_id })
                }
                _ => {
                    Err(DcapRefusal::Quote("the certification data have not the length of type 3"))
                }
            },
            other => Err(DcapRefusal::CertificationData(other)),
        }
    }
}
