// SPDX-License-Identifier: Apache-2.0

//! What a machine needs to host a Keep in an enclave, and what to do where it is missing.
//!
//! From the bottom up: the processor, the kernel's driver, the function that enters, and the service that makes
//! quotes. Each datum is judged by a function of its own from what was read.

use std::io;
use std::path::Path;

use keep_backend::Datum;
use sgx_launch::Secs;
use sgx_launch::cpuid::{Capabilities, Registers, Section};
use sgx_launch::driver::DEVICE;
use sgx_launch::image::{BASE, SIZE};

use crate::aesm::SOCKET;

/// Looks at the machine.
pub(crate) fn probe() -> Vec<Datum> {
    let mut data = cpu(capabilities());
    data.push(pages(&sections()));
    let open = std::fs::File::options().read(true).write(true).open(DEVICE);
    data.push(driver(open.map(|_| ())));
    data.push(entry(crate::vdso::enter().is_some()));
    data.push(service(Path::new(SOCKET)));
    data
}

fn leaf(function: u32, index: u32) -> Registers {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    if __cpuid(function & 0x8000_0000).eax < function {
        return [0; 4];
    }
    let answer = __cpuid_count(function, index);
    [answer.eax, answer.ebx, answer.ecx, answer.edx]
}

/// What this processor offers.
pub(crate) fn capabilities() -> Option<Capabilities> {
    Capabilities::from_leaves(leaf(7, 0), leaf(0x12, 0), leaf(0x12, 1))
}

/// The frequency of the time stamp counter in kHz, if the processor says it and it never stops; else 0, and a
/// Keep asks the host for the time.
pub(crate) fn tsc_khz() -> u64 {
    khz(leaf(0x8000_0007, 0), leaf(0x15, 0))
}

/// From leaf 8000_0007h, whose EDX says in bit 8 that the counter never stops or changes, and leaf 15h: the
/// crystal's frequency in ECX, and the ratio of counter to crystal, EBX to EAX (SDM, volume 2, `CPUID`).
fn khz(power: Registers, ratio: Registers) -> u64 {
    let [denominator, numerator, crystal, _] = ratio.map(u64::from);
    if power[3] & 1 << 8 == 0 || denominator == 0 {
        return 0;
    }
    crystal * numerator / denominator / 1000
}

fn sections() -> Vec<Section> {
    if capabilities().is_none() {
        return Vec::new();
    }
    (2..32).map_while(|index| Section::from_leaf(leaf(0x12, index))).collect()
}

fn cpu(found: Option<Capabilities>) -> Vec<Datum> {
    let Some(found) = found else {
        let remedy = "switch on SGX in the firmware's setup (for servers: `SW Guard Extensions` enabled, with \
                      memory encryption on), or use another machine";
        return vec![Datum::fail("SGX Support", None, remedy)];
    };
    let older = "use another machine: this processor is too old";
    let is = |name: &str, there: bool, remedy: &str| match there {
        true => Datum::pass(name, None),
        false => Datum::fail(name, None, remedy),
    };
    let mut data = vec![
        Datum::pass("SGX Support", None),
        is("Version 1", found.sgx1, older),
        is("Version 2", found.sgx2, older),
        is(
            "FLC Support",
            found.launch_control,
            "switch on flexible launch control in the firmware's setup",
        ),
    ];
    data.push(match Secs::keep(BASE, SIZE, [0; 64]) {
        Ok(secs) => match secs.check(&found) {
            Ok(()) => Datum::pass("Enclaves of Keeps", format!("up to 2^{} bytes", found.max_size)),
            Err(error) => Datum::fail("Enclaves of Keeps", error.to_string(), older),
        },
        Err(error) => Datum::fail("Enclaves of Keeps", error.to_string(), older),
    });
    data
}

fn pages(sections: &[Section]) -> Datum {
    let size: u64 = sections.iter().map(|section| section.size).sum();
    match size {
        0 => Datum::fail(
            "EPC Size",
            None,
            "give enclaves memory in the firmware's setup (`PRMRR size`)",
        ),
        _ => Datum::pass("EPC Size", format!("{} MiB", size >> 20)),
    }
}

fn driver(opened: io::Result<()>) -> Datum {
    let Err(error) = opened else { return Datum::pass("Driver", DEVICE.to_owned()) };
    Datum::fail("Driver", format!("{DEVICE}: {error}"), no_driver(&error))
}

/// What to do if the device cannot be opened.
pub(crate) fn no_driver(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "use Linux 6.0 or later, built with CONFIG_X86_SGX, on a processor with SGX switched on; in a \
             container, pass the device in"
        }
        io::ErrorKind::PermissionDenied => {
            "add your user to the group that owns it (often `sgx`), and log in again"
        }
        _ => "see what the kernel says (`dmesg | grep -i sgx`)",
    }
}

fn entry(found: bool) -> Datum {
    match found {
        true => Datum::pass("Entry", "__vdso_sgx_enter_enclave".to_owned()),
        false => Datum::fail(
            "Entry",
            None,
            "use Linux 6.0 or later, built with CONFIG_X86_SGX, on a processor with SGX switched on; its vDSO \
             lacks __vdso_sgx_enter_enclave",
        ),
    }
}

/// The service that makes quotes.
fn service(socket: &Path) -> Datum {
    let name = "AESM Daemon Socket";
    let shown = socket.display().to_string();
    match std::os::unix::net::UnixStream::connect(socket) {
        Ok(_) => Datum::pass(name, shown),
        Err(error) => {
            let remedy = match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    "let your user connect to it: the group is often `aesmd`"
                }
                _ => {
                    "install and start Intel's service with its DCAP parts (`sgx-aesm-service`, \
                     `libsgx-aesm-quote-ex-plugin`, `libsgx-aesm-ecdsa-plugin`)"
                }
            };
            Datum::fail(name, format!("{shown}: {error}"), remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use sgx_guest::attributes::Attributes;

    use super::*;

    fn server() -> Capabilities {
        Capabilities {
            sgx1: true,
            sgx2: true,
            edeccssa: false,
            launch_control: true,
            misc_select: 1,
            attributes: Attributes { flags: 0xf6, xfrm: 0xe7 },
            max_size: 56,
        }
    }

    fn remedy(datum: &Datum) -> &str {
        assert!(!datum.pass, "{datum:?}");
        datum.remedy.as_deref().unwrap()
    }

    #[test]
    fn a_processor_says_what_it_offers() {
        let data = cpu(Some(server()));
        assert!(data.iter().all(|datum| datum.pass), "{data:?}");
        assert!(remedy(&cpu(None)[0]).contains("setup"));
        let failing = |found: Capabilities| {
            let data = cpu(Some(found));
            let names: Vec<_> =
                data.into_iter().filter(|one| !one.pass).map(|one| one.name).collect();
            names.join(", ")
        };
        assert_eq!(failing(Capabilities { sgx2: false, ..server() }), "Version 2");
        assert_eq!(failing(Capabilities { launch_control: false, ..server() }), "FLC Support");
        assert_eq!(failing(Capabilities { max_size: 36, ..server() }), "Enclaves of Keeps");
        // Without KSS there is no workload in a report.
        let without = Attributes { flags: 0x76, xfrm: 0xe7 };
        assert_eq!(failing(Capabilities { attributes: without, ..server() }), "Enclaves of Keeps");
    }

    #[test]
    fn the_counter_s_frequency_is_the_processor_s_word() {
        let invariant = [0, 0, 0, 1 << 8];
        // A Xeon of the third generation: 25 MHz, 184 to 2.
        assert_eq!(khz(invariant, [2, 184, 25_000_000, 0]), 2_300_000);
        assert_eq!(khz([0; 4], [2, 184, 25_000_000, 0]), 0);
        assert_eq!(khz(invariant, [0, 184, 25_000_000, 0]), 0);
        assert_eq!(khz(invariant, [2, 184, 0, 0]), 0);
        assert_eq!(khz(invariant, [1, u32::MAX, u32::MAX, 0]) >> 55, 0);
    }

    #[test]
    fn memory_driver_and_service_are_told_apart() {
        assert!(remedy(&pages(&[])).contains("PRMRR"));
        let section = Section { base: 1 << 32, size: 64 << 20 };
        assert_eq!(pages(&[section, section]).info.as_deref(), Some("128 MiB"));
        assert!(driver(Ok(())).pass);
        assert!(remedy(&driver(Err(io::ErrorKind::NotFound.into()))).contains("CONFIG_X86_SGX"));
        assert!(remedy(&driver(Err(io::ErrorKind::PermissionDenied.into()))).contains("group"));
        assert!(remedy(&entry(false)).contains("vDSO"));
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("aesm.socket");
        assert!(remedy(&service(&socket)).contains("sgx-aesm-service"));
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(service(&socket).pass);
    }

    #[test]
    fn this_machine_is_looked_at() {
        let data = probe();
        assert_eq!(data.iter().filter(|datum| datum.name == "Driver").count(), 1);
        assert!(data.iter().all(|datum| datum.pass != datum.remedy.is_some()), "{data:?}");
    }
}
