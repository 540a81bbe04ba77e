// SPDX-License-Identifier: Apache-2.0

//! Pages as the processor reads them, and the page that is a thread.

use crate::bytes::{LayoutError, get, is_zero, put};
use crate::page::{PAGE, PageType, Rights, SecInfo};

impl PageType {
    /// The type with this number.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Field`].
    pub fn from_number(number: u8) -> Result<Self, LayoutError> {
        Ok(match number {
            0 => Self::Secs,
            1 => Self::Tcs,
            2 => Self::Reg,
            3 => Self::Va,
            4 => Self::Trim,
            5 => Self::ShadowFirst,
            6 => Self::ShadowRest,
            _ => return Err(LayoutError::Field("PAGE_TYPE")),
        })
    }
}

impl Rights {
    /// To be read and executed.
    pub const RX: Self = Self(5);
    /// All three. No page of a Keep has it.
    pub const RWX: Self = Self(7);

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

impl SecInfo {
    /// Bits of `FLAGS` that have a meaning.
    const KNOWN: u64 = 0xff3f;

    /// A thread. It has no rights: only the processor uses it.
    #[must_use]
    pub const fn tcs() -> Self {
        Self { page_type: PageType::Tcs, ..Self::reg(Rights::NONE) }
    }

    /// From the 64 bytes.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Reserved`], [`LayoutError::Field`].
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
