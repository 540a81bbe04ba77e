// SPDX-License-Identifier: Apache-2.0

//! Starts the test program in a Keep, and as a process.

#![allow(dead_code, reason = "no test uses all of it")]

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use backend_kvm::Kvm;
use backend_nil::Nil;
use backend_sgx_sim::SgxSim;
use backend_snp_sim::SnpSim;
use keep_backend::{Backend, BackendError, Killer, Launched, NetworkLimits, Program, Spec};
use keep_image::Image;
use keep_launch::Report;

/// Where the program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Kvm,
    SnpSim,
    SgxSim,
    Nil,
}

/// Runs a test in all places, as far as they are there.
pub(crate) fn on_all(test: impl Fn(Place)) {
    if guest().is_none() {
        return;
    }
    println!("as a process");
    test(Place::Nil);
    if let Some(datum) = sgx_sim().probe().iter().find(|datum| !datum.pass) {
        println!("skipped on the stand-in for SGX: {datum:?}");
    } else {
        println!("on the stand-in for SGX");
        test(Place::SgxSim);
    }
    if Kvm::new().probe().iter().any(|datum| !datum.pass) {
        println!("skipped in a virtual machine: there is none here");
        return;
    }
    println!("in a virtual machine");
    test(Place::Kvm);
    if let Some(datum) = SnpSim::new().probe().iter().find(|datum| !datum.pass) {
        println!("skipped on the stand-in for SEV-SNP: {datum:?}");
        return;
    }
    println!("on the stand-in for SEV-SNP");
    test(Place::SnpSim);
}

/// The argument that makes this program the machine of an enclave.
const MACHINE: &str = "the-machine-of-an-enclave";

/// The stand-in for SGX, whose machines are this very program.
pub(crate) fn sgx_sim() -> SgxSim {
    SgxSim::new(std::env::current_exe().unwrap(), &[MACHINE])
}

/// Comes before `main`, which belongs to the tests and would read arguments and write to standard output.
extern "C" fn before_main() {
    if std::env::args_os().nth(1).is_some_and(|first| first == MACHINE) {
        backend_sgx_sim::machine();
    }
}

// SAFETY: what is in this section is a list of functions that the C library calls before `main`.
#[unsafe(link_section = ".init_array")]
#[used]
static BEFORE_MAIN: extern "C" fn() = before_main;

/// The test program, built once; `None`, with a word about it, if it cannot be.
pub(crate) fn guest() -> Option<&'static [u8]> {
    static GUEST: OnceLock<Option<Vec<u8>>> = OnceLock::new();
    let guest = GUEST.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("guest");
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guest/program.rs");
        let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()));
        rustc.args(["--edition=2024", "-O", "-Ctarget-feature=+crt-static", "-o"]).arg(&to);
        let layout = "-Clink-arg=-Wl,-z,noseparate-code,-z,max-page-size=0x200000,-z,norelro";
        match rustc.arg(&from).arg(layout).output() {
            Ok(output) if output.status.success() => Some(std::fs::read(to).unwrap()),
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(text.contains("linking with") || text.contains("-lc"), "{text}");
                println!("skipped: no static C library: {text}");
                None
            }
            Err(error) => {
                println!("skipped: no compiler: {error}");
                None
            }
        }
    });
    guest.as_deref()
}

/// A program that runs.
pub(crate) struct Running {
    thread: Option<JoinHandle<Result<Report, BackendError>>>,
    killer: Box<dyn Killer>,
    stdout: BufReader<File>,
}

/// A file that has no name, with this in it.
fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

impl Running {
    /// Starts it with all sockets that there can be.
    pub(crate) fn start(place: Place, launch: &str) -> Self {
        Self::start_with(place, launch, |spec| spec.network = Some(NetworkLimits::all()))
    }

    pub(crate) fn start_with(place: Place, launch: &str, change: impl FnOnce(&mut Spec)) -> Self {
        Self::start_by(launch, |mut spec| {
            change(&mut spec);
            launch_at(place, spec)
        })
    }

    /// Starts it by other means.
    pub(crate) fn start_by(launch: &str, by: impl FnOnce(Spec) -> Launched) -> Self {
        try_start(launch, |spec| Ok(by(spec))).unwrap()
    }

    /// The next line that it writes.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        if line.is_empty() {
            // It said nothing because it failed.
            self.end().unwrap();
        }
        line.trim_end().to_owned()
    }

    pub(crate) fn end(&mut self) -> Result<Report, BackendError> {
        self.thread.take().expect("it ends once").join().unwrap()
    }

    /// Waits for its end, which has to come.
    pub(crate) fn end_within(&mut self, limit: Duration) -> Result<Report, BackendError> {
        let start = Instant::now();
        while self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            assert!(start.elapsed() < limit, "it does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
        self.end()
    }

    /// All that it wrote and was not read; nobody waits for more.
    pub(crate) fn rest(mut self) -> String {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        rest
    }

    /// Waits for a good end.
    pub(crate) fn finish(mut self) {
        assert_eq!(self.end().unwrap(), Report::Exited { code: 0 });
    }

    /// Ends it from outside.
    pub(crate) fn kill(mut self) {
        self.killer.kill();
        assert!(matches!(self.end(), Err(BackendError::Killed)));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that failed leaves nothing behind.
        self.killer.kill();
    }
}

fn launch_at(place: Place, spec: Spec) -> Launched {
    let elf = guest().expect("the test runs only with it");
    match place {
        Place::Nil => {
            let image = |program| backend_nil::Image { program, elf, id: "guest".into() };
            let nil = Nil::new(image(Program::Compiler), image(Program::Runtime), None);
            nil.launch(spec).unwrap()
        }
        Place::Kvm => {
            let image = Image::build(keep_programs::KERNEL, elf).unwrap();
            Kvm::new().launch_image(&image, spec).unwrap()
        }
        Place::SgxSim => {
            let image = Image::build(keep_programs::KERNEL, elf).unwrap();
            sgx_sim().launch_image(&image, spec).unwrap()
        }
        Place::SnpSim => {
            let image = Image::build(keep_programs::KERNEL, elf).unwrap();
            SnpSim::new().launch_image(&image, spec).unwrap()
        }
    }
}

/// Starts the program by any means, if that is possible.
pub(crate) fn try_start(
    launch: &str,
    by: impl FnOnce(Spec) -> Result<Launched, BackendError>,
) -> Result<Running, BackendError> {
    let (reader, writer) = std::io::pipe().unwrap();
    let spec = Spec {
        program: Program::Runtime,
        launch: launch.into(),
        input: file(b"input"),
        output: None,
        stdio: [
            None,
            Some(OwnedFd::from(writer).into()),
            Some(File::options().write(true).open("/dev/stderr").unwrap()),
        ],
        seeds: Vec::new(),
        memory: 1 << 30,
        processors: 1,
        evidence: None,
        events: None,
        network: None,
        signatures: None,
    };
    let Launched { keep, killer } = by(spec)?;
    let thread = std::thread::spawn(move || keep.serve());
    let stdout = BufReader::new(OwnedFd::from(reader).into());
    Ok(Running { thread: Some(thread), killer, stdout })
}
