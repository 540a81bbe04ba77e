// SPDX-License-Identifier: Apache-2.0

//! A virtual processor's state as the hardware loads it: the *VM save area*.
//!
//! One page for each processor. The host makes the first one at the launch, where it is measured;
//! a Keep makes those of further processors itself. Layout: APM, appendix B, table B-4. What a Keep
//! never sets (shadow stacks, debug registers' masks, branch records, exit information, contents of
//! floating-point registers) is zero and has no field here.

use crate::PAGE;
use crate::bytes;

/// A segment register, or a descriptor table's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Segment {
    /// Selector.
    pub selector: u16,
    /// Attributes: bits 40 to 47 of a descriptor in bits 0 to 7, its bits 52 to 55 in bits 8 to 11.
    pub attributes: u16,
    /// Last byte; in bytes whatever the granularity.
    pub limit: u32,
    /// First byte.
    pub base: u64,
}

/// A number in little-endian bytes.
trait Field: Default {
    fn read(page: &[u8; PAGE], at: usize) -> Self;
    fn write(self, page: &mut [u8; PAGE], at: usize);
}

macro_rules! number {
    ($($type:ty)*) => {$(
        impl Field for $type {
            fn read(page: &[u8; PAGE], at: usize) -> Self {
                Self::from_le_bytes(bytes::get(page, at))
            }
            fn write(self, page: &mut [u8; PAGE], at: usize) {
                bytes::put(page, at, self.to_le_bytes());
            }
        }
    )*};
}

number!(u8 u16 u32 u64);

impl Field for Segment {
    fn read(page: &[u8; PAGE], at: usize) -> Self {
        Self {
            selector: Field::read(page, at),
            attributes: Field::read(page, at + 2),
            limit: Field::read(page, at + 4),
            base: Field::read(page, at + 8),
        }
    }

    fn write(self, page: &mut [u8; PAGE], at: usize) {
        self.selector.write(page, at);
        self.attributes.write(page, at + 2);
        self.limit.write(page, at + 4);
        self.base.write(page, at + 8);
    }
}

/// Declares the struct; the fields, their offsets and types are named once.
macro_rules! save_area {
    ($($name:ident: $type:ty = $at:literal, $doc:literal;)*) => {
        /// What a save area holds. The default is all zeros, which no processor starts from: see
        /// [`Vmsa::reset`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Vmsa {
            $(#[doc = $doc] pub $name: $type,)*
        }

        impl Vmsa {
            /// Each field: name, offset and size in bytes.
            pub const FIELDS: &[(&str, usize, usize)] =
                &[$((stringify!($name), $at, size_of::<$type>())),*];

            /// The page.
            pub fn write(&self, page: &mut [u8; PAGE]) {
                page.fill(0);
                $(self.$name.write(page, $at);)*
            }

            fn read_fields(page: &[u8; PAGE]) -> Self {
                Self { $($name: Field::read(page, $at)),* }
            }
        }
    };
}

save_area! {
    es: Segment = 0x000, "`ES`.";
    cs: Segment = 0x010, "`CS`.";
    ss: Segment = 0x020, "`SS`.";
    ds: Segment = 0x030, "`DS`.";
    fs: Segment = 0x040, "`FS`.";
    gs: Segment = 0x050, "`GS`.";
    gdtr: Segment = 0x060, "Global descriptor table: base and limit.";
    ldtr: Segment = 0x070, "Local descriptor table.";
    idtr: Segment = 0x080, "Interrupt descriptor table: base and limit.";
    tr: Segment = 0x090, "Task state segment.";
    vmpl: u8 = 0x0ca, "Privilege level among the guest's own, 0 to 3.";
    cpl: u8 = 0x0cb, "Current ring.";
    efer: u64 = 0x0d0, "`EFER`.";
    xss: u64 = 0x140, "`IA32_XSS`.";
    cr4: u64 = 0x148, "`CR4`.";
    cr3: u64 = 0x150, "`CR3`.";
    cr0: u64 = 0x158, "`CR0`.";
    dr7: u64 = 0x160, "`DR7`.";
    dr6: u64 = 0x168, "`DR6`.";
    rflags: u64 = 0x170, "`RFLAGS`.";
    rip: u64 = 0x178, "`RIP`.";
    rsp: u64 = 0x1d8, "`RSP`.";
    rax: u64 = 0x1f8, "`RAX`.";
    star: u64 = 0x200, "`STAR`.";
    lstar: u64 = 0x208, "`LSTAR`.";
    cstar: u64 = 0x210, "`CSTAR`.";
    sfmask: u64 = 0x218, "`SFMASK`.";
    kernel_gs_base: u64 = 0x220, "`KernelGSbase`.";
    sysenter_cs: u64 = 0x228, "`SYSENTER_CS`.";
    sysenter_esp: u64 = 0x230, "`SYSENTER_ESP`.";
    sysenter_eip: u64 = 0x238, "`SYSENTER_EIP`.";
    cr2: u64 = 0x240, "`CR2`.";
    g_pat: u64 = 0x268, "`PAT`.";
    dbgctl: u64 = 0x270, "`DBGCTL`.";
    pkru: u32 = 0x2e8, "`PKRU`.";
    tsc_aux: u32 = 0x2ec, "`TSC_AUX`.";
    rcx: u64 = 0x308, "`RCX`.";
    rdx: u64 = 0x310, "`RDX`.";
    rbx: u64 = 0x318, "`RBX`.";
    rbp: u64 = 0x328, "`RBP`.";
    rsi: u64 = 0x330, "`RSI`.";
    rdi: u64 = 0x338, "`RDI`.";
    r8: u64 = 0x340, "`R8`.";
    r9: u64 = 0x348, "`R9`.";
    r10: u64 = 0x350, "`R10`.";
    r11: u64 = 0x358, "`R11`.";
    r12: u64 = 0x360, "`R12`.";
    r13: u64 = 0x368, "`R13`.";
    r14: u64 = 0x370, "`R14`.";
    r15: u64 = 0x378, "`R15`.";
    sev_features: u64 = 0x3b0, "`SEV_FEATURES`: see [`features`].";
    virtual_tom: u64 = 0x3c8, "`VIRTUAL_TOM`.";
    xcr0: u64 = 0x3e8, "`XCR0`.";
    mxcsr: u32 = 0x408, "`MXCSR`.";
    x87_ftw: u16 = 0x40c, "x87 tags.";
    x87_fsw: u16 = 0x40e, "x87 status.";
    x87_fcw: u16 = 0x410, "x87 control.";
}

/// Bits of `SEV_FEATURES` (APM, table B-4).
pub mod features {
    /// SEV-SNP is on. A launch needs it.
    pub const SNP_ACTIVE: u64 = 1 << 0;
    /// Addresses below a boundary are private, above it shared, instead of a C-bit.
    pub const VTOM: u64 = 1 << 1;
    /// `#VC` goes to a more privileged level.
    pub const REFLECT_VC: u64 = 1 << 2;
    /// The hypervisor may inject one exception only.
    pub const RESTRICTED_INJECTION: u64 = 1 << 3;
    /// The hypervisor may inject nothing.
    pub const ALTERNATE_INJECTION: u64 = 1 << 4;
    /// Debug registers are the guest's own.
    pub const DEBUG_SWAP: u64 = 1 << 5;
}

/// `EFER.SVME`. Hardware refuses a save area without it.
pub const EFER_SVME: u64 = 1 << 12;

impl Vmsa {
    /// What a processor has after a reset wherever software rarely sets it: debug registers,
    /// `RFLAGS`, `PAT`, x87 and SSE control, `XCR0`. SEV-SNP is on.
    #[must_use]
    pub fn reset() -> Self {
        Self {
            efer: EFER_SVME,
            dr6: 0xffff_0ff0,
            dr7: 0x400,
            rflags: 0x2,
            g_pat: 0x0007_0406_0007_0406,
            sev_features: features::SNP_ACTIVE,
            xcr0: 1,
            mxcsr: 0x1f80,
            x87_fcw: 0x37f,
            ..Self::default()
        }
    }

    /// Reads a page; none if anything is set that has no field here.
    #[must_use]
    pub fn read(page: &[u8; PAGE]) -> Option<Self> {
        let vmsa = Self::read_fields(page);
        let mut again = [0; PAGE];
        vmsa.write(&mut again);
        (again == *page).then_some(vmsa)
    }
}
