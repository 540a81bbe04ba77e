// SPDX-License-Identifier: Apache-2.0

//! A host agent in small: starts the programs as plain processes and hears their reports.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, RawFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio as Pipe};
use std::sync::OnceLock;

use keep_launch::{
    Compile, FD_INPUT, FD_LAUNCH, FD_OUTPUT, FD_REPORT, Launch, Preopen, Refusal, Report, Run,
    Stdio,
};
use tempfile::TempDir;

/// The key of the tests' compiler.
pub(crate) const SEED: [u8; 32] = [42; 32];

/// Where both programs lie. They are written before the first process starts: a file that some
/// child still holds open for writing cannot be executed.
fn programs() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, bytes) in
            [("runtime", keep_programs::RUNTIME), ("compiler", keep_programs::COMPILER)]
        {
            let path = folder.path().join(name);
            fs::write(&path, bytes).expect("a program");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("executable");
        }
        folder
    });
    folder.path()
}

/// A file that has no name, with this in it.
fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("written");
    file.rewind().expect("rewound");
    file
}

/// A program that was started.
pub(crate) struct Started {
    pub(crate) child: Child,
    report: File,
}

impl Started {
    /// Waits for the end. What was written to pipes is returned too.
    pub(crate) fn finish(mut self) -> Ended {
        drop(self.child.stdin.take());
        let output = self.child.wait_with_output().expect("an end");
        let mut bytes = Vec::new();
        self.report.rewind().expect("rewound");
        self.report.read_to_end(&mut bytes).expect("read");
        assert_eq!(output.status.code(), Some(0), "stderr: {:?}", output.stderr);
        let report = Report::decode(&bytes).expect("a report");
        Ended { report, stdout: output.stdout, stderr: output.stderr }
    }
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) report: Report,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Ended {
    #[track_caller]
    pub(crate) fn code(&self) -> i32 {
        match &self.report {
            Report::Exited { code } => *code,
            report => panic!("not an exit: {report:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn trap(&self) -> &str {
        match &self.report {
            Report::Trapped { message } => message,
            report => panic!("not a trap: {report:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn refusal(&self) -> (Refusal, &str) {
        match &self.report {
            Report::Refused { reason, message } => (*reason, message),
            report => panic!("not a refusal: {report:?}"),
        }
    }
}

/// Starts a program with these files at the descriptors that the launch protocol fixes.
fn start(mut command: Command, launch: &[u8], input: &File, output: Option<&File>) -> Started {
    let launch = file(launch);
    let report = tempfile::tempfile().expect("a file");
    let mut files: Vec<(RawFd, RawFd)> = vec![
        (launch.as_raw_fd(), FD_LAUNCH),
        (input.as_raw_fd(), FD_INPUT),
        (report.as_raw_fd(), FD_REPORT),
    ];
    files.extend(output.map(|output| (output.as_raw_fd(), FD_OUTPUT)));
    command.env_clear();
    // SAFETY: the closure only duplicates descriptors, which is allowed between fork and exec.
    unsafe {
        command.pre_exec(move || {
            // Out of the way first: a source may have the number of another's destination.
            let mut moved = [const { None }; 4];
            for (slot, (from, to)) in moved.iter_mut().zip(&files) {
                let from = BorrowedFd::borrow_raw(*from);
                *slot = Some((rustix::io::fcntl_dupfd_cloexec(from, 64)?, *to));
            }
            for (from, to) in moved.iter().flatten() {
                let mut to = std::mem::ManuallyDrop::new(std::os::fd::OwnedFd::from_raw_fd(*to));
                rustix::io::dup2(from, &mut to)?;
            }
            // Closed by exec; dropping them here would be as good.
            std::mem::forget(moved);
            Ok(())
        });
    }
    Started { child: command.spawn().expect("a process"), report }
}

/// Compiles a module given as text or bytes.
pub(crate) fn compile(module: &[u8]) -> (Ended, Vec<u8>) {
    compile_with(module, Compile { signing_key: SEED, threads: 1 })
}

pub(crate) fn compile_with(module: &[u8], launch: Compile) -> (Ended, Vec<u8>) {
    let mut output = tempfile::tempfile().expect("a file");
    let mut command = Command::new(programs().join("compiler"));
    command.stdin(Pipe::null()).stdout(Pipe::piped()).stderr(Pipe::piped());
    let launch = Launch::Compile(launch).encode();
    let ended = start(command, &launch, &file(module), Some(&output)).finish();
    let mut artifact = Vec::new();
    output.rewind().expect("rewound");
    output.read_to_end(&mut artifact).expect("read");
    (ended, artifact)
}

/// A workload that was compiled and may be changed before it is run.
pub(crate) struct Workload {
    pub(crate) artifact: Vec<u8>,
    pub(crate) launch: Run,
    pub(crate) folder: Option<PathBuf>,
}

impl Workload {
    #[track_caller]
    pub(crate) fn new(module: impl AsRef<[u8]>) -> Self {
        let module = module.as_ref();
        let (ended, artifact) = compile(module);
        assert_eq!(ended.report, Report::Compiled { len: artifact.len() as u64 });
        let launch = Run {
            module_digest: keep_artifact::digest(module),
            compiler_keys: vec![keep_artifact::public_key(&SEED)],
            args: vec!["test.wasm".to_owned()],
            env: Vec::new(),
            stdio: [Stdio::Stdin, Stdio::Stdout, Stdio::Stderr],
            preopens: Vec::new(),
            max_memory: 1 << 30,
            sockets: None,
            threads: 1,
        };
        Self { artifact, launch, folder: None }
    }

    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.launch.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.launch.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn folder(mut self, folder: &Path, guest: &str) -> Self {
        self.launch.preopens.push(Preopen { path: ".".to_owned(), guest: guest.to_owned() });
        self.folder = Some(folder.to_owned());
        self
    }

    pub(crate) fn command() -> Command {
        let mut command = Command::new(programs().join("runtime"));
        command.stdin(Pipe::piped()).stdout(Pipe::piped()).stderr(Pipe::piped());
        command
    }

    pub(crate) fn start(&self, mut command: Command) -> Started {
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let launch = Launch::Run(self.launch.clone()).encode();
        start(command, &launch, &file(&self.artifact), None)
    }

    pub(crate) fn run(&self) -> Ended {
        self.start(Self::command()).finish()
    }
}

/// Starts the runtime with these bytes in place of a launch.
pub(crate) fn run_raw(launch: &[u8]) -> Ended {
    start(Workload::command(), launch, &file(b""), None).finish()
}
