// SPDX-License-Identifier: Apache-2.0

//! What a machine needs to host a virtual machine Keep, and what to do where it is missing.

use std::io;

use keep_backend::Datum;
use kvm_ioctls::{Cap, Kvm};

const DEVICE: &str = "/dev/kvm";

/// The one version of the interface there ever was (`Documentation/virt/kvm/api.rst`, 4.1).
const API_VERSION: i32 = 12;

/// Looks at the machine.
pub(crate) fn probe() -> Vec<Datum> {
    let mut data = Vec::new();
    match Kvm::new() {
        Ok(kvm) => {
            data.push(Datum::pass("Driver", DEVICE.to_owned()));
            data.push(api_version(&kvm));
            data.push(capabilities(&kvm));
        }
        Err(error) => data.push(no_driver(&error.into())),
    }
    data.push(random());
    data.push(fsgsbase());
    data
}

/// Why [`DEVICE`] cannot be opened.
pub(crate) fn no_driver(error: &io::Error) -> Datum {
    let info = format!("{DEVICE}: {error}");
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => {
            "switch on virtualisation in the firmware and load the module \
             (`modprobe kvm_intel` or `modprobe kvm_amd`); in a container, pass the device in; \
             or use `--backend nil`"
        }
        io::ErrorKind::PermissionDenied => {
            "add your user to the group that owns it (`sudo usermod -aG kvm $USER`, then log in \
             again), or use `--backend nil`"
        }
        _ => "see what the kernel says (`dmesg | grep kvm`), or use `--backend nil`",
    };
    Datum::fail("Driver", info, remedy)
}

fn api_version(kvm: &Kvm) -> Datum {
    let version = kvm.get_api_version();
    if version == API_VERSION {
        Datum::pass("API version", version.to_string())
    } else {
        Datum::fail("API version", version.to_string(), "update the host's Linux")
    }
}

fn capabilities(kvm: &Kvm) -> Datum {
    let needed = [
        (Cap::UserMemory, "user memory"),
        (Cap::ImmediateExit, "immediate exit"),
        (Cap::SetTssAddr, "task state segment"),
    ];
    let missing: Vec<_> =
        needed.into_iter().filter(|(cap, _)| !kvm.check_extension(*cap)).map(|c| c.1).collect();
    if missing.is_empty() {
        Datum::pass("Capabilities", None)
    } else {
        Datum::fail("Capabilities", missing.join(", "), "update the host's Linux")
    }
}

/// A Keep draws its random numbers from the processor.
fn random() -> Datum {
    // A virtual CPU shows the host's instruction to ring 3.
    let found = std::arch::is_x86_feature_detected!("rdrand");
    let remedy = "the processor has no random number generator; use another machine";
    if found { Datum::pass("RDRAND", None) } else { Datum::fail("RDRAND", None, remedy) }
}

/// A Keep sets its thread pointer by `wrfsbase`.
fn fsgsbase() -> Datum {
    // CPUID leaf 7, EBX bit 0 (Intel SDM volume 2, CPUID).
    let highest = std::arch::x86_64::__cpuid(0).eax;
    let found = highest >= 7 && std::arch::x86_64::__cpuid_count(7, 0).ebx & 1 != 0;
    let remedy = "the processor has no FSGSBASE (before 2012); use another machine";
    if found { Datum::pass("FSGSBASE", None) } else { Datum::fail("FSGSBASE", None, remedy) }
}
