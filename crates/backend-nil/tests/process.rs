// SPDX-License-Identifier: Apache-2.0

//! What a process of the nil backend finds, and how its end is reported.
//!
//! The program that is launched here is this very file, so it has a `main` of its own: with the
//! argument list of a Keep program it does what the first word of its input says, otherwise it is
//! the list of tests.

#[cfg(target_os = "linux")]
fn main() {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    if name == "runtime" || name == "compiler" {
        std::process::exit(program::main());
    }
    tests::main(args.filter_map(|arg| arg.into_string().ok()).collect());
}

#[cfg(not(target_os = "linux"))]
fn main() {}

/// Plays the Keep program.
#[cfg(target_os = "linux")]
mod program {
    use std::fs::{self, File};
    use std::io::{Read, Write};
    use std::mem::ManuallyDrop;
    use std::os::fd::FromRawFd;

    use keep_launch::{FD_INPUT, FD_LAUNCH, FD_OUTPUT, FD_REPORT, Report};

    fn file(number: i32) -> ManuallyDrop<File> {
        // SAFETY: nobody closes descriptors in this program.
        ManuallyDrop::new(unsafe { File::from_raw_fd(number) })
    }

    fn report(message: String) {
        let report = Report::Trapped { message };
        file(FD_REPORT).write_all(&report.encode()).unwrap();
    }

    pub(super) fn main() -> i32 {
        let mut input = String::new();
        file(FD_INPUT).read_to_string(&mut input).unwrap();
        match input.as_str() {
            "descriptors" => {
                let mut numbers: Vec<String> = fs::read_dir("/proc/self/fd")
                    .unwrap()
                    .map(|entry| entry.unwrap())
                    // The one that this loop itself reads from.
                    .filter(|entry| !fs::read_link(entry.path()).unwrap().ends_with("fd"))
                    .map(|entry| entry.file_name().into_string().unwrap())
                    .collect();
                numbers.sort();
                report(numbers.join(" "));
            }
            "launch" => {
                let mut launch = Vec::new();
                file(FD_LAUNCH).read_to_end(&mut launch).unwrap();
                report(format!("{} {:?}", launch.len(), launch.iter().max()));
            }
            "environment" => {
                let status = fs::read_to_string("/proc/self/status").unwrap();
                let line = |name: &str| {
                    let found = status.lines().find(|line| line.starts_with(name)).unwrap();
                    found.split_whitespace().nth(1).unwrap().to_owned()
                };
                report(format!(
                    "args {:?} env {:?} cwd {:?} no_new_privs {} blocked {} dumps {}",
                    std::env::args().collect::<Vec<_>>(),
                    std::env::vars().count(),
                    std::env::current_dir().unwrap().file_name().unwrap(),
                    line("NoNewPrivs:"),
                    line("SigBlk:"),
                    fs::read_to_string("/proc/self/limits")
                        .unwrap()
                        .lines()
                        .find(|line| line.contains("core file"))
                        .unwrap()
                        .split_whitespace()
                        .nth(4)
                        .unwrap(),
                ));
            }
            "seeds" => {
                fs::write("0/new", "written").unwrap();
                report(format!(
                    "{} {}",
                    fs::read_to_string("0/folder/file").unwrap(),
                    fs::read_to_string("1/other").unwrap()
                ));
            }
            "echo" => {
                let mut bytes = Vec::new();
                std::io::stdin().read_to_end(&mut bytes).unwrap();
                std::io::stdout().write_all(&bytes).unwrap();
                file(FD_OUTPUT).write_all(b"an artifact").unwrap();
                report(String::new());
            }
            "loop" => loop {
                std::hint::spin_loop();
            },
            "abort" => std::process::abort(),
            "silent" => {}
            "status" => {
                report(String::new());
                return 3;
            }
            "endless report" => while file(FD_REPORT).write_all(&[0; 4096]).is_ok() {},
            other => panic!("what is {other:?}?"),
        }
        0
    }
}

#[cfg(target_os = "linux")]
mod tests {
    use std::fs::{self, File};
    use std::io::{Read, Seek, Write};
    use std::path::Path;
    use std::time::{Duration, Instant};

    use backend_nil::{Image, Nil};
    use keep_backend::{Backend, BackendError, Launched, Program, Seed, Spec};
    use keep_launch::Report;

    pub(super) fn main(args: Vec<String>) {
        let tests: &[(&str, fn())] = &[
            ("finds_its_descriptors_and_no_others", finds_its_descriptors_and_no_others),
            ("long_launch_message_arrives", long_launch_message_arrives),
            ("finds_nothing_of_the_host", finds_nothing_of_the_host),
            ("seeds_are_copies", seeds_are_copies),
            ("streams_and_output", streams_and_output),
            ("kill_ends_a_busy_loop", kill_ends_a_busy_loop),
            ("kill_before_the_start", kill_before_the_start),
            ("death_by_signal_is_named", death_by_signal_is_named),
            ("no_report_is_an_error", no_report_is_an_error),
            ("status_after_a_report_is_an_error", status_after_a_report_is_an_error),
            ("endless_report_is_cut", endless_report_is_cut),
            ("no_descriptor_is_lost", no_descriptor_is_lost),
            ("starts_from_memory_as_well", starts_from_memory_as_well),
        ];
        if args.iter().any(|arg| arg == "--list") {
            tests.iter().for_each(|(name, _)| println!("{name}: test"));
            return;
        }
        let filters: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
        for (name, test) in tests {
            if filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str())) {
                test();
                println!("test {name} ... ok");
            }
        }
    }

    struct Setup {
        nil: Nil,
        folder: tempfile::TempDir,
    }

    fn setup() -> Setup {
        let folder = tempfile::tempdir().unwrap();
        let programs = folder.path().join("programs");
        Setup { nil: nil(Some(&programs)), folder }
    }

    fn nil(folder: Option<&Path>) -> Nil {
        let elf: &'static [u8] = fs::read(std::env::current_exe().unwrap()).unwrap().leak();
        let image = |program| Image { program, elf, id: "test".into() };
        Nil::new(image(Program::Compiler), image(Program::Runtime), folder.map(Into::into))
    }

    fn spec(input: &str) -> Spec {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(input.as_bytes()).unwrap();
        file.rewind().unwrap();
        Spec {
            program: Program::Runtime,
            launch: Vec::new(),
            input: file,
            output: None,
            stdio: [None, None, Some(File::options().write(true).open("/dev/stderr").unwrap())],
            seeds: Vec::new(),
            memory: 1 << 30,
            processors: 1,
            evidence: None,
            events: None,
            network: None,
            signatures: None,
        }
    }

    fn serve(nil: &Nil, spec: Spec) -> Result<Report, BackendError> {
        nil.launch(spec).unwrap().keep.serve()
    }

    fn message(nil: &Nil, spec: Spec) -> String {
        match serve(nil, spec).unwrap() {
            Report::Trapped { message } => message,
            other => panic!("{other:?}"),
        }
    }

    fn finds_its_descriptors_and_no_others() {
        let setup = setup();
        // One that a careless parent left open for its children.
        let file = File::open("/dev/null").unwrap();
        let leaked = rustix::io::dup(&file).unwrap();
        assert_eq!(message(&setup.nil, spec("descriptors")), "0 1 2 3 4 5");
        let output = Some(tempfile::tempfile().unwrap());
        assert_eq!(message(&setup.nil, Spec { output, ..spec("descriptors") }), "0 1 2 3 4 5 6");
        drop(leaked);
    }

    fn long_launch_message_arrives() {
        let mut launch = vec![1; 3 << 20];
        launch[2 << 20] = 9;
        assert_eq!(message(&setup().nil, Spec { launch, ..spec("launch") }), "3145728 Some(9)");
    }

    fn finds_nothing_of_the_host() {
        assert_eq!(
            message(&setup().nil, spec("environment")),
            r#"args ["runtime"] env 0 cwd "fdinfo" no_new_privs 1 blocked 0000000000000000 dumps 0"#
        );
    }

    fn seeds_are_copies() {
        let setup = setup();
        let (first, second) = (setup.folder.path().join("a"), setup.folder.path().join("b"));
        fs::create_dir_all(first.join("folder")).unwrap();
        fs::create_dir(&second).unwrap();
        fs::write(first.join("folder/file"), "one").unwrap();
        fs::write(second.join("other"), "two").unwrap();
        let seeds = vec![Seed { host: first.clone(), index: 0 }, Seed { host: second, index: 1 }];
        assert_eq!(message(&setup.nil, Spec { seeds, ..spec("seeds") }), "one two");
        assert!(!first.join("new").exists(), "the host's folder was written");
    }

    fn streams_and_output() {
        let mut spec = spec("echo");
        let mut stdin = tempfile::tempfile().unwrap();
        stdin.write_all(&[7; 100_000]).unwrap();
        stdin.rewind().unwrap();
        let (mut stdout, mut output) =
            (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        spec.stdio[0] = Some(stdin);
        spec.stdio[1] = Some(stdout.try_clone().unwrap());
        spec.output = Some(output.try_clone().unwrap());
        message(&setup().nil, spec);
        let mut bytes = Vec::new();
        stdout.rewind().unwrap();
        stdout.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, [7; 100_000]);
        let mut text = String::new();
        output.rewind().unwrap();
        output.read_to_string(&mut text).unwrap();
        assert_eq!(text, "an artifact");
    }

    fn kill_ends_a_busy_loop() {
        let Launched { keep, killer } = setup().nil.launch(spec("loop")).unwrap();
        let start = Instant::now();
        let result = std::thread::scope(|scope| {
            let serving = scope.spawn(move || keep.serve());
            std::thread::sleep(Duration::from_millis(50));
            killer.kill();
            serving.join().unwrap()
        });
        assert!(matches!(result, Err(BackendError::Killed)), "{result:?}");
        assert!(start.elapsed() < Duration::from_millis(150), "{:?}", start.elapsed());
        // Harmless once it has ended.
        killer.kill();
    }

    fn kill_before_the_start() {
        let Launched { keep, killer } = setup().nil.launch(spec("loop")).unwrap();
        killer.kill();
        assert!(matches!(keep.serve(), Err(BackendError::Killed)));
    }

    fn death_by_signal_is_named() {
        let result = serve(&setup().nil, spec("abort"));
        let Err(BackendError::Keep { cause }) = result else { panic!("{result:?}") };
        assert_eq!(cause, "the runtime was ended by SIGABRT");
    }

    fn no_report_is_an_error() {
        let result = serve(&setup().nil, spec("silent"));
        let Err(BackendError::Keep { cause }) = result else { panic!("{result:?}") };
        assert!(cause.contains("report"), "{cause}");
    }

    fn status_after_a_report_is_an_error() {
        let result = serve(&setup().nil, spec("status"));
        let Err(BackendError::Keep { cause }) = result else { panic!("{result:?}") };
        assert_eq!(cause, "the runtime exited with status 3");
    }

    fn endless_report_is_cut() {
        let result = serve(&setup().nil, spec("endless report"));
        assert!(matches!(result, Err(BackendError::Keep { .. })), "{result:?}");
    }

    fn no_descriptor_is_lost() {
        let setup = setup();
        let count = || fs::read_dir("/proc/self/fd").unwrap().count();
        message(&setup.nil, spec("launch"));
        let before = count();
        for _ in 0..50 {
            message(&setup.nil, spec("launch"));
        }
        assert_eq!(count(), before);
    }

    fn starts_from_memory_as_well() {
        assert_eq!(message(&nil(None), spec("descriptors")), "0 1 2 3 4 5");
    }
}
