// SPDX-License-Identifier: Apache-2.0

//! What AMD's KDS writes into the certificate of a VEK: for which product, TCB and chip the key is made.

use evidence_claims::TcbVersion;
use evidence_pki::{Certificate, Cursor, Extension, tag};

use crate::SnpRefusal;

/// Object identifiers of the extensions (AMD 57230, certificate extensions; 1.3.6.1.4.1.3704.1).
pub mod oid {
    #![allow(missing_docs, reason = "the names are those of the specification")]
    use evidence_pki::ObjectIdentifier as Oid;

    pub const STRUCT_VERSION: Oid = Oid::new_unwrap("1.3.6.1.4.1.3704.1.1");
    pub const PRODUCT_NAME: Oid = Oid::new_unwrap("1.3.6.1.4.1.3704.1.2");
    pub const BL_SPL: Oid = Oid::new_unwrap("1.3.6.1.4.1.3704.1.3.1");
    pub const TEE_SPL: Oid = Oid::new_unwrap("1.3.6.1.4.1.3704.1.3.2");
    pub const SNP_SPL: Oid = Oid::new_unwrap("1.3.6.1.4.1.3704.1.3.3");
    pub const SPL_4: Oid = Oid::new_unwrap("1.3.6.1.4.1.3704.1.3.4");
    pub const SPL_5: Oid = Oid::new_unwrap("1.3.6.1.4.1.3704.1.3.5");
    pub const SPL_6: Oid = Oid::new_unwrap("1.3.6.1.4.1.3704.1.3.6");
    pub const SPL_7: Oid = Oid::new_unwrap("1.3.6.1.4.1.3704.1.3.7");
    pub const UCODE_SPL: Oid = Oid::new_unwrap("1.3.6.1.4.1.3704.1.3.8");
    pub const FMC_SPL: Oid = Oid::new_unwrap("1.3.6.1.4.1.3704.1.3.9");
    pub const HW_ID: Oid = Oid::new_unwrap("1.3.6.1.4.1.3704.1.4");
    pub const CSP_ID: Oid = Oid::new_unwrap("1.3.6.1.4.1.3704.1.5");
}

/// The extensions of a VEK's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VekExtensions {
    /// `structVersion`: 0 for Milan and Genoa, 1 for Turin.
    pub struct_version: u8,
    /// `productName`, for example `Milan-B0`.
    pub product_name: String,
    /// `blSPL`, `teeSPL`, `snpSPL`, `ucodeSPL` and, if it is there, `fmcSPL`.
    pub tcb: TcbVersion,
    /// `hwID`: the chip, 64 bytes, on Turin 8; as it is in the extension, without any DER around it.
    pub hw_id: Option<Vec<u8>>,
    /// `cspID`: the cloud provider of a VLEK.
    pub csp_id: Option<String>,
}

impl VekExtensions {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// [`SnpRefusal::VekExtension`] if one is missing or not as it should be, also if one of the parts of
    /// the TCB that no product uses (`spl4` to `spl7`) is not 0.
    pub fn read(vek: &Certificate<'_>) -> Result<Self, SnpRefusal> {
        let mut found = Found::default();
        for extension in vek.extensions() {
            found.take(extension)?;
        }
        let part = |value: Option<u8>, name| value.ok_or(SnpRefusal::VekExtension(name));
        Ok(Self {
            struct_version: part(found.struct_version, "structVersion")?,
            product_name: found.product_name.ok_or(SnpRefusal::VekExtension("productName"))?,
            tcb: TcbVersion {
                fmc: found.fmc,
                bootloader: part(found.bootloader, "blSPL")?,
                tee: part(found.tee, "teeSPL")?,
                snp: part(found.snp, "snpSPL")?,
                microcode: part(found.microcode, "ucodeSPL")?,
            },
            hw_id: found.hw_id,
            csp_id: found.csp_id,
        })
    }
}

/// Extensions as they come.
#[derive(Default)]
struct Found {
    struct_version: Option<u8>,
    product_name: Option<String>,
    fmc: Option<u8>,
    bootloader: Option<u8>,
    tee: Option<u8>,
    snp: Option<u8>,
    microcode: Option<u8>,
    hw_id: Option<Vec<u8>>,
    csp_id: Option<String>,
}

impl Found {
    /// Takes one; those of other kinds say nothing here.
    fn take(&mut self, extension: Extension<'_>) -> Result<(), SnpRefusal> {
        let value = extension.value;
        match extension.oid {
            oid::STRUCT_VERSION => self.struct_version = Some(number(value, "structVersion")?),
            oid::PRODUCT_NAME => self.product_name = Some(text(value, "productName")?),
            oid::BL_SPL => self.bootloader = Some(number(value, "blSPL")?),
            oid::TEE_SPL => self.tee = Some(number(value, "teeSPL")?),
            oid::SNP_SPL => self.snp = Some(number(value, "snpSPL")?),
            oid::UCODE_SPL => self.microcode = Some(number(value, "ucodeSPL")?),
            oid::FMC_SPL => self.fmc = Some(number(value, "fmcSPL")?),
            oid::SPL_4 => unused(value, "spl4")?,
            oid::SPL_5 => unused(value, "spl5")?,
            oid::SPL_6 => unused(value, "spl6")?,
            oid::SPL_7 => unused(value, "spl7")?,
            oid::HW_ID if matches!(value.len(), 8 | 64) => self.hw_id = Some(value.to_vec()),
            oid::HW_ID => return Err(SnpRefusal::VekExtension("hwID")),
            oid::CSP_ID => self.csp_id = Some(text(value, "cspID")?),
            _ => {}
        }
        Ok(())
    }
}

/// A DER `INTEGER` from 0 to 255; from 128 it has two octets.
fn number(value: &[u8], name: &'static str) -> Result<u8, SnpRefusal> {
    let wrong = SnpRefusal::VekExtension(name);
    let mut cursor = Cursor::new(value, name);
    let Ok(number) = cursor.unsigned() else { return Err(wrong) };
    match u8::try_from(number) {
        Ok(number) if cursor.is_done() => Ok(number),
        _ => Err(wrong),
    }
}

fn unused(value: &[u8], name: &'static str) -> Result<(), SnpRefusal> {
    if number(value, name)? == 0 { Ok(()) } else { Err(SnpRefusal::VekExtension(name)) }
}

/// A DER `IA5String` or `UTF8String` of 1 to 255 printable ASCII characters.
fn text(value: &[u8], name: &'static str) -> Result<String, SnpRefusal> {
    let wrong = SnpRefusal::VekExtension(name);
    let mut cursor = Cursor::new(value, name);
    let item = match cursor.next() {
        Ok(item) if cursor.is_done() => item,
        _ => return Err(wrong),
    };
    let is_text = matches!(item.tag, tag::IA5_STRING | tag::UTF8_STRING | tag::PRINTABLE_STRING)
        && (1..=255).contains(&item.value.len())
        && item.value.iter().all(|byte| (0x20..0x7f).contains(byte));
    match core::str::from_utf8(item.value) {
        Ok(text) if is_text => Ok(text.to_owned()),
        _ => Err(wrong),
    }
}
