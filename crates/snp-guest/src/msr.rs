// SPDX-License-Identifier: Apache-2.0

//! The protocol of one word: what can be said to the hypervisor without a shared page.
//!
//! The word goes into the MSR `0xc001_0130`; after `VMGEXIT` the answer is there. Its lowest twelve
//! bits say what it is (GHCB specification, "GHCB MSR protocol"). Each request is a type with
//! its own answer, so that the answer to one cannot be taken for the answer to another.

#[cfg(feature = "host")]
use crate::pages::PRIVATE;

#[cfg(feature = "host")]
/// The MSR.
pub const GHCB_MSR: u32 = 0xc001_0130;

/// The version of the GHCB protocol that this crate speaks.
pub const VERSION: u16 = 2;

const INFO: u64 = 0xfff;
#[cfg(feature = "host")]
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

reasons! {
    /// Why an answer cannot be used.
    MsrError:
    /// It is the answer to something else, or none; the whole word.
    Unrelated(word: u64) = "the hypervisor answered something else: {word:#x}";
    /// The hypervisor did not do it: the number of the page that it registered instead, or its reason.
    Refused(data: u64) = "the hypervisor refuses: {data:#x}";
    /// There is no version of the protocol that both sides speak; the hypervisor's lowest and
    /// highest.
    Version(min: u16, max: u16) = "the hypervisor speaks GHCB versions {min} to {max} only";
    /// The hypervisor names another C-bit than the one that the page tables use; its, and theirs.
    CBit(theirs: u8, ours: u8) = "the hypervisor's C-bit is {theirs}, that of the page tables {ours}";
    /// The hypervisor lacks features without which a Keep cannot run; what it has.
    Features(has: u64) = "the hypervisor's features do not do: {has:#x}";
    /// The page is not on a page's boundary, or has too high an address.
    Address(address: u64) = "no page has the address {address:#x}";
}

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

/// The number of the page at an address: up to 40 bits, for no address has more than 52.
fn frame(address: u64) -> Result<u64, MsrError> {
    let whole = address & 0xfff == 0 && address >> 52 == 0;
    if whole { Ok(address >> 12) } else { Err(MsrError::Address(address)) }
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
    pub fn negotiate(self, c_bit: u8) -> Result<(), MsrError> {
        let Self { max, min, c_bit: theirs } = self;
        if !(min..=max).contains(&VERSION) {
            return Err(MsrError::Version(min, max));
        }
        if theirs == c_bit { Ok(()) } else { Err(MsrError::CBit(theirs, c_bit)) }
    }
}

#[cfg(feature = "host")]
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
        frame(address).map(Self)
    }
}

impl Call for RegisterGhcb {
    type Answer = ();

    fn word(&self) -> u64 {
        self.0 << 12 | code::REGISTER
    }

    fn answer(&self, word: u64) -> Result<(), MsrError> {
        let number = data(word, code::REGISTER_ANSWER)?;
        if number == self.0 { Ok(()) } else { Err(MsrError::Refused(number)) }
    }
}

#[cfg(feature = "host")]
/// Whose a page shall be, as the hypervisor sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The guest's alone; it still has to validate it.
    Private,
    /// The hypervisor's, who shares it.
    Shared,
}

#[cfg(feature = "host")]
impl Owner {
    /// The number of the operation.
    pub(crate) fn operation(self) -> u64 {
        match self {
            Self::Private => PRIVATE,
            Self::Shared => 2,
        }
    }
}

#[cfg(feature = "host")]
/// Changes the state of one small page. For more than a few, see [`crate::pages`].
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
        Ok(Self { frame: frame(address)?, to })
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
            return Err(MsrError::Unrelated(word));
        }
        match word >> 32 {
            0 => Ok(()),
            error => Err(MsrError::Refused(error)),
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
    #[cfg(feature = "host")]
    /// Creation of processors.
    pub const AP_CREATION: u64 = 1 << 1;

    /// Whether it can do all of these.
    ///
    /// # Errors
    ///
    /// [`MsrError::Features`]. Then a Keep says [`Terminate::SNP`].
    pub fn require(self, features: u64) -> Result<(), MsrError> {
        if self.0 & features == features { Ok(()) } else { Err(MsrError::Features(self.0)) }
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

/// Asks for the guest's end, for a reason of the specification's own (set 0). There is no answer: the
/// hypervisor need not obey, so a Keep that said this stops by itself, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminate(u8);

impl Terminate {
    /// For any reason.
    pub const GENERAL: Self = Self(0);
    /// There is no common version of the protocol.
    pub const VERSION: Self = Self(1);
    /// The hypervisor lacks features of SEV-SNP.
    pub const SNP: Self = Self(2);

    /// The word to write.
    #[must_use]
    pub fn word(self) -> u64 {
        u64::from(self.0) << 16 | code::TERMINATE
    }
}
