// SPDX-License-Identifier: Apache-2.0

//! The hypervisor's side of both protocols.

use sallyport::Window;

use crate::ghcb::{self, BUFFER, Fields, GhcbError, field, show};
use crate::msr::{VERSION, code};
use crate::pages::{self, ENTRIES, PRIVATE};

/// The MSR that holds the word.
pub const GHCB_MSR: u32 = 0xc001_0130;

/// Codes of what a guest could say in a word, and no Keep does.
const CPUID: u64 = 0x004;
const CPUID_ANSWER: u64 = 0x005;
const RESET_HOLD: u64 = 0x006;
const RESET_HOLD_ANSWER: u64 = 0x007;
const PREFERRED: u64 = 0x010;
const PREFERRED_ANSWER: u64 = 0x011;
const PAGE_STATE: u64 = 0x014;
const PAGE_STATE_ANSWER: u64 = 0x015;

/// Numbers of events of which the same is true.
const EXTENDED_GUEST_REQUEST: u64 = 0x8000_0012;
const AP_CREATION: u64 = 0x8000_0013;
const HYPERVISOR_FEATURES: u64 = 0x8000_fffd;

/// `RBX`, which no event of a Keep has.
const RBX: usize = 0x318;
/// In `SW_EXITINFO2`: too little room for the certificates.
const INVALID_LENGTH: u64 = 1 << 32;

/// Why a request is none; `SW_EXITINFO2` says it (GHCB specification).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostError {
    /// Usage or version are not those of the protocol.
    Usage,
    /// A field that the event needs is not there.
    Missing,
    /// A field has a value that it must not have.
    Invalid,
    /// The event's memory is not where it must be.
    Scratch,
    /// There is no such event.
    Event,
}

impl HostError {
    /// Its number.
    #[must_use]
    pub fn code(self) -> u64 {
        match self {
            Self::Usage => 2,
            Self::Scratch => 3,
            Self::Missing => 4,
            Self::Invalid => 5,
            Self::Event => 6,
        }
    }
}

impl From<GhcbError> for HostError {
    fn from(_: GhcbError) -> Self {
        Self::Missing
    }
}

/// Whose a page shall be, as the hypervisor sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The guest's alone; it still has to validate it.
    Private,
    /// The hypervisor's, who shares it.
    Shared,
}

/// What the hypervisor says of itself. The MSR holds it, too, when a processor starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SevInfo {
    /// Highest version of the protocol.
    pub max: u16,
    /// Lowest version of the protocol.
    pub min: u16,
    /// The bit of a page table's entry that makes a page private. A hint only: the CPUID page is
    /// vouched for, this is not.
    pub c_bit: u8,
}

/// A request of one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MsrRequest {
    /// Asks for versions and C-bit.
    SevInfo,
    /// Asks for one register of a CPUID function with subleaf 0.
    Cpuid {
        /// The function.
        function: u32,
        /// 0 to 3: `EAX`, `EBX`, `ECX`, `EDX`.
        register: u8,
    },
    /// Waits until another processor wakes this one.
    ResetHold,
    /// Asks where the hypervisor would like the GHCB.
    Preferred,
    /// Registers a GHCB: the physical address.
    Register(u64),
    /// Changes the state of one small page.
    ChangePage {
        /// Physical address.
        address: u64,
        /// Whose it shall be.
        to: Owner,
    },
    /// Asks what the hypervisor can do.
    Features,
    /// [`crate::msr::Terminate`].
    Terminate {
        /// Whose the code is.
        set: u8,
        /// Why.
        code: u8,
    },
    /// The address of a GHCB: there is a [`GhcbRequest`].
    Ghcb(u64),
}

impl MsrRequest {
    /// Reads the word that the guest wrote; none if it is no request.
    #[must_use]
    pub fn read(word: u64) -> Option<Self> {
        let data = word & !0xfff;
        Some(match word & 0xfff {
            0 => Self::Ghcb(word),
            code::SEV_INFO => Self::SevInfo,
            CPUID => {
                Self::Cpuid { function: (word >> 32) as u32, register: (word >> 30 & 3) as u8 }
            }
            RESET_HOLD => Self::ResetHold,
            PREFERRED => Self::Preferred,
            code::REGISTER => Self::Register(data),
            PAGE_STATE => {
                Self::ChangePage { address: data & 0x000f_ffff_ffff_f000, to: owner(word >> 52)? }
            }
            code::FEATURES => Self::Features,
            code::TERMINATE => {
                Self::Terminate { set: (word >> 12 & 0xf) as u8, code: (word >> 16) as u8 }
            }
            _ => return None,
        })
    }
}

fn owner(operation: u64) -> Option<Owner> {
    match operation {
        PRIVATE => Some(Owner::Private),
        2 => Some(Owner::Shared),
        _ => None,
    }
}

/// An answer of one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MsrAnswer {
    /// To [`MsrRequest::SevInfo`].
    SevInfo(SevInfo),
    /// To [`MsrRequest::Cpuid`].
    Cpuid(u32),
    /// To [`MsrRequest::ResetHold`].
    Woken(bool),
    /// To [`MsrRequest::Preferred`]: the physical address, if there is one.
    Preferred(Option<u64>),
    /// To [`MsrRequest::Register`]: the address, or none for a refusal.
    Registered(Option<u64>),
    /// To [`MsrRequest::ChangePage`]: 0, or why not.
    PageChanged(u32),
    /// To [`MsrRequest::Features`].
    Features(u64),
}

impl MsrAnswer {
    /// The word for the guest.
    #[must_use]
    pub fn word(self) -> u64 {
        let page = |address: Option<u64>| address.unwrap_or(u64::MAX) & !0xfff;
        match self {
            Self::SevInfo(SevInfo { max, min, c_bit }) => {
                u64::from(max) << 48
                    | u64::from(min) << 32
                    | u64::from(c_bit) << 24
                    | code::SEV_INFO_ANSWER
            }
            Self::Cpuid(value) => u64::from(value) << 32 | CPUID_ANSWER,
            Self::Woken(woken) => u64::from(woken) << 12 | RESET_HOLD_ANSWER,
            Self::Preferred(address) => page(address) | PREFERRED_ANSWER,
            Self::Registered(address) => page(address) | code::REGISTER_ANSWER,
            Self::PageChanged(error) => u64::from(error) << 32 | PAGE_STATE_ANSWER,
            Self::Features(features) => features << 12 | code::FEATURES_ANSWER,
        }
    }
}

/// How many bytes an I/O instruction moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Width {
    One,
    Two,
    Four,
}

/// Where a message to the firmware is, and where the answer shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestRequest {
    /// Physical address of a page with the message.
    pub request: u64,
    /// Physical address of a page for the answer.
    pub answer: u64,
}

/// A request of one page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GhcbRequest {
    /// `out`.
    Out {
        /// The port.
        port: u16,
        /// How much of `value` is written.
        width: Width,
        /// What is written.
        value: u32,
    },
    /// `in`.
    In {
        /// The port.
        port: u16,
        /// How much is read.
        width: Width,
    },
    /// As [`MsrRequest::Features`].
    Features,
    /// Works on a list of page state changes; its physical address.
    ChangePages(u64),
    /// Carries a message to the firmware.
    Guest(GuestRequest),
    /// Carries a message to the firmware, and brings the host's certificates along.
    ExtendedGuest {
        /// The message.
        message: GuestRequest,
        /// Physical address of pages for the certificates.
        data: u64,
        /// How many pages.
        pages: u64,
    },
    /// Starts another processor from a state that the guest made.
    CreateProcessor {
        /// The processor's APIC id.
        apic_id: u32,
        /// Physical address of the page with its [`crate::vmsa::Vmsa`].
        vmsa: u64,
        /// `SEV_FEATURES` in that page.
        sev_features: u64,
    },
    /// Stops a processor.
    DestroyProcessor {
        /// The processor's APIC id.
        apic_id: u32,
    },
}

impl GhcbRequest {
    /// Reads a page, each word of it once.
    ///
    /// # Errors
    ///
    /// [`HostError`], to be answered by [`GhcbAnswer::Malformed`].
    pub fn read<W: Window>(page: &W) -> Result<Self, HostError> {
        let last = page.load(field::LAST);
        if (last >> 16) as u16 != VERSION || last >> 32 != 0 {
            return Err(HostError::Usage);
        }
        let fields = Fields::of(page, 0);
        let code = fields.get(field::CODE)?;
        let (info_1, info_2) = (fields.get(field::INFO_1)?, fields.get(field::INFO_2)?);
        let message = GuestRequest { request: info_1, answer: info_2 };
        Ok(match code {
            ghcb::code::IOIO => return Self::read_io(&fields, info_1),
            HYPERVISOR_FEATURES => Self::Features,
            ghcb::code::PAGE_STATE_CHANGE => Self::ChangePages(fields.get(field::SCRATCH)?),
            ghcb::code::GUEST_REQUEST => Self::Guest(message),
            EXTENDED_GUEST_REQUEST => Self::ExtendedGuest {
                message,
                data: fields.get(field::RAX)?,
                pages: fields.get(RBX)?,
            },
            AP_CREATION => {
                let apic_id = (info_1 >> 32) as u32;
                match info_1 & 0xffff_ffff {
                    1 => Self::CreateProcessor {
                        apic_id,
                        vmsa: info_2,
                        sev_features: fields.get(field::RAX)?,
                    },
                    2 => Self::DestroyProcessor { apic_id },
                    _ => return Err(HostError::Invalid),
                }
            }
            _ => return Err(HostError::Event),
        })
    }

    fn read_io<W: Window>(fields: &Fields<'_, W>, info: u64) -> Result<Self, HostError> {
        let (width, mask) = match info >> 4 & 0b111 {
            1 => (Width::One, 0xff),
            2 => (Width::Two, 0xffff),
            4 => (Width::Four, 0xffff_ffff),
            _ => return Err(HostError::Invalid),
        };
        // Neither strings nor anything that is reserved.
        if info & !0xffff_0071 != 0 {
            return Err(HostError::Invalid);
        }
        let port = (info >> 16) as u16;
        if info & 1 != 0 {
            return Ok(Self::In { port, width });
        }
        let value = (fields.get(field::RAX)? & mask) as u32;
        Ok(Self::Out { port, width, value })
    }
}

/// An answer of one page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GhcbAnswer {
    /// All went well; `SW_EXITINFO2`, zero where there is nothing to say.
    Done(u64),
    /// What was read from a port.
    In(u32),
    /// So many pages are needed for the certificates.
    NeedsPages(u64),
    /// An exception is to be raised.
    Exception(u64),
    /// The request is none.
    Malformed(HostError),
}

impl GhcbAnswer {
    /// Fills the page for the guest.
    pub fn write<W: Window>(self, page: &W) {
        let (info_1, info_2, register) = match self {
            Self::Done(info) => (0, info, None),
            Self::In(value) => (0, 0, Some((field::RAX, u64::from(value)))),
            Self::NeedsPages(pages) => (0, INVALID_LENGTH, Some((RBX, pages))),
            Self::Exception(what) => (1, what, None),
            Self::Malformed(why) => (2, why.code(), None),
        };
        let fields = [(field::INFO_1, info_1), (field::INFO_2, info_2)];
        show(page, 0, fields.into_iter().chain(register));
    }
}

/// A page of a list of page state changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Physical address.
    pub address: u64,
    /// Whether it is a large page.
    pub large: bool,
    /// Whose it shall be.
    pub to: Owner,
}

impl Entry {
    /// Bytes of the page.
    #[must_use]
    pub fn size(self) -> u64 {
        pages::size(self.large)
    }
}

/// The entry of a list of page state changes; none if it is none.
#[must_use]
pub fn read_entry(word: u64) -> Option<Entry> {
    if word >> 57 != 0 {
        return None;
    }
    Some(Entry {
        address: word & 0x000f_ffff_ffff_f000,
        large: word >> 56 & 1 != 0,
        to: owner(word >> 52 & 0xf)?,
    })
}

/// A list in the buffer of a GHCB, while it is worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageList {
    current: u16,
    last: u16,
}

impl PageList {
    /// Reads the header of the list at `scratch`, for a GHCB at `address`. A list elsewhere than in
    /// the GHCB's own buffer is refused: no Keep makes one.
    ///
    /// # Errors
    ///
    /// [`HostError::Scratch`], [`HostError::Invalid`].
    pub fn read<W: Window>(page: &W, address: u64, scratch: u64) -> Result<Self, HostError> {
        if address.checked_add(BUFFER as u64) != Some(scratch) {
            return Err(HostError::Scratch);
        }
        let header = page.load(BUFFER);
        let list = Self { current: header as u16, last: (header >> 16) as u16 };
        let fits = usize::from(list.last) < ENTRIES && list.current <= list.last;
        if fits && header >> 32 == 0 { Ok(list) } else { Err(HostError::Invalid) }
    }

    /// The next entry; none at the end of the list.
    ///
    /// # Errors
    ///
    /// [`HostError::Invalid`] if it is no entry.
    pub fn next<W: Window>(&mut self, page: &W) -> Result<Option<Entry>, HostError> {
        if self.current > self.last {
            return Ok(None);
        }
        let word = page.load(BUFFER + 8 + 8 * usize::from(self.current));
        let entry = read_entry(word).ok_or(HostError::Invalid)?;
        self.current += 1;
        Ok(Some(entry))
    }

    /// Tells the guest how far it went.
    pub fn write<W: Window>(&self, page: &W) {
        page.store(BUFFER, u64::from(self.last) << 16 | u64::from(self.current));
    }
}
