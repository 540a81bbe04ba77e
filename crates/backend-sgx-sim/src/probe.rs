// SPDX-License-Identifier: Apache-2.0

//! What a machine needs to play enclaves, and what to do where it is missing.

use keep_backend::Datum;

/// Looks at the machine.
pub(crate) fn probe() -> Vec<Datum> {
    vec![avx(), fsgsbase(), random(), cpuid()]
}

/// A Keep's enclave has AVX, and the signal's frame its state.
fn avx() -> Datum {
    let found = std::arch::is_x86_feature_detected!("avx");
    let remedy = "the processor has no AVX; use another machine, or `--backend nil`";
    if found { Datum::pass("AVX", None) } else { Datum::fail("AVX", None, remedy) }
}

/// The machine of a Keep changes the bases of FS and GS in a handler of signals.
fn fsgsbase() -> Datum {
    /// `HWCAP2_FSGSBASE`: the kernel lets programs do that.
    const FSGSBASE: libc::c_ulong = 1 << 1;
    // SAFETY: has no preconditions.
    let found = unsafe { libc::getauxval(libc::AT_HWCAP2) } & FSGSBASE != 0;
    let remedy = "the processor has no FSGSBASE (before 2012), or Linux is older than 5.9; \
                  use another machine, or `--backend nil`";
    if found { Datum::pass("FSGSBASE", None) } else { Datum::fail("FSGSBASE", None, remedy) }
}

/// A Keep draws its random numbers from the processor.
fn random() -> Datum {
    let found = std::arch::is_x86_feature_detected!("rdrand");
    let remedy = "the processor has no random number generator; use another machine";
    if found { Datum::pass("RDRAND", None) } else { Datum::fail("RDRAND", None, remedy) }
}

/// Says whether one difference to hardware is there; the backend works without.
fn cpuid() -> Datum {
    const ARCH_GET_CPUID: libc::c_int = 0x1011;
    const ARCH_SET_CPUID: libc::c_int = 0x1012;
    // SAFETY: asks, and then sets what is so already, to see whether it can be set at all.
    let can = unsafe {
        let now = libc::syscall(libc::SYS_arch_prctl, ARCH_GET_CPUID, 0);
        now == 1 && libc::syscall(libc::SYS_arch_prctl, ARCH_SET_CPUID, 1) == 0
    };
    let info = match can {
        true => "an exception in the enclave, as on hardware",
        false => "answered in the enclave; on hardware it is an exception",
    };
    Datum::pass("CPUID", info.to_owned())
}
