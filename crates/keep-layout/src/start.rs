// SPDX-License-Identifier: Apache-2.0

//! What kernel and image builder hand each other: one struct in each direction.
//!
//! The kernel's text begins with a [`KernelHeader`], which tells the builder where the processor
//! has to enter the kernel. The builder writes a [`StartInfo`] behind the program's data and hands
//! its address to the kernel in `RDI`, which tells the kernel what lies where. Both consist of
//! 64-bit words alone: no padding, so no byte of the measured image is left to chance, and an
//! assembler can write them as a list of `.quad`s.

/// The first words of the kernel's text, at [`KERNEL_TEXT`](crate::KERNEL_TEXT).
///
/// All addresses are final: the kernel is linked for a fixed address.
#[cfg(feature = "host")]
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelHeader {
    /// [`KernelHeader::MAGIC`].
    pub magic: u64,
    /// [`KernelHeader::VERSION`].
    pub version: u64,
    /// First instruction, run in ring 3; `RDI` holds the address of the [`StartInfo`], all other
    /// registers are zero, `RSP` too.
    pub entry: u64,
    /// Where a `syscall` instruction goes (`LSTAR`); may arrive at ring 0 or at ring 3.
    pub lstar: u64,
    /// Where the program's rewritten `syscall`s call to; returns by `ret`. The program's stack
    /// pointer at the time of the system call is `RSP + 8 + 128` on entry. All registers but
    /// `RAX`, `RCX` and `R11` are kept, and so are the flags.
    pub syscall_entry: u64,
    /// Where the program's rewritten `cpuid`s call to; returns by `ret`, with the answer in the
    /// registers of the instruction and all others as they were.
    pub cpuid_entry: u64,
    /// The stack that the first processor switches to when an exception leaves ring 3 (`RSP0`). Those of
    /// others follow, see [`STUB_STACK_SIZE`](crate::processor::STUB_STACK_SIZE).
    pub stub_stack_top: u64,
    /// First instruction in an enclave (`TCS.OENTRY`), for the start and for whatever else enters one.
    /// Zero means that the kernel cannot live in an enclave.
    pub enclave_entry: u64,
    /// First instruction of all processors but the first, run in ring 3; GS has the processor's block.
    pub entry_next: u64,
    /// Handler of [`VECTOR_FLUSH`](crate::VECTOR_FLUSH).
    pub flush: u64,
    /// Block of the first processor, see [`processor`](crate::processor).
    pub blocks: u64,
    /// Handlers of the exceptions 0 to 31. Zero means that there is none.
    pub vectors: [u64; VECTORS],
}

/// The number of exception vectors.
#[cfg(feature = "host")]
pub const VECTORS: usize = 32;

#[cfg(feature = "host")]
impl KernelHeader {
    /// `KEEPKRNL`, read as a little-endian word.
    pub const MAGIC: u64 = u64::from_le_bytes(*b"KEEPKRNL");
    /// Changes with the meaning of any field.
    pub const VERSION: u64 = 4;
    /// Its length in words.
    pub const WORDS: usize = 11 + VECTORS;

    /// Reads the header from the kernel's first words; magic and version are the caller's to check.
    pub fn from_words(words: &[u64; Self::WORDS]) -> Self {
        let [
            magic,
            version,
            entry,
            lstar,
            syscall_entry,
            cpuid_entry,
            stub_stack_top,
            enclave_entry,
            entry_next,
            flush,
            blocks,
            vectors @ ..,
        ] = *words;
        Self {
            magic,
            version,
            entry,
            lstar,
            syscall_entry,
            cpuid_entry,
            stub_stack_top,
            enclave_entry,
            entry_next,
            flush,
            blocks,
            vectors,
        }
    }
}

/// Where things are in the image, told to the kernel at the start.
///
/// It lies in a page of its own (with the descriptor tables) behind the program's data. Nothing
/// in it depends on the machine or on the amount of memory, for it is measured.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartInfo {
    /// [`StartInfo::MAGIC`].
    pub magic: u64,
    /// [`StartInfo::VERSION`].
    pub version: u64,
    /// What is added to the addresses in the program's ELF file.
    pub program_base: u64,
    /// The program's first instruction (`AT_ENTRY`).
    pub program_entry: u64,
    /// Where the program's headers are (`AT_PHDR`).
    pub program_phdr: u64,
    /// Length of one program header (`AT_PHENT`).
    pub program_phent: u64,
    /// Number of program headers (`AT_PHNUM`).
    pub program_phnum: u64,
    /// First mapped byte of the read-and-execute region; on a chunk.
    pub text_start: u64,
    /// End of that region: [`KERNEL_DATA`](crate::KERNEL_DATA).
    pub text_end: u64,
    /// Physical address of `text_start`; the region is contiguous.
    pub text_phys: u64,
    /// First mapped byte of the read-and-write region: [`KERNEL_DATA`](crate::KERNEL_DATA).
    pub data_start: u64,
    /// End of what is mapped of that region, on a chunk. Bytes that the image does not fill are
    /// fresh memory and read as zero.
    pub data_end: u64,
    /// Physical address of `data_start`; the region is contiguous.
    pub data_phys: u64,
    /// First byte of the read-and-write region that nobody uses, on a page: the program break.
    pub brk_start: u64,
    /// Physical end of the image, on a chunk: memory from here on is free.
    pub image_end: u64,
    /// First of the trampolines that rewritten `syscall`s jump to.
    pub trampolines_start: u64,
    /// End of the trampolines.
    pub trampolines_end: u64,
    /// Physical address of the top-level page table.
    pub tables_root: u64,
    /// Physical address of the first free page for a page table; all up to
    /// [`TABLES_SIZE`](crate::TABLES_SIZE) are zero.
    pub tables_next: u64,
}

impl StartInfo {
    /// `KEEPINFO`, read as a little-endian word.
    pub const MAGIC: u64 = u64::from_le_bytes(*b"KEEPINFO");
    /// Changes with the meaning of any field.
    pub const VERSION: u64 = 1;
}

/// Converts between the struct and its words, which the kernel takes as they lie in memory; the fields
/// are named once, in that order.
#[cfg(feature = "host")]
macro_rules! words {
    ($($field:ident)*) => {
        impl StartInfo {
            /// Its length in words.
            pub const WORDS: usize = size_of::<Self>() / 8;

            /// The words in the order in which they lie in memory.
            pub fn to_words(&self) -> [u64; Self::WORDS] {
                [$(self.$field),*]
            }

            /// From the words in that order.
            pub fn from_words(&[$($field),*]: &[u64; Self::WORDS]) -> Self {
                Self { $($field),* }
            }
        }

        const _: () = {
            let mut at = 0;
            $(
                assert!(core::mem::offset_of!(StartInfo, $field) == at);
                at += 8;
            )*
            assert!(size_of::<StartInfo>() == at);
        };
    };
}

#[cfg(feature = "host")]
words! {
    magic version program_base program_entry program_phdr program_phent program_phnum
    text_start text_end text_phys data_start data_end data_phys brk_start image_end
    trampolines_start trampolines_end tables_root tables_next
}

#[cfg(feature = "host")]
const _: () = assert!(size_of::<KernelHeader>() == KernelHeader::WORDS * 8);
