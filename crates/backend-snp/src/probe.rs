// SPDX-License-Identifier: Apache-2.0

//! What a machine needs to host a Keep on SEV-SNP, and what to do where it is missing.
//!
//! From the bottom up: the processor, what its firmware lets it do, the kernel, and the firmware of the
//! security processor. Each datum is judged by a function of its own from what was read.

use std::fs;
use std::io;

use keep_backend::Datum;
use kvm_bindings::{
    KVM_CAP_EXIT_HYPERCALL, KVM_CAP_GUEST_MEMFD, KVM_CAP_MEMORY_ATTRIBUTES, KVM_CAP_USER_MEMORY2,
    KVM_CAP_VM_TYPES, KVM_MEMORY_ATTRIBUTE_PRIVATE, KVM_X86_SNP_VM,
};
use kvm_ioctls::Kvm;
use snp_guest::cpuid::Answer;
use snp_launch::{Options, Policy};
use vendor_kds::device::{self, DeviceError, Status};

use crate::cpuid::encryption;
use crate::processor::HC_MAP_GPA_RANGE;

const KVM: &str = "/dev/kvm";
const MODULE: &str = "/sys/module/kvm_amd/parameters/sev_snp";

/// Looks at the machine.
pub(crate) fn probe() -> Vec<Datum> {
    let mut data = vec![cpu(device::product().map(|product| product.as_str()))];
    data.extend(encrypts(encryption_leaf()));
    data.push(module(fs::read_to_string(MODULE)));
    match Kvm::new() {
        Ok(kvm) => {
            data.push(Datum::pass("Driver", KVM.to_owned()));
            let number = |cap: u32| kvm.check_extension_raw(cap.into());
            data.push(machines(number(KVM_CAP_VM_TYPES)));
            data.push(capabilities(number));
        }
        Err(error) => data.push(no_driver(&error.into())),
    }
    data.push(firmware(device::platform().map(|platform| platform.status)));
    data
}

/// What this processor says of memory encryption; zeros if it has no such function.
pub(crate) fn encryption_leaf() -> Answer {
    use std::arch::x86_64::__cpuid;
    if __cpuid(0x8000_0000).eax < encryption::LEAF {
        return Answer::default();
    }
    let leaf = __cpuid(encryption::LEAF);
    Answer { eax: leaf.eax, ebx: leaf.ebx, ecx: leaf.ecx, edx: leaf.edx }
}

/// The C-bit of this processor; the one of all of them so far where it says nothing.
pub(crate) fn c_bit() -> u8 {
    match encryption_leaf() {
        Answer { eax, .. } if eax & encryption::SEV == 0 => Options::C_BIT,
        Answer { ebx, .. } => (ebx & 0x3f) as u8,
    }
}

fn cpu(product: Result<&'static str, DeviceError>) -> Datum {
    match product {
        Ok(name) => Datum::pass("CPU", format!("AMD EPYC, {name}")),
        Err(error) => {
            let remedy = "SEV-SNP takes an EPYC of the 7003, 8004, 9004 or 9005 series; use another \
                          machine";
            Datum::fail("CPU", whole(&error), remedy)
        }
    }
}

/// What the processor can, and what its firmware has set aside for it.
fn encrypts(leaf: Answer) -> Vec<Datum> {
    let Answer { eax, ebx, ecx, edx } = leaf;
    let named = [
        (encryption::SEV, "SEV"),
        (encryption::SEV_ES, "SEV-ES"),
        (encryption::SEV_SNP, "SEV-SNP"),
    ];
    let missing: Vec<_> = named.iter().filter(|(bit, _)| eax & bit == 0).map(|one| one.1).collect();
    let mut data = Vec::new();
    if missing.is_empty() {
        data.push(Datum::pass("SEV-SNP", None));
    } else {
        let remedy = "switch on SEV, SEV-ES and SEV-SNP (with SNP memory coverage, and a number of \
                      SEV-ES addresses above 1) in the firmware's setup, or use another machine";
        data.push(Datum::fail("SEV-SNP", format!("no {}", missing.join(", ")), remedy));
        return data;
    }
    data.push(Datum::pass("C-bit location", (ebx & 0x3f).to_string()));
    data.push(Datum::pass("Physical address bit reduction", (ebx >> 6 & 0x3f).to_string()));
    let flushes = if eax & encryption::PAGE_FLUSH != 0 { "yes" } else { "no" };
    data.push(Datum::pass("Page flush register", flushes.to_owned()));
    // Address space numbers from 1 to ECX; those from EDX on are for SEV alone (APM volume 3, E.4.17).
    let guests = edx.saturating_sub(1).min(ecx);
    data.push(match guests {
        0 => {
            let remedy =
                "give SEV-ES more addresses in the firmware's setup (`Minimum SEV non-ES ASID`)";
            Datum::fail("Number of guests", "0".to_owned(), remedy)
        }
        _ => Datum::pass("Number of guests", guests.to_string()),
    });
    data
}

fn module(value: io::Result<String>) -> Datum {
    let name = "SEV-SNP in the kernel";
    let remedy = "use Linux 6.11 or later, and load the module with it: `kvm_amd.sev_snp=1` on the \
                  kernel's command line, without `iommu=pt` or anything else that `dmesg | grep -i -e sev \
                  -e ccp` complains of";
    match value.as_deref().map(str::trim) {
        Ok("Y" | "1") => Datum::pass(name, MODULE.to_owned()),
        Ok(other) => Datum::fail(name, format!("{MODULE}: {other}"), remedy),
        Err(error) => Datum::fail(name, format!("{MODULE}: {error}"), remedy),
    }
}

/// Why [`KVM`] cannot be opened.
pub(crate) fn no_driver(error: &io::Error) -> Datum {
    let info = format!("{KVM}: {error}");
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => {
            "switch on virtualisation in the firmware's setup and load the module (`modprobe kvm_amd`); in a \
             container, pass the device in"
        }
        io::ErrorKind::PermissionDenied => {
            "add your user to the group that owns it (`sudo usermod -aG kvm $USER`, then log in again)"
        }
        _ => "see what the kernel says (`dmesg | grep kvm`)",
    };
    Datum::fail("Driver", info, remedy)
}

/// Which kinds of virtual machines there are; below 0 if the kernel does not know the question.
fn machines(types: i32) -> Datum {
    let name = "Virtual machines with SEV-SNP";
    if types > 0 && types & 1 << KVM_X86_SNP_VM != 0 {
        return Datum::pass(name, None);
    }
    let remedy = "use Linux 6.11 or later on a machine whose processor and kernel have SEV-SNP on: see the \
                  lines above";
    Datum::fail(name, format!("KVM_CAP_VM_TYPES {types:#x}"), remedy)
}

fn capabilities(number: impl Fn(u32) -> i32) -> Datum {
    let at_all = i32::MAX;
    let needed = [
        (KVM_CAP_USER_MEMORY2, at_all, "KVM_SET_USER_MEMORY_REGION2"),
        (KVM_CAP_GUEST_MEMFD, at_all, "KVM_CREATE_GUEST_MEMFD"),
        (
            KVM_CAP_MEMORY_ATTRIBUTES,
            KVM_MEMORY_ATTRIBUTE_PRIVATE.cast_signed(),
            "private memory attributes",
        ),
        (KVM_CAP_EXIT_HYPERCALL, 1 << HC_MAP_GPA_RANGE, "exits of page state changes"),
    ];
    let missing: Vec<_> = needed
        .into_iter()
        .filter(|(cap, bits, _)| number(*cap).max(0) & bits == 0)
        .map(|(_, _, name)| name)
        .collect();
    match missing.is_empty() {
        true => Datum::pass("Capabilities", None),
        false => Datum::fail(
            "Capabilities",
            missing.join(", "),
            "use Linux 6.11 or later, built with CONFIG_KVM_AMD_SEV, on a machine with SEV-SNP on",
        ),
    }
}

/// What the security processor says.
fn firmware(status: Result<Status, DeviceError>) -> Datum {
    let name = "Firmware";
    let status = match status {
        Ok(status) => status,
        Err(error) => {
            let remedy = match &error {
                DeviceError::Cpu(_) => "it is asked on AMD's processors alone",
                DeviceError::Open { source, .. }
                    if source.kind() == io::ErrorKind::PermissionDenied =>
                {
                    "let your user read and write it: a udev rule, or `sudo chgrp kvm /dev/sev && sudo \
                     chmod 660 /dev/sev`"
                }
                DeviceError::Open { .. } => {
                    "load the module of the security processor (`modprobe ccp`); in a container, pass \
                     /dev/sev in"
                }
                _ => {
                    "see what the kernel says (`dmesg | grep -e ccp -e SEV`), and update the machine's \
                      firmware"
                }
            };
            return Datum::fail(name, whole(&error), remedy);
        }
    };
    let (major, minor) = status.api;
    let info = format!("{major}.{minor}.{}, {} guests", status.build, status.guests);
    if status.api < Policy::KEEP.abi() {
        let (major, minor) = Policy::KEEP.abi();
        let remedy = format!("update it: a Keep's policy asks for {major}.{minor} or later");
        return Datum::fail(name, info, remedy);
    }
    if status.state == 0 || !status.rmp_initialized {
        let remedy = "SEV-SNP is not initialised: see what the kernel says (`dmesg | grep -i -e sev -e rmp`)";
        return Datum::fail(name, info, remedy);
    }
    Datum::pass(name, info)
}

/// An error with its causes, in one line.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(one) = cause {
        text += &format!(": {one}");
        cause = one.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILAN: Answer = Answer { eax: 0x0101_fd3f, ebx: 0x4173, ecx: 0x1fd, edx: 0x80 };

    fn remedy(datum: &Datum) -> &str {
        assert!(!datum.pass, "{datum:?}");
        datum.remedy.as_deref().unwrap()
    }

    #[test]
    fn a_processor_says_what_it_encrypts() {
        let data = encrypts(MILAN);
        assert!(data.iter().all(|datum| datum.pass), "{data:?}");
        let info: Vec<_> = data.iter().filter_map(|datum| datum.info.as_deref()).collect();
        assert_eq!(info, ["51", "5", "yes", "127"]);
        let without = encrypts(Answer { eax: MILAN.eax & !encryption::SEV_SNP, ..MILAN });
        assert_eq!(without.len(), 1);
        assert_eq!(without[0].info.as_deref(), Some("no SEV-SNP"));
        assert!(remedy(&without[0]).contains("setup"));
        assert_eq!(encrypts(Answer::default())[0].info.as_deref(), Some("no SEV, SEV-ES, SEV-SNP"));
        let none = encrypts(Answer { edx: 1, ..MILAN });
        assert!(remedy(none.last().unwrap()).contains("ASID"));
    }

    #[test]
    fn a_kernel_says_what_it_can() {
        assert!(module(Ok("Y\n".into())).pass);
        assert!(remedy(&module(Ok("N\n".into()))).contains("kvm_amd.sev_snp=1"));
        assert!(remedy(&module(Err(io::ErrorKind::NotFound.into()))).contains("6.11"));
        assert!(machines(0b1_1101).pass);
        for types in [-1, 0, 0b101] {
            assert!(remedy(&machines(types)).contains("6.11"), "{types}");
        }
        let all = |cap: u32| match cap {
            KVM_CAP_MEMORY_ATTRIBUTES => 8,
            KVM_CAP_EXIT_HYPERCALL => 1 << 12,
            _ => 1,
        };
        assert!(capabilities(all).pass);
        let old = capabilities(|cap| if cap == KVM_CAP_GUEST_MEMFD { 0 } else { all(cap) });
        assert_eq!(old.info.as_deref(), Some("KVM_CREATE_GUEST_MEMFD"));
        assert_eq!(capabilities(|_| -1).info.unwrap().split(", ").count(), 4);
    }

    #[test]
    fn firmware_is_new_enough_and_ready() {
        let mut raw = [0; device::STATUS_SIZE];
        raw[..5].copy_from_slice(&[1, 55, 1, 1, 21]);
        let good = Status::parse(&raw);
        assert_eq!(firmware(Ok(good)).info.as_deref(), Some("1.55.21, 0 guests"));
        assert!(firmware(Ok(good)).pass);
        assert!(remedy(&firmware(Ok(Status { api: (1, 50), ..good }))).contains("1.51 or later"));
        assert!(remedy(&firmware(Ok(Status { state: 0, ..good }))).contains("rmp"));
        assert!(remedy(&firmware(Ok(Status { rmp_initialized: false, ..good }))).contains("rmp"));
        let open = |kind: io::ErrorKind| {
            firmware(Err(DeviceError::Open { path: "/dev/sev".into(), source: kind.into() }))
        };
        assert!(remedy(&open(io::ErrorKind::PermissionDenied)).contains("udev"));
        assert!(remedy(&open(io::ErrorKind::NotFound)).contains("modprobe ccp"));
    }

    #[test]
    fn this_machine_is_looked_at() {
        let data = probe();
        assert_eq!(data.iter().filter(|datum| datum.name == "Driver").count(), 1);
        assert!(data.iter().all(|datum| datum.pass != datum.remedy.is_some()), "{data:?}");
    }
}
