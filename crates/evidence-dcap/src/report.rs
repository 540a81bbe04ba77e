// SPDX-License-Identifier: Apache-2.0

//! What is quoted: an enclave's report or a TD's. Fixed lengths, little-endian numbers.

/// Reads a field at a place that the type of the whole makes sure of.
fn field<const N: usize, const AT: usize, const SIZE: usize>(whole: &[u8; SIZE]) -> &[u8; N] {
    const { assert!(AT + N <= SIZE, "the field is inside") }
    // The assertion makes this always find the field; the other arm is for the compiler.
    match whole.get(AT..).and_then(|rest| rest.first_chunk()) {
        Some(field) => field,
        None => const { &[0; N] },
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// An enclave's report (Intel SDM, volume 3D, `REPORT`), 384 bytes: of the enclave that is quoted, and of
/// the quoting enclave itself.
#[derive(Debug, Clone, Copy)]
pub struct EnclaveReport<'a> {
    /// All of it.
    pub raw: &'a [u8; 384],
}

impl<'a> EnclaveReport<'a> {
    /// Any 384 bytes.
    #[must_use]
    pub fn new(raw: &'a [u8; 384]) -> Self {
        Self { raw }
    }

    /// `CPUSVN`.
    #[must_use]
    pub fn cpu_svn(&self) -> &'a [u8; 16] {
        field::<16, 0, 384>(self.raw)
    }

    /// `MISCSELECT`.
    #[must_use]
    pub fn misc_select(&self) -> u32 {
        u32::from_le_bytes(*field::<4, 16, 384>(self.raw))
    }

    /// `ISVEXTPRODID`.
    #[must_use]
    pub fn ext_product(&self) -> &'a [u8; 16] {
        field::<16, 32, 384>(self.raw)
    }

    /// `ATTRIBUTES`: `FLAGS` and `XFRM`, 8 bytes each.
    #[must_use]
    pub fn attributes(&self) -> &'a [u8; 16] {
        field::<16, 48, 384>(self.raw)
    }

    /// `ATTRIBUTES.FLAGS`.
    #[must_use]
    pub fn flags(&self) -> u64 {
        u64::from_le_bytes(*field::<8, 48, 384>(self.raw))
    }

    /// `ATTRIBUTES.XFRM`.
    #[must_use]
    pub fn xfrm(&self) -> u64 {
        u64::from_le_bytes(*field::<8, 56, 384>(self.raw))
    }

    /// Whether the enclave runs in debug mode (`FLAGS`, bit 1).
    #[must_use]
    pub fn is_debug(&self) -> bool {
        self.flags() & 2 != 0
    }

    /// `MRENCLAVE`.
    #[must_use]
    pub fn measurement(&self) -> &'a [u8; 32] {
        field::<32, 64, 384>(self.raw)
    }

    /// `MRSIGNER`.
    #[must_use]
    pub fn signer(&self) -> &'a [u8; 32] {
        field::<32, 128, 384>(self.raw)
    }

    /// `CONFIGID`.
    #[must_use]
    pub fn config_id(&self) -> &'a [u8; 64] {
        field::<64, 192, 384>(self.raw)
    }

    /// `ISVPRODID`.
    #[must_use]
    pub fn product(&self) -> u16 {
        u16::from_le_bytes(*field::<2, 256, 384>(self.raw))
    }

    /// `ISVSVN`.
    #[must_use]
    pub fn svn(&self) -> u16 {
        u16::from_le_bytes(*field::<2, 258, 384>(self.raw))
    }

    /// `CONFIGSVN`.
    #[must_use]
    pub fn config_svn(&self) -> u16 {
        u16::from_le_bytes(*field::<2, 260, 384>(self.raw))
    }

    /// `ISVFAMILYID`.
    #[must_use]
    pub fn family(&self) -> &'a [u8; 16] {
        field::<16, 304, 384>(self.raw)
    }

    /// `REPORTDATA`.
    #[must_use]
    pub fn report_data(&self) -> &'a [u8; 64] {
        field::<64, 320, 384>(self.raw)
    }

    /// Whether all reserved fields are zero.
    #[must_use]
    pub fn reserved_is_zero(&self) -> bool {
        is_zero(field::<12, 20, 384>(self.raw))
            && is_zero(field::<32, 96, 384>(self.raw))
            && is_zero(field::<32, 160, 384>(self.raw))
            && is_zero(field::<42, 262, 384>(self.raw))
    }
}

/// A TD's report as it is in a quote (Intel TDX DCAP Quoting Library API, A.3.2 and A.3.3).
#[derive(Debug, Clone, Copy)]
pub struct TdReport<'a> {
    /// The part that every TDX module has, 584 bytes.
    pub raw: &'a [u8; 584],
    /// What came with TDX 1.5, 64 bytes: `TEE_TCB_SVN_2` and `MRSERVICETD`.
    pub more: Option<&'a [u8; 64]>,
}

impl<'a> TdReport<'a> {
    /// A report of TDX 1.0.
    #[must_use]
    pub fn first(raw: &'a [u8; 584]) -> Self {
        Self { raw, more: None }
    }

    /// A report of TDX 1.5.
    #[must_use]
    pub fn second(raw: &'a [u8; 648]) -> Self {
        Self { raw: field::<584, 0, 648>(raw), more: Some(field::<64, 584, 648>(raw)) }
    }

    /// `TEE_TCB_SVN`: the TDX module's SVN and version, and others.
    #[must_use]
    pub fn tcb_svn(&self) -> &'a [u8; 16] {
        field::<16, 0, 584>(self.raw)
    }

    /// `MRSEAM`.
    #[must_use]
    pub fn mr_seam(&self) -> &'a [u8; 48] {
        field::<48, 16, 584>(self.raw)
    }

    /// `MRSIGNERSEAM`.
    #[must_use]
    pub fn mr_signer_seam(&self) -> &'a [u8; 48] {
        field::<48, 64, 584>(self.raw)
    }

    /// `SEAMATTRIBUTES`.
    #[must_use]
    pub fn seam_attributes(&self) -> &'a [u8; 8] {
        field::<8, 112, 584>(self.raw)
    }

    /// `TDATTRIBUTES`.
    #[must_use]
    pub fn td_attributes(&self) -> u64 {
        u64::from_le_bytes(*field::<8, 120, 584>(self.raw))
    }

    /// `XFAM`.
    #[must_use]
    pub fn xfam(&self) -> u64 {
        u64::from_le_bytes(*field::<8, 128, 584>(self.raw))
    }

    /// `MRTD`.
    #[must_use]
    pub fn measurement(&self) -> &'a [u8; 48] {
        field::<48, 136, 584>(self.raw)
    }

    /// `MRCONFIGID`.
    #[must_use]
    pub fn mr_config_id(&self) -> &'a [u8; 48] {
        field::<48, 184, 584>(self.raw)
    }

    /// `MROWNER`.
    #[must_use]
    pub fn mr_owner(&self) -> &'a [u8; 48] {
        field::<48, 232, 584>(self.raw)
    }

    /// `MROWNERCONFIG`.
    #[must_use]
    pub fn mr_owner_config(&self) -> &'a [u8; 48] {
        field::<48, 280, 584>(self.raw)
    }

    /// `RTMR0` to `RTMR3`.
    #[must_use]
    pub fn rtmrs(&self) -> [[u8; 48]; 4] {
        [
            *field::<48, 328, 584>(self.raw),
            *field::<48, 376, 584>(self.raw),
            *field::<48, 424, 584>(self.raw),
            *field::<48, 472, 584>(self.raw),
        ]
    }

    /// `REPORTDATA`.
    #[must_use]
    pub fn report_data(&self) -> &'a [u8; 64] {
        field::<64, 520, 584>(self.raw)
    }

    /// `TEE_TCB_SVN_2`: that of the TDX module that runs now.
    #[must_use]
    pub fn tcb_svn_2(&self) -> Option<&'a [u8; 16]> {
        self.more.map(field::<16, 0, 64>)
    }

    /// `MRSERVICETD`.
    #[must_use]
    pub fn mr_service_td(&self) -> Option<&'a [u8; 48]> {
        self.more.map(field::<48, 16, 64>)
    }

    /// Bits of `TDATTRIBUTES` of which any makes the TD one under debug (group TUD).
    pub const UNDER_DEBUG: u64 = 0xff;

    /// Bits of `TDATTRIBUTES` that some TDX module defines: the group TUD, ICSSD, LASS, SEPT_VE_DISABLE,
    /// MIGRATABLE, PKS, KL, TPA, PERFMON.
    pub const KNOWN_ATTRIBUTES: u64 = Self::UNDER_DEBUG
        | 1 << 16
        | 1 << 27
        | 1 << 28
        | 1 << 29
        | 1 << 30
        | 1 << 31
        | 1 << 62
        | 1 << 63;

    /// Whether the host may look into the TD.
    #[must_use]
    pub fn is_debug(&self) -> bool {
        self.td_attributes() & Self::UNDER_DEBUG != 0
    }
}
