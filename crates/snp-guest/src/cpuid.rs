// SPDX-License-Identifier: Apache-2.0

//! The CPUID page: what the processor can do, said by the hypervisor and checked by the firmware.
//!
//! The firmware takes a page with up to 64 entries at the launch and refuses one that promises what
//! the processor does not have. Its content is not measured. Left to the hypervisor is to hide what
//! the processor has, and to say things that the firmware does not check; so a Keep holds the page
//! against rules before it believes it: it runs under SEV-SNP, the C-bit is where its page tables have
//! it, the instructions are there that it needs for its security (random numbers), and a saved state
//! fits where it will be saved.
//!
//! Layout (firmware ABI, `PAGE_TYPE_CPUID` of SNP_LAUNCH_UPDATE; all little-endian):
//!
//! | offset | length | field |
//! |---|---|---|
//! | 0x00 | 4 | `COUNT` |
//! | 0x04 | 12 | zero |
//! | 0x10 + 48 n | 4, 4 | `EAX_IN`, `ECX_IN` |
//! | + 0x08 | 8, 8 | `XCR0_IN`, `XSS_IN` |
//! | + 0x18 | 4 × 4 | `EAX`, `EBX`, `ECX`, `EDX` |
//! | + 0x28 | 8 | zero |

use crate::PAGE;
use crate::bytes;

/// Most entries of a page.
pub const ENTRIES: usize = 64;

const HEADER: usize = 0x10;
const ENTRY: usize = 0x30;

/// Extended state that the image switches on (`XCR0` of its first state): up to AVX.
const XCR0: u32 = 0b111;
/// Size and place in a saved state of what AVX adds: by the architecture.
const AVX: (u32, u32) = (256, 576);
/// Bytes that `xsave` takes for all of it, with each part at its place or behind the one before.
const STATE: u32 = AVX.0 + AVX.1;

/// A question and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Entry {
    /// The function (`EAX`).
    pub function: u32,
    /// The subleaf (`ECX`); zero where the function has none.
    pub index: u32,
    /// `XCR0` for which the answer holds, where it depends on it.
    pub xcr0: u64,
    /// `IA32_XSS`, likewise.
    pub xss: u64,
    /// The answer.
    pub answer: Answer,
}

/// The registers after `cpuid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Answer {
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
}

impl Entry {
    fn key(&self) -> (u32, u32, u64, u64) {
        (self.function, self.index, self.xcr0, self.xss)
    }

    fn read(page: &[u8; PAGE], number: usize) -> Self {
        let at = HEADER + number * ENTRY;
        let word = |offset| bytes::u32(page, at + offset);
        Self {
            function: word(0),
            index: word(4),
            xcr0: bytes::u64(page, at + 8),
            xss: bytes::u64(page, at + 0x10),
            answer: Answer { eax: word(0x18), ebx: word(0x1c), ecx: word(0x20), edx: word(0x24) },
        }
    }

    /// What a program is told: what the page says, but for what depends on the processor and its registers,
    /// which the page cannot know. Programs see the processor with the APIC id 0 wherever they run.
    #[must_use]
    pub fn told(&self) -> [u32; 4] {
        let Answer { mut eax, mut ebx, mut ecx, mut edx } = self.answer;
        match (self.function, self.index) {
            (1, _) => {
                ebx &= 0x00ff_ffff;
                // XSAVE, and with it OSXSAVE.
                ecx = ecx & !(1 << 27) | (ecx & 1 << 26) << 1;
            }
            (0xb, _) => edx = 0,
            (0xd, 0 | 1) => ebx = STATE,
            (0x8000_001e, _) => eax = 0,
            _ => {}
        }
        [eax, ebx, ecx, edx]
    }

    #[cfg(feature = "host")]
    fn write(&self, page: &mut [u8; PAGE], number: usize) {
        let at = HEADER + number * ENTRY;
        let Answer { eax, ebx, ecx, edx } = self.answer;
        let words = [(0, self.function), (4, self.index)];
        let answer = [(0x18, eax), (0x1c, ebx), (0x20, ecx), (0x24, edx)];
        for (offset, word) in words.into_iter().chain(answer) {
            bytes::put(page, at + offset, word.to_le_bytes());
        }
        bytes::put(page, at + 8, self.xcr0.to_le_bytes());
        bytes::put(page, at + 0x10, self.xss.to_le_bytes());
    }
}

reasons! {
    /// Why a page is not believed.
    CpuidError:
    /// It has more entries than fit, or none.
    Count(count: u32) = "{count} entries in the CPUID page";
    /// What is reserved is not zero.
    Reserved = "reserved parts of the CPUID page are not zero";
    /// Two entries answer the same question; function and subleaf.
    Twice(function: u32, index: u32) = "two answers to CPUID {function:#x}, subleaf {index:#x}";
    /// A function of the hypervisor's own range, which the firmware does not check.
    Hypervisor(function: u32) =
        "CPUID {function:#x} is the hypervisor's own; nobody vouches for it";
    /// There is no answer to a function that is needed.
    Missing(function: u32) = "no answer to CPUID {function:#x}";
    /// The processor is not AMD's.
    Vendor = "the processor is not AMD's";
    /// It is not said that memory is encrypted, registers are hidden and pages are nested securely.
    NotSnp(eax: u32) = "SEV-SNP is not on, says CPUID 0x8000001f: {eax:#x}";
    /// The C-bit is not where the page tables have it.
    CBit(bit: u8) = "the C-bit is bit {bit}";
    /// Physical addresses do not reach to the C-bit, or beyond what there is.
    AddressBits(bits: u8) = "physical addresses have {bits} bits";
    /// The processor lacks what a Keep needs.
    Lacks(what: &'static str) = "the processor lacks {what}, or the host hides it";
    /// State that the Keep switches on is not there, or not of the size or at the place that the
    /// architecture gives it; the component's number, 0 for all of them.
    State(number: u32) = "wrong size or place of saved state {number}";
}

/// A page of answers whose form was checked.
#[derive(Debug, Clone, Copy)]
pub struct Table<'a> {
    page: &'a [u8; PAGE],
    count: usize,
}

impl<'a> Table<'a> {
    /// Reads a page. It lies in private memory, so it does not change.
    ///
    /// # Errors
    ///
    /// [`CpuidError::Count`], [`CpuidError::Reserved`], [`CpuidError::Twice`].
    pub fn new(page: &'a [u8; PAGE]) -> Result<Self, CpuidError> {
        let count = bytes::u32(page, 0);
        if count == 0 || count as usize > ENTRIES {
            return Err(CpuidError::Count(count));
        }
        if bytes::u32(page, 4) != 0 || bytes::u64(page, 8) != 0 {
            return Err(CpuidError::Reserved);
        }
        let table = Self { page, count: count as usize };
        for (number, entry) in table.entries().enumerate() {
            if bytes::u64(page, HEADER + number * ENTRY + 0x28) != 0 {
                return Err(CpuidError::Reserved);
            }
            if table.entries().take(number).any(|other| other.key() == entry.key()) {
                return Err(CpuidError::Twice(entry.function, entry.index));
            }
        }
        Ok(table)
    }

    #[cfg(feature = "host")]
    /// Writes a page, for the launch. Entries beyond [`ENTRIES`] do not fit.
    ///
    /// # Errors
    ///
    /// As [`Table::new`].
    pub fn write(entries: &[Entry], page: &'a mut [u8; PAGE]) -> Result<Self, CpuidError> {
        if entries.len() > ENTRIES {
            return Err(CpuidError::Count(u32::try_from(entries.len()).unwrap_or(u32::MAX)));
        }
        page.fill(0);
        bytes::put(page, 0, (entries.len() as u32).to_le_bytes());
        for (number, entry) in entries.iter().enumerate() {
            entry.write(page, number);
        }
        Self::new(page)
    }

    /// All entries.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + use<'a> {
        let page = self.page;
        (0..self.count).map(move |number| Entry::read(page, number))
    }

    /// The answer to a function and subleaf, if there is one. Where there are several for different
    /// extended states, the first.
    #[must_use]
    pub fn get(&self, function: u32, index: u32) -> Option<Answer> {
        let found = self.entries().find(|entry| (entry.function, entry.index) == (function, index));
        found.map(|entry| entry.answer)
    }

    fn need(&self, function: u32) -> Result<Answer, CpuidError> {
        self.get(function, 0).ok_or(CpuidError::Missing(function))
    }

    /// Whether a Keep can believe the page whose page tables make memory private by the mask `c_bit`.
    ///
    /// # Errors
    ///
    /// [`CpuidError`]: the first rule that is broken.
    pub fn check(&self, c_bit: u64) -> Result<(), CpuidError> {
        let own = |entry: &Entry| (0x4000_0000..0x5000_0000).contains(&entry.function);
        if let Some(entry) = self.entries().find(own) {
            return Err(CpuidError::Hypervisor(entry.function));
        }
        let vendor = self.need(0)?;
        let name = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes);
        if name != [*b"Auth", *b"enti", *b"cAMD"] {
            return Err(CpuidError::Vendor);
        }
        self.check_encryption(c_bit)?;
        // Hardware's random numbers. A Keep takes them from nobody else.
        if self.need(1)?.ecx >> 30 & 1 == 0 {
            return Err(CpuidError::Lacks("RDRAND"));
        }
        if self.need(7)?.ebx >> 18 & 1 == 0 {
            return Err(CpuidError::Lacks("RDSEED"));
        }
        self.check_state()
    }

    /// Functions `0x8000_001f`, encrypted memory, and `0x8000_0008`, size of addresses (APM volume
    /// 3, appendix E).
    fn check_encryption(&self, ours: u64) -> Result<(), CpuidError> {
        let encryption = self.need(0x8000_001f)?;
        // SEV, SEV-ES, SEV-SNP.
        const ALL: u32 = 1 << 1 | 1 << 3 | 1 << 4;
        if encryption.eax & ALL != ALL {
            return Err(CpuidError::NotSnp(encryption.eax));
        }
        let c_bit = (encryption.ebx & 0x3f) as u8;
        if 1 << c_bit != ours {
            return Err(CpuidError::CBit(c_bit));
        }
        // The bits say which addresses there are; the C-bit must be none of an address.
        let bits = self.need(0x8000_0008)?.eax as u8;
        if !(32..=52).contains(&bits) {
            return Err(CpuidError::AddressBits(bits));
        }
        Ok(())
    }

    /// Function `0xd`, extended state: what the image switches on is there, and where the architecture
    /// has it.
    fn check_state(&self) -> Result<(), CpuidError> {
        let state = self.need(0xd)?;
        let avx = self.get(0xd, 2).unwrap_or_default();
        if state.eax & XCR0 != XCR0 || (avx.eax, avx.ebx) != AVX {
            return Err(CpuidError::State(2));
        }
        // What all states that the processor has take, as it says itself.
        if !(STATE..=4 * PAGE as u32).contains(&state.ecx) {
            return Err(CpuidError::State(0));
        }
        Ok(())
    }
}
