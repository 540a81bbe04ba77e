// SPDX-License-Identifier: Apache-2.0

//! Pages of an enclave: types, rights, `SECINFO`, and the page that is a thread (`TCS`).

use crate::bytes::{LayoutError, get, is_zero, put};

/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// Types of pages (SDM, "PAGE_TYPE").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum PageType {
    /// The enclave's control structure.
    Secs = 0,
    /// A thread control structure.
    Tcs = 1,
    /// Code and data.
    Reg = 2,
    /// Versions of pages that were evicted.
    Va = 3,
    /// Given up by the enclave, to be removed.
    Trim = 4,
    /// The first page of a shadow stack.
    ShadowFirst = 5,
    /// Another page of a shadow stack.
    ShadowRest = 6,
}

impl PageType {
    /// The type with this number.
    ///
    /// # Errors
    ///
    /// [`LayoutError::PageType`].
    pub fn from_number(number: u8) -> Result<Self, LayoutError> {
        Ok(match number {
            0 => Self::Secs,
            1 => Self::Tcs,
            2 => Self::Reg,
            3 => Self::Va,
            4 => Self::Trim,
            5 => Self::ShadowFirst,
            6 => Self::ShadowRest,
            _ => return Err(LayoutError::PageType(number)),
        })
    }
}

/// What can be done with a page: bits as in `SECINFO.FLAGS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights(u8);

impl Rights {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// To be read.
    pub const R: Self = Self(1);
    /// To be read and written.
    pub const RW: Self = Self(3);
    /// To be read and executed.
    pub const RX: Self = Self(5);
    /// All three. No page of a Keep has it.
    pub const RWX: Self = Self(7);

    /// The lower three bits: read, write, execute.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self((bits & 7) as u8)
    }

    /// Read 1, write 2, execute 4.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0 as u64
    }

    /// Whether it can be read.
    #[must_use]
    pub const fn read(self) -> bool {
        self.0 & 1 != 0
    }

    /// Whether it can be written.
    #[must_use]
    pub const fn write(self) -> bool {
        self.0 & 2 != 0
    }

    /// Whether it can be executed.
    #[must_use]
    pub const fn execute(self) -> bool {
        self.0 & 4 != 0
    }

    /// Whether these are all among `others`.
    #[must_use]
    pub const fn within(self, others: Self) -> bool {
        self.0 & !others.0 == 0
    }

    /// Those of either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether a page may have them: the processor has none that is written and cannot be read.
    #[must_use]
    pub const fn is_possible(self) -> bool {
        self.read() || !self.write()
    }
}

/// `SECINFO` (SDM, "SECINFO"), 64 bytes, aligned to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecInfo {
    /// Read, write, execute.
    pub rights: Rights,
    /// `PENDING`: added to a running enclave, which did not accept it yet.
    pub pending: bool,
    /// `MODIFIED`: of a new type, which the enclave did not accept yet.
    pub modified: bool,
    /// `PR`: its rights were taken, which the enclave did not accept yet.
    pub restricted: bool,
    /// `PAGE_TYPE`.
    pub page_type: PageType,
}

impl SecInfo {
    /// Its length.
    pub const SIZE: usize = 64;
    /// Bits of `FLAGS` that have a meaning.
    const KNOWN: u64 = 0xff3f;

    /// An ordinary page with these rights.
    #[must_use]
    pub const fn reg(rights: Rights) -> Self {
        Self {
            rights,
            pending: false,
            modified: false,
            restricted: false,
            page_type: PageType::Reg,
        }
    }

    /// A thread. It has no rights: only the processor uses it.
    #[must_use]
    pub const fn tcs() -> Self {
        Self { page_type: PageType::Tcs, ..Self::reg(Rights::NONE) }
    }

    /// What the enclave accepts after `EAUG`: an empty page to be read and written.
    #[must_use]
    pub const fn added() -> Self {
        Self { pending: true, ..Self::reg(Rights::RW) }
    }

    /// What the enclave accepts after `EMODPR`: a page that has these rights now.
    #[must_use]
    pub const fn restricted(rights: Rights) -> Self {
        Self { restricted: true, ..Self::reg(rights) }
    }

    /// What the enclave accepts after `EMODT`: a page that became a thread, or is to be removed.
    #[must_use]
    pub const fn modified(page_type: PageType) -> Self {
        Self { modified: true, page_type, ..Self::reg(Rights::NONE) }
    }

    /// `FLAGS`.
    #[must_use]
    pub const fn flags(self) -> u64 {
        self.rights.bits()
            | (self.pending as u64) << 3
            | (self.modified as u64) << 4
            | (self.restricted as u64) << 5
            | (self.page_type as u64) << 8
    }

    /// The 64 bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put::<0, 8, 64>(&mut bytes, self.flags().to_le_bytes());
        bytes
    }

    /// From the 64 bytes.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Reserved`], [`LayoutError::PageType`].
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Result<Self, LayoutError> {
        let flags = u64::from_le_bytes(get::<0, 8, 64>(bytes));
        if flags & !Self::KNOWN != 0 || !is_zero(bytes, 8, Self::SIZE) {
            return Err(LayoutError::Reserved("SECINFO"));
        }
        let [_, page_type, ..] = flags.to_le_bytes();
        Ok(Self {
            rights: Rights::from_bits(flags),
            pending: flags & 1 << 3 != 0,
            modified: flags & 1 << 4 != 0,
            restricted: flags & 1 << 5 != 0,
            page_type: PageType::from_number(page_type)?,
        })
    }
}

/// What the builder of an enclave says of a thread (SDM, "TCS"): a page of which the rest is the processor's.
///
/// `OFSBASE` and `OGSBASE` are the two bases in the enclave, `FSLIMIT` and `GSLIMIT` do not count in 64-bit
/// mode and are all ones there, as they have to be otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tcs {
    /// `FLAGS`: [`Tcs::AEX_NOTIFY`] or nothing.
    pub flags: u64,
    /// `OSSA`: first state save area, on a page, from the enclave's base.
    pub ssa: u64,
    /// `NSSA`: number of state save areas.
    pub ssa_count: u32,
    /// `OENTRY`: where the enclave is entered, from its base.
    pub entry: u64,
    /// `OFSBASE`: what FS points to, from the enclave's base.
    pub fs: u64,
    /// `OGSBASE`: what GS points to, from the enclave's base.
    pub gs: u64,
}

impl Tcs {
    /// Its length.
    pub const SIZE: usize = 4096;
    /// `FLAGS.DBGOPTIN`: a debugger sees the thread; the processor clears it when the page is added.
    pub const DEBUG_OPT_IN: u64 = 1 << 0;
    /// `FLAGS.AEXNOTIFY`: the thread is told of asynchronous exits when it is resumed.
    pub const AEX_NOTIFY: u64 = 1 << 1;

    /// The 4096 bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put::<8, 8, 4096>(&mut bytes, self.flags.to_le_bytes());
        put::<16, 8, 4096>(&mut bytes, self.ssa.to_le_bytes());
        put::<28, 4, 4096>(&mut bytes, self.ssa_count.to_le_bytes());
        put::<32, 8, 4096>(&mut bytes, self.entry.to_le_bytes());
        put::<48, 8, 4096>(&mut bytes, self.fs.to_le_bytes());
        put::<56, 8, 4096>(&mut bytes, self.gs.to_le_bytes());
        put::<64, 4, 4096>(&mut bytes, [0xff; 4]);
        put::<68, 4, 4096>(&mut bytes, [0xff; 4]);
        bytes
    }

    /// From the 4096 bytes, of a thread that never ran.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Reserved`]: something that the processor keeps, or keeps free, is not zero.
    /// [`LayoutError::Field`]: what no thread of a Keep has.
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Result<Self, LayoutError> {
        // STATE; CSSA; AEP; OCETSSA, PREVSSP and the rest.
        let free = [(0, 8), (24, 28), (40, 48), (72, Self::SIZE)];
        if !free.into_iter().all(|(from, to)| is_zero(bytes, from, to)) {
            return Err(LayoutError::Reserved("TCS"));
        }
        let flags = u64::from_le_bytes(get::<8, 8, 4096>(bytes));
        if flags & !Self::AEX_NOTIFY != 0 {
            return Err(LayoutError::Field("TCS.FLAGS"));
        }
        if get::<64, 8, 4096>(bytes) != [0xff; 8] {
            return Err(LayoutError::Field("TCS.FSLIMIT or TCS.GSLIMIT"));
        }
        let ssa = u64::from_le_bytes(get::<16, 8, 4096>(bytes));
        if !ssa.is_multiple_of(PAGE) {
            return Err(LayoutError::Field("TCS.OSSA"));
        }
        Ok(Self {
            flags,
            ssa,
            ssa_count: u32::from_le_bytes(get::<28, 4, 4096>(bytes)),
            entry: u64::from_le_bytes(get::<32, 8, 4096>(bytes)),
            fs: u64::from_le_bytes(get::<48, 8, 4096>(bytes)),
            gs: u64::from_le_bytes(get::<56, 8, 4096>(bytes)),
        })
    }
}
