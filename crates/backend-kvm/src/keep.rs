// SPDX-License-Identifier: Apache-2.0

//! A Keep from launch to end.

use std::io;

use keep_backend::{BackendError, ClaimKind, Launched, Program, Spec, host};
use keep_image::Image;
use kvm_ioctls::Kvm;

use crate::cpu::{self, Cpu};
#[cfg(feature = "testing")]
use crate::machine::Liar;
use crate::machine::{self, VmKeep};
use crate::memory::Memory;
use crate::probe;

/// The image of a program, as built into this executable.
///
/// # Errors
///
/// [`BackendError::Image`].
pub fn image(program: Program) -> Result<Image<'static>, BackendError> {
    let bytes = match program {
        Program::Compiler => keep_programs::COMPILER_IMAGE,
        Program::Runtime => keep_programs::RUNTIME_IMAGE,
    };
    Image::decode(bytes)
        .map_err(|error| BackendError::Image { program, problem: error.to_string() })
}

/// Builds a Keep from an image and makes it ready to run.
pub(crate) fn launch(image: &Image<'_>, spec: Spec) -> Result<Launched, BackendError> {
    build(image, spec).map(VmKeep::launched)
}

/// The same, on a host that lies.
#[cfg(feature = "testing")]
pub(crate) fn launch_lying(
    image: &Image<'_>,
    spec: Spec,
    liar: Liar,
) -> Result<Launched, BackendError> {
    let mut keep = build(image, spec)?;
    keep.lie(liar);
    Ok(keep.launched())
}

fn build(image: &Image<'_>, spec: Spec) -> Result<VmKeep<Cpu>, BackendError> {
    let kvm = Kvm::new().map_err(|error| unavailable(&error.into()))?;
    let vm = machine::create_vm(&kvm, 0).map_err(host("create a virtual machine"))?;
    let sizes = machine::sizes(image, &spec)?;
    let (mut memory, growth) =
        Memory::new(&vm, sizes.needed, sizes.limit).map_err(host("reserve the Keep's memory"))?;
    image.load(&mut memory).map_err(host("load the Keep's image"))?;
    let shown = cpu::shown(&kvm);
    let cpus = (0..u64::from(spec.processors()))
        .map(|number| cpu::create(&kvm, &vm, number, image.start(), &shown).map(Cpu))
        .collect::<io::Result<Vec<_>>>()
        .map_err(host("create a virtual CPU"))?;
    let connected = machine::connect(
        spec,
        memory.window(),
        Box::new(growth),
        &sizes,
        cpus.first().map_or(0, |cpu| machine::tsc_khz(&cpu.0)),
        ClaimKind::ReportData,
    )?;
    Ok(VmKeep::new(cpus, connected, memory))
}

fn unavailable(error: &io::Error) -> BackendError {
    let datum = probe::no_driver(error);
    BackendError::Unavailable {
        backend: "kvm",
        problem: datum.info.unwrap_or_default(),
        remedy: datum.remedy.unwrap_or_default(),
    }
}
