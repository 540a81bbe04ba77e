// SPDX-License-Identifier: Apache-2.0

//! The protocol of one word: what can be said to the hypervisor without a shared page.
//!
//! The word goes into the MSR `0xc001_0130`; after `VMGEXIT` the answer is there. Its lowest twelve
//! bits say what it is (GHCB specification, "GHCB MSR protocol"). Each request is a type with
//! its own answer, so that the answer to one cannot be taken for the answer to another.

use core::fmt;

/// The MSR.
pub const GHCB_MSR: u32 = 0xc001_0130;

/// The version of the GHCB protocol that this crate speaks.
pub const VERSION: u16 = 2;

const INFO: u64 = 0xfff;
/// In place of a page number: there is none.
const NO_FRAME: u64 = u64::MAX >> 12;

/// Codes in the low twelve bits.
pub(crate) mod code {
    pub(crate) const SEV_INFO_ANSWER: u64 = 0x001;
    pub(crate) const SEV_INFO: u64 = 0x002;
    #[cfg(feature = "host")]
    pub(crate) const CPUID: u64 = 0x004;
    #[cfg(feature = "host")]
    pub(crate) const CPUID_ANSWER: u64 = 0x005;
    #[cfg(feature = "host")]
    pub(crate) const RESET_HOLD: u64 = 0x006;
    #[cfg(feature = "host")]
    pub(crate) const RESET_HOLD_ANSWER: u64 = 0x007;
    #[cfg(feature = "host")]
    pub(crate) const PREFERRED: u64 = 0x010;
    #[cfg(feature = "host")]
    pub(crate) const PREFERRED_ANSWER: u64 = 0x011;
    pub(crate) const REGISTER: u64 = 0x012;
    pub(crate) const REGISTER_ANSWER: u64 = 0x013;
    #[cfg(feature = "host")]
    pub(crate) const PAGE_STATE: u64 = 0x014;
    #[cfg(feature = "host")]
    pub(crate) const PAGE_STATE_ANSWER: u64 = 0x015;
    pub(crate) const FEATURES: u64 = 0x080;
    pub(crate) const FEATURES_ANSWER: u64 = 0x081;
    pub(crate) const TERMINATE: u64 = 0x100;
}

/// Why an answer cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MsrError {
    /// It is the answer to something else; the whole word.
    Unrelated(u64),
    /// Bits that are reserved are set; the whole word.
    Reserved(u64),
    /// The hypervisor registered another page than it was asked to, or none; the number it gave.
    NotRegistered(u64),
    /// The hypervisor did not change the page's state; its reason.
    PageState(u32),
    /// There is no version of the protocol that both sides speak.
    Version {
        /// The hypervisor's lowest.
        min: u16,
        /// The hypervisor's highest.
        max: u16,
    },
    /// The hypervisor names another C-bit than the one that the page tables use.
    CBit {
        /// The hypervisor's.
        theirs: u8,
        /// That of the page tables.
        ours: u8,
    },
    /// The hypervisor lacks features without which a Keep cannot run.
    Features(Features),
    /// The page is not on a page's boundary, or has too high an address.
    Address(u64),
}

impl fmt::Display for MsrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unrelated(word) => write!(f, "the hypervisor answered something else: {word:#x}"),
            Self::Reserved(word) => write!(f, "the hypervisor set reserved bits: {word:#x}"),
            Self::NotRegistered(frame) => write!(f, "the GHCB was not registered: {frame:#x}"),
            Self::PageState(code) => write!(f, "a page's state was not changed: {code:#x}"),
            Self::Version { min, max } => {
                write!(f, "the hypervisor speaks GHCB versions {min} to {max}, not {VERSION}")
            }
            Self::CBit { theirs, ours } => {
                write!(f, "the hypervisor's C-bit is {theirs}, that of the page tables {ours}")
            }
            Self::Features(has) => write!(f, "the hypervisor's features do not do: {:#x}", has.0),
            Self::Address(address) => write!(f, "no page has the address {address:#x}"),
        }
    }
}

impl core::error::Error for MsrError {}

/// A request of one word, and how to read its answer.
pub trait Call {
    /// What the hypervisor says.
    type Answer;

    /// The word to write.
    fn word(&self) -> u64;

    /// Reads the answer.
    ///
    /// # Errors
    ///
    /// [`MsrError`], if it is none or if it is a refusal.
    fn answer(&self, word: u64) -> Result<Self::Answer, MsrError>;

    /// Asks: `exit` writes a word to the MSR, executes `VMGEXIT` and reads the MSR.
    ///
    /// # Errors
    ///
    /// As [`Call::answer`].
    fn ask(&self, exit: impl FnOnce(u64) -> u64) -> Result<Self::Answer, MsrError>
    where
        Self: Sized,
    {
        self.answer(exit(self.word()))
    }
}

/// The data of an answer with that code.
fn data(word: u64, code: u64) -> Result<u64, MsrError> {
    if word & INFO == code { Ok(word >> 12) } else { Err(MsrError::Unrelated(word)) }
}

/// The number of the page at an address: up to `bits` bits.
fn frame(address: u64, bits: u32) -> Result<u64, MsrError> {
    let number = address >> 12;
    let whole = address & 0xfff == 0 && number >> bits == 0;
    if whole { Ok(number) } else { Err(MsrError::Address(address)) }
}

/// Asks for versions and C-bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskSevInfo;

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

impl Call for AskSevInfo {
    type Answer = SevInfo;

    fn word(&self) -> u64 {
        code::SEV_INFO
    }

    fn answer(&self, word: u64) -> Result<SevInfo, MsrError> {
        data(word, code::SEV_INFO_ANSWER)?;
        Ok(SevInfo {
            max: (word >> 48) as u16,
            min: (word >> 32) as u16,
            c_bit: (word >> 24) as u8,
        })
    }
}

impl SevInfo {
    /// Settles on [`VERSION`].
    ///
    /// # Errors
    ///
    /// [`MsrError::Version`], [`MsrError::CBit`]. Then a Keep says [`Terminate::VERSION`].
    pub fn negotiate(self, c_bit: u8) -> Result<u16, MsrError> {
        let Self { max, min, c_bit: theirs } = self;
        if !(min..=max).contains(&VERSION) {
            return Err(MsrError::Version { min, max });
        }
        if theirs != c_bit {
            return Err(MsrError::CBit { theirs, ours: c_bit });
        }
        Ok(VERSION)
    }
}

/// A register of a `cpuid` instruction's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Register {
    Eax,
    Ebx,
    Ecx,
    Edx,
}

#[cfg(feature = "host")]
/// Asks for one register of a CPUID function with subleaf 0.
///
/// Nobody vouches for the answer: under SEV-SNP a Keep uses [`crate::cpuid`] instead, and this only
/// before it knows that it runs under SEV-SNP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskCpuid {
    /// The function (`EAX`).
    pub function: u32,
    /// Which register is wanted.
    pub register: Register,
}

#[cfg(feature = "host")]
impl Call for AskCpuid {
    type Answer = u32;

    fn word(&self) -> u64 {
        u64::from(self.function) << 32 | (self.register as u64) << 30 | code::CPUID
    }

    fn answer(&self, word: u64) -> Result<u32, MsrError> {
        data(word, code::CPUID_ANSWER)?;
        Ok((word >> 32) as u32)
    }
}

#[cfg(feature = "host")]
/// Waits until another processor wakes this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResetHold;

#[cfg(feature = "host")]
impl Call for ResetHold {
    /// Whether it was woken; if not, it has to wait again.
    type Answer = bool;

    fn word(&self) -> u64 {
        code::RESET_HOLD
    }

    fn answer(&self, word: u64) -> Result<bool, MsrError> {
        Ok(data(word, code::RESET_HOLD_ANSWER)? != 0)
    }
}

#[cfg(feature = "host")]
/// Asks where the hypervisor would like the GHCB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskPreferred;

#[cfg(feature = "host")]
impl Call for AskPreferred {
    /// Physical address; none if any will do. A Keep puts the GHCB where its image says, and a
    /// wish for another place is a reason to end.
    type Answer = Option<u64>;

    fn word(&self) -> u64 {
        code::PREFERRED
    }

    fn answer(&self, word: u64) -> Result<Option<u64>, MsrError> {
        let frame = data(word, code::PREFERRED_ANSWER)?;
        Ok((frame != NO_FRAME).then_some(frame << 12))
    }
}

/// Registers the page that is the GHCB of this processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegisterGhcb(u64);

impl RegisterGhcb {
    /// Of the page at a physical address.
    ///
    /// # Errors
    ///
    /// [`MsrError::Address`].
    pub fn new(address: u64) -> Result<Self, MsrError> {
        let number = frame(address, 52)?;
        // All ones say that there is no page.
        if number == NO_FRAME { Err(MsrError::Address(address)) } else { Ok(Self(number)) }
    }
}

impl Call for RegisterGhcb {
    type Answer = ();

    fn word(&self) -> u64 {
        self.0 << 12 | code::REGISTER
    }

    fn answer(&self, word: u64) -> Result<(), MsrError> {
        let number = data(word, code::REGISTER_ANSWER)?;
        if number == self.0 { Ok(()) } else { Err(MsrError::NotRegistered(number)) }
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

impl Owner {
    /// The number of the operation.
    pub(crate) fn operation(self) -> u64 {
        match self {
            Self::Private => 1,
            Self::Shared => 2,
        }
    }
}

#[cfg(feature = "host")]
/// Changes the state of one small page. For more than a few, see [`crate::psc`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangePage {
    frame: u64,
    to: Owner,
}

#[cfg(feature = "host")]
impl ChangePage {
    /// Of the page at a physical address.
    ///
    /// # Errors
    ///
    /// [`MsrError::Address`].
    pub fn new(address: u64, to: Owner) -> Result<Self, MsrError> {
        Ok(Self { frame: frame(address, 40)?, to })
    }
}

#[cfg(feature = "host")]
impl Call for ChangePage {
    type Answer = ();

    fn word(&self) -> u64 {
        self.to.operation() << 52 | self.frame << 12 | code::PAGE_STATE
    }

    fn answer(&self, word: u64) -> Result<(), MsrError> {
        let rest = data(word, code::PAGE_STATE_ANSWER)?;
        if rest & 0xf_ffff != 0 {
            return Err(MsrError::Reserved(word));
        }
        match (word >> 32) as u32 {
            0 => Ok(()),
            error => Err(MsrError::PageState(error)),
        }
    }
}

/// Asks what the hypervisor can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskFeatures;

/// What the hypervisor can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features(pub u64);

impl Features {
    /// SEV-SNP.
    pub const SNP: u64 = 1 << 0;
    /// Creation of processors.
    pub const AP_CREATION: u64 = 1 << 1;

    /// Whether it can do all of these.
    ///
    /// # Errors
    ///
    /// [`MsrError::Features`]. Then a Keep says [`Terminate::SNP`].
    pub fn require(self, features: u64) -> Result<(), MsrError> {
        if self.0 & features == features { Ok(()) } else { Err(MsrError::Features(self)) }
    }
}

impl Call for AskFeatures {
    type Answer = Features;

    fn word(&self) -> u64 {
        code::FEATURES
    }

    fn answer(&self, word: u64) -> Result<Features, MsrError> {
        data(word, code::FEATURES_ANSWER).map(Features)
    }
}

/// Asks for the guest's end. There is no answer: the hypervisor need not obey, so a Keep that said
/// this stops by itself, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminate {
    /// Whose the code is: 0 for those of the specification. Four bits.
    pub set: u8,
    /// Why.
    pub code: u8,
}

impl Terminate {
    /// For any reason.
    pub const GENERAL: Self = Self { set: 0, code: 0 };
    /// There is no common version of the protocol.
    pub const VERSION: Self = Self { set: 0, code: 1 };
    /// The hypervisor lacks features of SEV-SNP.
    pub const SNP: Self = Self { set: 0, code: 2 };

    /// The word to write.
    #[must_use]
    pub fn word(self) -> u64 {
        u64::from(self.code) << 16 | u64::from(self.set & 0xf) << 12 | code::TERMINATE
    }
}
