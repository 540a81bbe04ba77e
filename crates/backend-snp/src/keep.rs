// SPDX-License-Identifier: Apache-2.0

//! A Keep from launch to end. What it has in common with each virtual machine is the `kvm` backend's.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use backend_kvm::machine::{self, Processor, VmKeep};
use keep_backend::{
    BackendError, ClaimKind, Launched, Measurement, Program, Signatures, Spec, host,
};
use keep_launch::Launch;
use kvm_bindings::{
    CpuId, KVM_CAP_EXIT_HYPERCALL, KVM_MAX_CPUID_ENTRIES, KVM_X86_SNP_VM, kvm_cpuid_entry2,
    kvm_enable_cap, kvm_sev_cmd, kvm_sev_init, kvm_sev_snp_launch_finish, kvm_sev_snp_launch_start,
    kvm_sev_snp_launch_update, sev_cmd_id_KVM_SEV_INIT2, sev_cmd_id_KVM_SEV_SNP_LAUNCH_FINISH,
    sev_cmd_id_KVM_SEV_SNP_LAUNCH_START, sev_cmd_id_KVM_SEV_SNP_LAUNCH_UPDATE,
};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use launch_keys::SevSignature;
use snp_launch::{Options, Parameters, Plan, SignedId, Vmsa};

use crate::cpuid::encryption;
use crate::memory::{self, Mapping, Memory, Owners};
use crate::probe;
use crate::processor::{self, Exit, HC_MAP_GPA_RANGE, INTERRUPT};
use crate::request::{self, Failure, Firmware, NOT_ASKED};

/// The device of the security processor.
const SEV: &str = "/dev/sev";

/// The GHCB protocol that a Keep speaks.
const GHCB_VERSION: u16 = 2;

/// Exits in a row that only change pages after which the host does not believe that the Keep gets on. A Keep
/// takes memory chunk by chunk.
const CHANGES: u32 = 1 << 20;

/// The plan of a program's image, with its launch digest.
fn plan(
    program: Program,
    options: Options,
) -> Result<(Plan, snp_launch::LaunchDigest), BackendError> {
    let problem =
        |error: &dyn std::error::Error| BackendError::Image { program, problem: error.to_string() };
    let plan = Plan::new(&machine::image(program)?, options).map_err(|error| problem(&error))?;
    let digest = plan.digest().map_err(|error| problem(&error))?;
    Ok((plan, digest))
}

pub(crate) fn measure(program: Program) -> Result<Measurement, BackendError> {
    let (_, digest) = plan(program, Options { c_bit: probe::c_bit(), ..Options::default() })?;
    let hex = digest.value().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Measurement {
        program,
        algorithm: "sha384/snp-launch-digest".into(),
        digest: hex,
        size: digest.size().measured(),
    })
}

/// What the firmware is told, held against what it will check.
fn parameters(
    workload: [u8; 32],
    signatures: Option<&Signatures>,
    digest: &[u8; 48],
) -> Result<Parameters, BackendError> {
    let refused = |error: snp_launch::ParameterError| BackendError::Signature {
        code: error.code(),
        problem: error.to_string(),
    };
    let parameters = match signatures {
        None => Parameters::new(workload),
        Some(Signatures { id_block, id_auth, .. }) => {
            let signature = SevSignature { id_block: id_block.clone(), id_auth: id_auth.clone() };
            Parameters::signed(workload, SignedId::new(&signature).map_err(refused)?)
        }
    };
    parameters.check(digest).map_err(refused)?;
    Ok(parameters)
}

/// Builds a Keep and makes it ready to run. What can be refused without a machine is refused first.
pub(crate) fn launch(mut spec: Spec) -> Result<Launched, BackendError> {
    let program = spec.program;
    let (plan, digest) = plan(program, Options { c_bit: probe::c_bit(), ..Options::default() })?;
    let workload = Launch::decode(&spec.launch).map(|launch| launch.workload()).unwrap_or_default();
    let parameters = parameters(workload, spec.signatures.take().as_ref(), &digest.value())?;

    let kvm = Kvm::new().map_err(|error| unavailable(&error.into()))?;
    let sev = File::options().read(true).write(true).open(SEV).map_err(host("open /dev/sev"))?;
    let vm = machine::create_vm(&kvm, KVM_X86_SNP_VM.into())
        .map_err(host("create a virtual machine with SEV-SNP"))?;
    let mut platform = Platform { vm: Arc::clone(&vm), sev };
    platform.init().map_err(|error| failed("KVM_SEV_INIT2", error))?;
    let mut exits = kvm_enable_cap { cap: KVM_CAP_EXIT_HYPERCALL, ..Default::default() };
    exits.args[0] = 1 << HC_MAP_GPA_RANGE;
    vm.enable_cap(&exits)
        .map_err(|error| host("have page state changes come to us")(error.into()))?;

    let sizes = machine::sizes(&machine::image(program)?, &spec)?;
    let (memory, growth) = Memory::new(&vm, &sizes).map_err(host("reserve the Keep's memory"))?;
    let supported = kvm
        .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .map_err(|error| host("ask what processors of guests can")(error.into()))?;
    // All of them, for each is measured; how many are started is another matter.
    let cpus =
        (0..).zip(plan.vmsas()).map(|(number, vmsa)| create_cpu(&vm, number, &supported, vmsa));
    let cpus = cpus.collect::<io::Result<Vec<_>>>().map_err(host("create a virtual processor"))?;

    let page = crate::cpuid::page(supported.as_slice(), probe::encryption_leaf())
        .map_err(|error| host("say what the processor can")(io::Error::other(error)))?;
    let mut staging = memory::staging().map_err(host("reserve memory for the launch"))?;
    let done = request::launch(&mut platform, &mut staging, &plan, &page, &parameters)
        .map_err(|error| host("launch the Keep on SEV-SNP")(io::Error::other(error)))?;
    tracing::debug!(corrected = done.corrected, "launched");

    let tsc = cpus.first().map_or(0, machine::tsc_khz);
    let (window, growth) = (memory.window(), Box::new(growth));
    let connected = machine::connect(spec, window, growth, &sizes, tsc, ClaimKind::SnpReport)?;
    let owners = Arc::new(Mutex::new(memory.owners()));
    let cpu = |cpu| Cpu { cpu, owners: Arc::clone(&owners), changes: 0 };
    Ok(VmKeep::new(cpus.into_iter().map(cpu).collect(), connected, memory).launched())
}

fn failed(command: &str, error: Failure) -> BackendError {
    let Failure { status, source } = error;
    let status = if status == NOT_ASKED { String::new() } else { format!(" (status {status:#x})") };
    BackendError::Host { what: format!("initialise SEV-SNP by {command}{status}"), source }
}

fn create_cpu(vm: &VmFd, number: u64, supported: &CpuId, vmsa: &Vmsa) -> io::Result<VcpuFd> {
    let cpu = vm.create_vcpu(number)?;
    let mut shown = supported.as_slice().to_vec();
    show_encryption(&mut shown);
    let shown =
        CpuId::from_entries(&shown).map_err(|error| io::Error::other(format!("{error:?}")))?;
    cpu.set_cpuid2(&shown)?;
    processor::set(&cpu, vmsa)?;
    Ok(cpu)
}

/// KVM checks addresses and exits by what the guest is told, so it is told of its encryption too.
fn show_encryption(shown: &mut Vec<kvm_cpuid_entry2>) {
    let entries = crate::cpuid::entries(&[], probe::encryption_leaf());
    shown.retain(|entry| entry.function != encryption::LEAF);
    shown.extend(entries.iter().map(|entry| kvm_cpuid_entry2 {
        function: entry.function,
        eax: entry.answer.eax,
        ebx: entry.answer.ebx,
        ..Default::default()
    }));
}

fn unavailable(error: &io::Error) -> BackendError {
    let datum = probe::no_driver(error);
    BackendError::Unavailable {
        backend: "snp",
        problem: datum.info.unwrap_or_default(),
        remedy: datum.remedy.unwrap_or_default(),
    }
}

/// KVM and the security processor.
struct Platform {
    vm: Arc<VmFd>,
    sev: File,
}

impl Platform {
    fn init(&mut self) -> Result<(), Failure> {
        let mut init = kvm_sev_init { ghcb_version: GHCB_VERSION, ..Default::default() };
        // SAFETY: for this command the kernel reads a `struct kvm_sev_init`, which `init` is; it lives until
        // after the call.
        unsafe { self.command(sev_cmd_id_KVM_SEV_INIT2, &raw mut init) }
    }

    /// # Safety
    ///
    /// `data` has to point to what the kernel reads and writes for the command; so have addresses in it.
    unsafe fn command<T>(&mut self, id: u32, data: *mut T) -> Result<(), Failure> {
        let mut command = kvm_sev_cmd {
            id,
            data: data as u64,
            error: NOT_ASKED,
            sev_fd: self.sev.as_raw_fd().cast_unsigned(),
            ..Default::default()
        };
        self.vm
            .encrypt_op_sev(&mut command)
            .map_err(|error| Failure { status: command.error, source: error.into() })
    }
}

impl Firmware for Platform {
    type Staging = Mapping;

    fn start(&mut self, request: &mut kvm_sev_snp_launch_start) -> Result<(), Failure> {
        // SAFETY: for this command the kernel reads a `struct kvm_sev_snp_launch_start`, which `request` is.
        unsafe { self.command(sev_cmd_id_KVM_SEV_SNP_LAUNCH_START, request) }
    }

    fn update(
        &mut self,
        request: &mut kvm_sev_snp_launch_update,
        staging: &mut Mapping,
    ) -> Result<(), Failure> {
        let base = staging.address();
        request.uaddr = request.uaddr.wrapping_add(base);
        // SAFETY: for this command the kernel reads and writes a `struct kvm_sev_snp_launch_update`, which
        // `request` is. It reads `len` bytes at `uaddr`, and may write them where it is a CPUID page; for
        // all types but zero pages these lie in `staging` (`request.rs` hands over no more than an area
        // holds), which is borrowed mutably until after the call.
        let done = unsafe { self.command(sev_cmd_id_KVM_SEV_SNP_LAUNCH_UPDATE, &raw mut *request) };
        request.uaddr = request.uaddr.wrapping_sub(base);
        done
    }

    fn finish(
        &mut self,
        request: &mut kvm_sev_snp_launch_finish,
        id: Option<&SignedId>,
    ) -> Result<(), Failure> {
        let block = id.map(|id| id.block.to_bytes()).unwrap_or_default();
        if let Some(id) = id {
            request.id_block_uaddr = block.as_ptr() as u64;
            request.id_auth_uaddr = id.auth.as_ptr() as u64;
        }
        // SAFETY: for this command the kernel reads a `struct kvm_sev_snp_launch_finish`, which `request` is,
        // and with `id_block_en` 96 bytes of the block and 4096 of its authentication, whose lengths
        // `SignedId` and `Parameters::check` have held against these; all live until after the call.
        unsafe { self.command(sev_cmd_id_KVM_SEV_SNP_LAUNCH_FINISH, request) }
    }
}

/// Requests that running the processor makes of the hypervisor (`linux/kvm.h`): `KVM_RUN`,
/// `KVM_SET_USER_MEMORY_REGION2`, `KVM_SET_MEMORY_ATTRIBUTES` and `KVM_INTERRUPT`.
const IOCTLS: [u32; 4] = [0xae80, 0x40a0_ae49, 0x4020_aed2, INTERRUPT];

/// A processor, and what the Keep asks for between its calls: pages that change hands.
struct Cpu {
    cpu: VcpuFd,
    owners: Arc<Mutex<Owners>>,
    /// Changes since the Keep rang last.
    changes: u32,
}

impl Processor for Cpu {
    type End = BackendError;

    fn ioctls(&self) -> Vec<u32> {
        IOCTLS.to_vec()
    }

    fn syscalls(&self) -> Vec<i64> {
        // Gives back what the Keep has given to the host.
        vec![libc::SYS_fallocate]
    }

    fn run(&mut self, interrupt: &AtomicBool) -> Result<machine::Exit, BackendError> {
        if let Err(error) = processor::raise_flush(&mut self.cpu, interrupt) {
            return Err(machine::dead(format!("the host cannot interrupt it: {error}")));
        }
        let exit = match self.enter() {
            Exit::Doorbell => {
                self.changes = 0;
                Ok(machine::Exit::Doorbell)
            }
            Exit::Asked(_) | Exit::Touched(_) if self.changes < CHANGES => {
                self.changes += 1;
                Ok(machine::Exit::Interrupted)
            }
            Exit::Asked(_) | Exit::Touched(_) => Err("it changes pages without end".into()),
            Exit::Interrupted => Ok(machine::Exit::Interrupted),
            Exit::Port(port, value) => machine::port(port, value),
            Exit::Dead(cause) => Err(cause),
        };
        exit.map_err(machine::dead)
    }
}

impl Cpu {
    /// Runs it until it comes back; pages change hands on the way.
    fn enter(&mut self) -> Exit {
        let owners = || self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let mut exit = match self.cpu.run() {
            Ok(exit) => exit,
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {
                return Exit::Interrupted;
            }
            Err(error) => return Exit::Dead(format!("the host cannot run it: {error}")),
        };
        match processor::meaning(&mut exit) {
            None => Exit::Interrupted,
            Some(Exit::Asked(change)) => {
                if let Err(error) = owners().change(change) {
                    tracing::debug!(%error, ?change, "a page state change is refused");
                    if let VcpuExit::Hypercall(call) = &mut exit {
                        *call.ret = libc::EINVAL as u64;
                    }
                }
                Exit::Asked(change)
            }
            Some(Exit::Touched(change)) => match owners().change(change) {
                Ok(()) => Exit::Touched(change),
                Err(error) => {
                    let at = change.start;
                    Exit::Dead(format!(
                        "it touched memory that it does not have, at {at:#x}: {error}"
                    ))
                }
            },
            Some(other) => other,
        }
    }
}

#[cfg(test)]
mod tests;
