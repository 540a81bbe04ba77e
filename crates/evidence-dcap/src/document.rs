// SPDX-License-Identifier: Apache-2.0

//! TCB info and QE identity: the JSON texts that Intel signs (Intel PCS API v4).
//!
//! A signature covers the exact bytes of the inner object, so these are kept as they came and never
//! written anew; and they are read into values only after their signature was found good.

use core::fmt;
use core::marker::PhantomData;

use evidence_claims::{TcbStatus, Time};
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::refusal::Document;
use crate::{DcapRefusal, Tee};

/// A text and its signature.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// The exact bytes that are signed.
    pub text: &'a [u8],
    /// ECDSA P-256 with SHA-256, `r ‖ s`.
    pub signature: [u8; 64],
}

#[derive(serde::Deserialize)]
struct TcbInfoBody<'a> {
    #[serde(borrow, rename = "tcbInfo")]
    text: &'a RawValue,
    signature: Hex<64>,
}

#[derive(serde::Deserialize)]
struct QeIdentityBody<'a> {
    #[serde(borrow, rename = "enclaveIdentity")]
    text: &'a RawValue,
    signature: Hex<64>,
}

impl<'a> Signed<'a> {
    /// Takes apart the body of a reply of Intel's PCS: `{"tcbInfo":{…},"signature":"…"}` or
    /// `{"enclaveIdentity":{…},"signature":"…"}`.
    ///
    /// # Errors
    ///
    /// [`DcapRefusal::Malformed`].
    pub fn read(document: Document, body: &'a [u8]) -> Result<Self, DcapRefusal> {
        let (text, signature) = match document {
            Document::TcbInfo => {
                let body: TcbInfoBody<'_> = json(document, body)?;
                (body.text, body.signature)
            }
            Document::QeIdentity => {
                let body: QeIdentityBody<'_> = json(document, body)?;
                (body.text, body.signature)
            }
        };
        Ok(Self { text: text.get().as_bytes(), signature: signature.0 })
    }
}

/// TCB info of a kind of platform, version 3.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TcbInfo {
    /// `id`: which kind of environment it is about.
    pub id: Tee,
    /// `version`: 3.
    pub version: u32,
    /// `issueDate`.
    #[serde(deserialize_with = "time")]
    pub issue_date: Time,
    /// `nextUpdate`.
    #[serde(deserialize_with = "time")]
    pub next_update: Time,
    /// `fmspc`: which kind of platform it is about.
    #[serde(deserialize_with = "hex")]
    pub fmspc: [u8; 6],
    /// `pceId`.
    #[serde(deserialize_with = "hex")]
    pub pce_id: [u8; 2],
    /// `tcbType`: 0, each component has to be at least that of a level.
    pub tcb_type: u32,
    /// `tcbEvaluationDataNumber`: grows with each reassessment by Intel.
    #[serde(rename = "tcbEvaluationDataNumber")]
    pub evaluation_number: u32,
    /// `tdxModule`: the TDX module of the first generation.
    #[serde(default)]
    pub tdx_module: Option<TdxModule>,
    /// `tdxModuleIdentities`: TDX modules by generation.
    #[serde(default)]
    pub tdx_module_identities: Vec<TdxModuleIdentity>,
    /// `tcbLevels`, in Intel's order: best first.
    pub tcb_levels: Vec<TcbLevel>,
}

/// A TDX module, as its report must name it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TdxModule {
    /// `mrsigner`.
    #[serde(rename = "mrsigner", deserialize_with = "hex")]
    pub signer: [u8; 48],
    /// `attributes`.
    #[serde(deserialize_with = "hex")]
    pub attributes: [u8; 8],
    /// `attributesMask`.
    #[serde(deserialize_with = "hex")]
    pub attributes_mask: [u8; 8],
}

/// A generation of TDX modules with its levels.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TdxModuleIdentity {
    /// `id`: `TDX_01` for generation 1.
    pub id: String,
    /// `mrsigner`.
    #[serde(rename = "mrsigner", deserialize_with = "hex")]
    pub signer: [u8; 48],
    /// `attributes`.
    #[serde(deserialize_with = "hex")]
    pub attributes: [u8; 8],
    /// `attributesMask`.
    #[serde(deserialize_with = "hex")]
    pub attributes_mask: [u8; 8],
    /// `tcbLevels`, best first.
    pub tcb_levels: Vec<SvnLevel>,
}

/// A TCB level of a platform.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TcbLevel {
    /// `tcb`: what a platform of this level has at least.
    pub tcb: Tcb,
    /// `tcbDate`.
    #[serde(deserialize_with = "time")]
    pub tcb_date: Time,
    /// `tcbStatus`.
    #[serde(rename = "tcbStatus", deserialize_with = "platform_status")]
    pub status: TcbStatus,
    /// `advisoryIDs`.
    #[serde(default, rename = "advisoryIDs")]
    pub advisories: Vec<String>,
}

/// The components of a TCB level.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct Tcb {
    /// SVNs that the PCK certificate is held against.
    #[serde(rename = "sgxtcbcomponents", deserialize_with = "components")]
    pub sgx: [u8; 16],
    /// SVNs that `TEE_TCB_SVN` is held against; TDX alone.
    #[serde(default, rename = "tdxtcbcomponents", deserialize_with = "some_components")]
    pub tdx: Option<[u8; 16]>,
    /// `pcesvn`.
    #[serde(rename = "pcesvn")]
    pub pce_svn: u16,
}

/// A level of something that has one SVN only: quoting enclaves, TDX modules.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SvnLevel {
    /// `tcb`.
    pub tcb: Svn,
    /// `tcbDate`.
    #[serde(deserialize_with = "time")]
    pub tcb_date: Time,
    /// `tcbStatus`: up to date, out of date or revoked.
    #[serde(rename = "tcbStatus", deserialize_with = "part_status")]
    pub status: TcbStatus,
    /// `advisoryIDs`.
    #[serde(default, rename = "advisoryIDs")]
    pub advisories: Vec<String>,
}

/// One SVN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub struct Svn {
    /// `isvsvn`.
    #[serde(rename = "isvsvn")]
    pub svn: u16,
}

/// The identity of a quoting enclave, version 2.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QeIdentity {
    /// `id`: `QE` for SGX, `TD_QE` for TDX.
    pub id: String,
    /// `version`: 2.
    pub version: u32,
    /// `issueDate`.
    #[serde(deserialize_with = "time")]
    pub issue_date: Time,
    /// `nextUpdate`.
    #[serde(deserialize_with = "time")]
    pub next_update: Time,
    /// `tcbEvaluationDataNumber`.
    #[serde(rename = "tcbEvaluationDataNumber")]
    pub evaluation_number: u32,
    /// `miscselect`, in the order of its bytes in a report.
    #[serde(rename = "miscselect", deserialize_with = "hex")]
    pub misc_select: [u8; 4],
    /// `miscselectMask`.
    #[serde(rename = "miscselectMask", deserialize_with = "hex")]
    pub misc_select_mask: [u8; 4],
    /// `attributes`.
    #[serde(deserialize_with = "hex")]
    pub attributes: [u8; 16],
    /// `attributesMask`.
    #[serde(deserialize_with = "hex")]
    pub attributes_mask: [u8; 16],
    /// `mrsigner`.
    #[serde(rename = "mrsigner", deserialize_with = "hex")]
    pub signer: [u8; 32],
    /// `isvprodid`.
    #[serde(rename = "isvprodid")]
    pub product: u16,
    /// `tcbLevels`, best first.
    pub tcb_levels: Vec<SvnLevel>,
}

/// What is looked at when a document cannot be read otherwise, to say why.
#[derive(serde::Deserialize)]
struct Head {
    version: u32,
    id: Option<String>,
}

impl TcbInfo {
    /// Reads TCB info.
    ///
    /// # Errors
    ///
    /// [`DcapRefusal::Version`] if the version is not 3, [`DcapRefusal::Id`] if it is about neither SGX
    /// nor TDX, [`DcapRefusal::Malformed`].
    pub fn parse(text: &[u8]) -> Result<Self, DcapRefusal> {
        let document = Document::TcbInfo;
        let info: Self =
            json(document, text).map_err(|refusal| match serde_json::from_slice(text) {
                Ok(Head { version, .. }) if version != 3 => DcapRefusal::Version(document, version),
                Ok(Head { id: Some(id), .. }) if id != "SGX" && id != "TDX" => {
                    DcapRefusal::Id(document, short(id))
                }
                _ => refusal,
            })?;
        if info.version != 3 {
            return Err(DcapRefusal::Version(document, info.version));
        }
        let wrong = |what: &str| Err(DcapRefusal::Malformed(document, what.to_owned()));
        if info.tcb_type != 0 {
            return wrong("its tcbType is not 0");
        }
        if info.id == Tee::Tdx {
            if info.tdx_module.is_none() {
                return wrong("it is for TDX, but has no tdxModule");
            }
            if info.tcb_levels.iter().any(|level| level.tcb.tdx.is_none()) {
                return wrong("it is for TDX, but a level has no tdxtcbcomponents");
            }
        }
        Ok(info)
    }
}

impl TcbInfo {
    /// The level of a platform for SGX: the first that asks for nothing which it lacks. `None` if Intel says
    /// nothing of it.
    #[must_use]
    pub fn level_of(&self, pck: &crate::PckExtensions) -> Option<&TcbLevel> {
        crate::level::of_platform(self, pck, None).ok()
    }
}

impl QeIdentity {
    /// Reads a QE identity.
    ///
    /// # Errors
    ///
    /// [`DcapRefusal::Version`] if the version is not 2, [`DcapRefusal::Malformed`].
    pub fn parse(text: &[u8]) -> Result<Self, DcapRefusal> {
        let document = Document::QeIdentity;
        let identity: Self =
            json(document, text).map_err(|refusal| match serde_json::from_slice(text) {
                Ok(Head { version, .. }) if version != 2 => DcapRefusal::Version(document, version),
                _ => refusal,
            })?;
        if identity.version != 2 {
            return Err(DcapRefusal::Version(document, identity.version));
        }
        Ok(identity)
    }
}

fn json<'a, T: Deserialize<'a>>(document: Document, text: &'a [u8]) -> Result<T, DcapRefusal> {
    if !is_object(text) {
        return Err(DcapRefusal::Malformed(document, "it is no JSON object".to_owned()));
    }
    serde_json::from_slice(text)
        .map_err(|error| DcapRefusal::Malformed(document, short(error.to_string())))
}

/// Whether a JSON text can be an object. The values here could be read from arrays as well, but are only
/// ever written as objects.
pub(crate) fn is_object(text: &[u8]) -> bool {
    text.trim_ascii_start().first() == Some(&b'{')
}

/// A text that may contain what a peer sent, cut to a size that suits a message.
pub(crate) fn short(mut text: String) -> String {
    const MAX: usize = 200;
    if text.len() > MAX {
        let end = (0..=MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// Hexadecimal digits of exactly `N` bytes.
pub(crate) fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut out = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    let (pairs, _) = text.as_bytes().as_chunks();
    for (byte, [high, low]) in out.iter_mut().zip(pairs) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(out)
}

/// The value of a hexadecimal digit.
pub(crate) fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

struct Hex<const N: usize>([u8; N]);

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        hex(deserializer).map(Self)
    }
}

/// A visitor of strings that reads them with a function.
struct Text<T, F>(&'static str, F, PhantomData<T>);

impl<T, F: Fn(&str) -> Option<T>> Visitor<'_> for Text<T, F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.1)(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

fn hex<'de, D: Deserializer<'de>, const N: usize>(deserializer: D) -> Result<[u8; N], D::Error> {
    deserializer.deserialize_str(Text("hexadecimal digits", from_hex, PhantomData))
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
    let read = |text: &str| text.parse().ok();
    deserializer.deserialize_str(Text("a time like 2026-03-05T10:50:03Z", read, PhantomData))
}

fn platform_status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TcbStatus, D::Error> {
    // The last two come about by comparison, and are in no TCB info.
    let read = |text: &str| {
        TcbStatus::from_name(text).filter(|status| {
            !matches!(
                status,
                TcbStatus::TDRelaunchAdvised | TcbStatus::TDRelaunchAdvisedConfigurationNeeded
            )
        })
    };
    deserializer.deserialize_str(Text("the status of a platform", read, PhantomData))
}

fn part_status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TcbStatus, D::Error> {
    let read = |text: &str| {
        TcbStatus::from_name(text).filter(|status| {
            matches!(status, TcbStatus::UpToDate | TcbStatus::OutOfDate | TcbStatus::Revoked)
        })
    };
    deserializer.deserialize_str(Text("UpToDate, OutOfDate or Revoked", read, PhantomData))
}

/// Sixteen objects with an `svn` each; what else they say is for people.
struct Components;

impl<'de> Visitor<'de> for Components {
    type Value = [u8; 16];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("16 components")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<[u8; 16], A::Error> {
        #[derive(serde::Deserialize)]
        struct Component {
            svn: u8,
        }
        let mut out = [0; 16];
        for (at, svn) in out.iter_mut().enumerate() {
            let component: Option<Component> = list.next_element()?;
            *svn = component.ok_or_else(|| A::Error::invalid_length(at, &self))?.svn;
        }
        match list.next_element::<serde::de::IgnoredAny>()? {
            None => Ok(out),
            Some(_) => Err(A::Error::invalid_length(17, &self)),
        }
    }
}

fn components<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 16], D::Error> {
    deserializer.deserialize_seq(Components)
}

fn some_components<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<[u8; 16]>, D::Error> {
    components(deserializer).map(Some)
}
