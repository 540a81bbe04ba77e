// SPDX-License-Identifier: Apache-2.0

//! The firmware's part of a launch, and all parts put together.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use backend_kvm::machine::{self, Memory, Sizes, Slots, VmKeep};
use keep_backend::{BackendError, ClaimKind, Launched, Measurement, Program, Spec, host};
use keep_image::{Image, Start};
use keep_launch::Launch;
use keep_layout::{SHARED_PHYS, SHARED_SIZE};
use kvm_ioctls::Kvm;
use launch_keys::SevSignature;
use snp_guest::cpuid::Entry;
use snp_launch::{Options, Parameters, Plan, SignedId, Update};

use crate::cpuid;
use crate::firmware::Firmware;
#[cfg(feature = "testing")]
use crate::hypervisor::{Attack, Moment};
use crate::hypervisor::{C_BIT, Hypervisor, Register};
use crate::pages::Pages;
use crate::processor::{self, Cpu};

/// The digest that firmware would compute, and this one does.
pub(crate) fn measure(program: Program, image: &Image<'_>) -> Result<Measurement, BackendError> {
    let digest = plan(image)?.digest().map_err(unfit(program))?;
    let hex = digest.value().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Measurement {
        program,
        algorithm: "sha384/snp-launch-digest".into(),
        digest: hex,
        size: digest.size().normal,
    })
}

fn plan(image: &Image<'_>) -> Result<Plan, BackendError> {
    Plan::new(image, Options::default()).map_err(unfit(Program::Runtime))
}

fn unfit<E: std::fmt::Display>(program: Program) -> impl Fn(E) -> BackendError {
    move |error| BackendError::Image { program, problem: error.to_string() }
}

/// Builds a Keep from an image and makes it ready to run.
pub(crate) fn launch(image: &Image<'_>, spec: Spec) -> Result<Launched, BackendError> {
    build(image, spec, |_| {}).map(VmKeep::launched)
}

/// The same, with a hypervisor that attacks.
#[cfg(feature = "testing")]
pub(crate) fn launch_attacked(
    image: &Image<'_>,
    spec: Spec,
    mut attack: Attack,
) -> Result<Launched, BackendError> {
    let mut keep = build(image, spec, |entries| attack(Moment::CpuidPage(entries)))?;
    if let Some(cpu) = keep.processors().first() {
        processor::hypervisor(&cpu.hypervisor).attack = Some(attack);
    }
    Ok(keep.launched())
}

fn build(
    image: &Image<'_>,
    mut spec: Spec,
    change: impl FnOnce(&mut Vec<Entry>),
) -> Result<VmKeep<Cpu>, BackendError> {
    let unavailable = |error: kvm_ioctls::Error| BackendError::Unavailable {
        backend: crate::SnpSim::NAME,
        problem: format!("/dev/kvm: {}", io::Error::from(error)),
        remedy: "see `enarx platform info`".into(),
    };
    let kvm = Kvm::new().map_err(unavailable)?;
    let vm = machine::create_vm(&kvm, 0).map_err(host("create a virtual machine"))?;
    processor::prepare(&vm).map_err(host("serve the virtual machine's registers"))?;
    let sizes = machine::sizes(image, &spec)?;

    let plan = plan(image)?;
    let measurement = plan.digest().map_err(unfit(spec.program))?.value();
    let parameters = parameters(&mut spec)?;
    let signers = parameters.check(&measurement).map_err(|error| BackendError::Signature {
        code: error.code(),
        problem: error.to_string(),
    })?;
    let signer = spec.evidence.as_ref().and_then(|evidence| evidence.report_signer());
    let chip = spec.evidence.as_ref().and_then(|evidence| evidence.machine_secret());
    let firmware = Firmware::new(&measurement, &parameters, signers.as_ref(), signer, chip)
        .map_err(host("draw random numbers"))?;

    let shown = machine::shown_cpuid(&kvm);
    let best = shown.first().ok_or_else(|| BackendError::Host {
        what: "learn what the processor can do".into(),
        source: io::ErrorKind::Unsupported.into(),
    })?;
    let mut entries = cpuid::entries(best);
    change(&mut entries);
    let cpuid = cpuid::page(entries).map_err(|error| BackendError::Host {
        what: "describe the processor".into(),
        source: io::Error::other(error),
    })?;

    let memory = Memory::reserve(sizes.limit).map_err(host("reserve the Keep's memory"))?;
    let mut pages = Pages::default();
    load(&plan, &memory, &mut pages, firmware.secrets(), &cpuid)
        .map_err(host("load the Keep's image"))?;
    let mut slots = Slots::new(Arc::clone(&vm));
    let end = image.info().image_end;
    let shown_memory = slots
        .add(SHARED_PHYS, memory.shared(), 0, SHARED_SIZE)
        .and_then(|()| slots.add(C_BIT, memory.private(), 0, end));
    shown_memory.map_err(host("show the virtual machine its memory"))?;

    let start = Start { cr3: image.start().cr3 | C_BIT, ..*image.start() };
    let features: Vec<_> = shown.iter().filter_map(cpuid::of_cpu).collect();
    let cpus = (0..u64::from(spec.processors()))
        .map(|number| machine::create_cpu(&kvm, &vm, number, &start, &features))
        .collect::<io::Result<Vec<_>>>()
        .map_err(host("create a virtual CPU"))?;

    let given = Arc::new(AtomicU64::new(sizes.needed));
    let growth = Growth { given: Arc::clone(&given), limit: sizes.limit };
    let tsc = cpus.first().map_or(0, machine::tsc_khz);
    let connected = connect(spec, &memory, growth, &sizes, tsc)?;
    let hypervisor = Hypervisor {
        window: memory.window(),
        slots,
        private: Arc::clone(memory.private()),
        pages,
        firmware,
        given,
        #[cfg(feature = "testing")]
        attack: None,
    };
    let hypervisor = Arc::new(Mutex::new(hypervisor));
    let cpu = |cpu| Cpu {
        cpu,
        register: Register::default(),
        hypervisor: Arc::clone(&hypervisor),
        private: Arc::clone(memory.private()),
        root: image.start().cr3,
    };
    Ok(VmKeep::new(cpus.into_iter().map(cpu).collect(), connected, memory))
}

fn connect(
    spec: Spec,
    memory: &Memory,
    growth: Growth,
    sizes: &Sizes,
    tsc: u64,
) -> Result<machine::Connected, BackendError> {
    machine::connect(spec, memory.window(), Box::new(growth), sizes, tsc, ClaimKind::SnpReport)
}

/// What the launch tells the firmware beside the pages.
fn parameters(spec: &mut Spec) -> Result<Parameters, BackendError> {
    // What is no launch the program refuses.
    let workload = Launch::decode(&spec.launch).map(|launch| launch.workload()).unwrap_or_default();
    let Some(signatures) = spec.signatures.take() else { return Ok(Parameters::new(workload)) };
    let signature = SevSignature { id_block: signatures.id_block, id_auth: signatures.id_auth };
    let id = SignedId::new(&signature).map_err(|error| BackendError::Signature {
        code: error.code(),
        problem: error.to_string(),
    })?;
    Ok(Parameters::signed(workload, id))
}

/// Loads the pages of a launch.
fn load(
    plan: &Plan,
    memory: &Memory,
    pages: &mut Pages,
    secrets: &[u8; snp_guest::PAGE],
    cpuid: &[u8; snp_guest::PAGE],
) -> io::Result<()> {
    for (address, update) in plan.parts() {
        let bytes = match update {
            Update::Normal(bytes) => bytes,
            Update::Secrets => &secrets[..],
            Update::Cpuid => &cpuid[..],
            Update::Zero(length) => {
                pages.launched(address..address + length);
                continue;
            }
            // The virtual CPU's state has no address.
            _ => continue,
        };
        memory.private().write(address, bytes)?;
        pages.launched(address..address + bytes.len() as u64);
    }
    Ok(())
}

/// Counts the memory that a running Keep may have. It gets it when it has taken possession of it.
struct Growth {
    given: Arc<AtomicU64>,
    limit: u64,
}

impl keep_host::Memory for Growth {
    fn grow(&mut self, bytes: u64) -> io::Result<u64> {
        let now = self.given.load(Ordering::Relaxed);
        let Some(end) = now.checked_add(bytes).filter(|end| *end <= self.limit) else {
            return Err(io::Error::from(io::ErrorKind::OutOfMemory));
        };
        self.given.store(end, Ordering::Relaxed);
        Ok(end)
    }
}
