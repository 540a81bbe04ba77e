// SPDX-License-Identifier: Apache-2.0

//! The whole flow with the real programs as processes: a runtime Keep that starts empty, a compiler Keep if
//! it needs one, and the Steward and the Drawbridge of `keep-deploy`'s tests.

#[path = "../../../keep-deploy/tests/flow/common.rs"]
mod common;

use std::fs::File;
use std::sync::{Arc, mpsc};
use std::thread;

use backend_nil::{Image, Nil};
use common::{Server, TestHost, Workload, World};
use drawbridge_types::file;
use keep_backend::{Backend, Claim, EvidenceSource, Launched, NetworkLimits, Program, Spec};
use keep_deploy::Host;
use keep_launch::{Compile, CompileService, Deploy, Evidence, Launch, Refusal, Report};

/// Ends with 7.
const MODULE: &[u8] = br#"(module
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (func (export "_start") (call $exit (i32.const 7)))
    (memory (export "memory") 1))"#;

struct Source(Arc<TestHost>);

impl EvidenceSource for Source {
    fn evidence(&mut self, claim: &Claim) -> Evidence {
        let Claim::ReportData(report_data) = claim else { panic!("{claim:?}") };
        self.0.evidence(report_data).unwrap()
    }
}

fn launch(
    program: Program,
    launch: &Launch,
    host: &Arc<TestHost>,
    input: File,
    output: Option<File>,
) -> Launched {
    let image = |program, elf: &'static [u8]| Image { program, elf, id: String::new() };
    let nil = Nil::new(
        image(Program::Compiler, keep_programs::COMPILER),
        image(Program::Runtime, keep_programs::RUNTIME),
        None,
    );
    let hears = Arc::clone(host);
    let spec = Spec {
        program,
        launch: launch.encode(),
        input,
        output,
        stdio: [None, None, None],
        seeds: Vec::new(),
        memory: 4 << 30,
        processors: 1,
        evidence: Some(Box::new(Source(Arc::clone(host)))),
        events: Some(Box::new(move |event| hears.event(event))),
        network: Some(NetworkLimits::all()),
        signatures: None,
    };
    nil.launch(spec).unwrap()
}

fn nothing() -> File {
    tempfile::tempfile().unwrap()
}

/// Runs servers on a thread of their own.
fn servers(world: &Arc<World>) -> (Server, Server) {
    let (sender, receiver) = mpsc::channel();
    let world = Arc::clone(world);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            sender.send((world.steward().await, world.drawbridge().await)).unwrap();
            std::future::pending::<()>().await;
        });
    });
    receiver.recv().unwrap()
}

fn deployed(world: &World, servers: &(Server, Server), compiler: Option<String>) -> Report {
    let deploy = Deploy { compiler, ..world.launch(&servers.0, &servers.1) };
    let launched = launch(Program::Runtime, &Launch::Deploy(deploy), &world.host, nothing(), None);
    launched.keep.serve().unwrap()
}

fn config(text: &str) -> Vec<u8> {
    format!("{text}\n[compiler]\nallow_development = true\n").into_bytes()
}

#[test]
fn a_workload_is_compiled_by_an_attested_keep_and_runs() {
    let files: &[(&str, &[u8])] = &[(file::WASM, MODULE), (file::CONFIG, &config(""))];
    let world = Arc::new(World::new(Workload::new(files)));
    let servers = servers(&world);
    let host = TestHost::new(&world.development);
    let service = CompileService {
        slug: Some(common::SLUG.into()),
        digest: world.workload.digest(),
        steward: Some(servers.0.url()),
        network: world.network(&[&servers.0]),
        listen: "127.0.0.1:0".into(),
        threads: 1,
    };
    let service = Launch::CompileService(service);
    let output = Some(tempfile::tempfile().unwrap());
    let Launched { keep, killer } = launch(Program::Compiler, &service, &host, nothing(), output);
    let compiler = thread::spawn(move || keep.serve());
    let address = loop {
        match host.listening() {
            Some(address) => break address,
            None if compiler.is_finished() => panic!("{:?}", compiler.join()),
            None => thread::sleep(std::time::Duration::from_millis(20)),
        }
    };
    let report = deployed(&world, &servers, Some(address));
    assert_eq!(report, Report::Exited { code: 7 });
    assert_eq!(world.host.steps(), [5, 6, 7, 8, 9, 10, 11, 12, 13]);
    killer.kill();
    let _ = compiler.join().unwrap();
}

/// The compiler as `enarx run` uses it.
fn compiled(world: &World) -> Vec<u8> {
    use std::io::{Read as _, Seek as _, Write as _};
    let mut input = tempfile::tempfile().unwrap();
    input.write_all(MODULE).unwrap();
    input.rewind().unwrap();
    let mut output = tempfile::tempfile().unwrap();
    let compile = Launch::Compile(Compile { signing_key: [9; 32], threads: 1 });
    let to = Some(output.try_clone().unwrap());
    let launched = launch(Program::Compiler, &compile, &world.host, input, to);
    let report = launched.keep.serve().unwrap();
    assert!(matches!(report, Report::Compiled { .. }), "{report:?}");
    let mut artifact = Vec::new();
    output.rewind().unwrap();
    output.read_to_end(&mut artifact).unwrap();
    artifact
}

#[test]
fn native_code_of_the_tenant_runs_and_a_flipped_bit_does_not() {
    let world = World::new(Workload::default());
    let artifact = compiled(&world);
    let mut workload = Workload::new(&[
        (file::WASM, MODULE),
        (file::CONFIG, b"[compiler]\naccept = [\"tenant\"]\n"),
        (file::ARTIFACT, &artifact),
    ]);
    let world = Arc::new(World { workload: workload.clone(), ..world });
    let all = servers(&world);
    assert_eq!(deployed(&world, &all, None), Report::Exited { code: 7 });

    // The tenant's own mistake: published like that, it is what the digest says, and still does not load.
    let last = artifact.len() - 1;
    workload.files.get_mut(file::ARTIFACT).unwrap()[last] ^= 1;
    let broken = Arc::new(World { workload, ..World::new(Workload::default()) });
    let report = deployed(&broken, &servers(&broken), None);
    let Report::Refused { reason, message } = report else { panic!("{report:?}") };
    assert_eq!(reason, Refusal::Artifact, "{message}");
    assert!(message.contains("help: "), "{message}");
}
