// SPDX-License-Identifier: Apache-2.0

//! Who compiled it: a runtime and a compiler Keep meet, and each looks at the other.

use std::sync::Arc;
use std::time::Duration;

use drawbridge_types::file;
use keep_deploy::{DeployError, Deployed, compile, deploy};
use keep_launch::{CompileService, Deploy, Refusal};

use crate::common::*;

const ATTESTED: &[u8] = b"[compiler]\nallow_development = true\n";

/// A module without native code.
fn workload(config: &[u8]) -> Workload {
    Workload::new(&[(file::WASM, &module()), (file::CONFIG, config)])
}

/// Starts a compiler Keep for that workload; where it listens.
async fn compiler(world: &World, steward: &Server, digest: String) -> (String, Arc<TestHost>) {
    let host = TestHost::new(&world.development);
    let launch = CompileService {
        slug: Some(SLUG.into()),
        digest,
        steward: Some(steward.url()),
        network: world.network(&[steward]),
        listen: "127.0.0.1:0".into(),
        threads: 1,
    };
    let serving = Arc::clone(&host);
    tokio::spawn(async move {
        let made = |module: &[u8]| {
            if module.ends_with(b"bad") {
                return Err((Refusal::Invalid, "it ends badly".to_owned()));
            }
            Ok(artifact(module).chunks(1000).map(<[u8]>::to_vec).collect())
        };
        compile::serve(&launch, serving.as_ref(), made).await.unwrap();
    });
    for _ in 0..600 {
        if let Some(address) = host.listening() {
            return (address, host);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the compiler Keep does not listen: {:?}", host.warnings());
}

async fn deployed(
    world: &World,
    steward: &Server,
    address: &str,
) -> Result<Deployed<Vec<u8>>, DeployError> {
    let drawbridge = world.drawbridge().await;
    let compiler = Some(address.to_owned());
    let launch = Deploy { compiler, ..world.launch(steward, &drawbridge) };
    deploy(&launch, world.host.as_ref(), &TestLoader).await
}

#[tokio::test]
async fn a_module_is_compiled_by_a_keep_for_the_same_workload() {
    let world = World::new(workload(ATTESTED));
    let steward = world.steward().await;
    let (address, _) = compiler(&world, &steward, world.workload.digest()).await;
    // Twice: a compiler serves more than one.
    for _ in 0..2 {
        let deployed = deployed(&world, &steward, &address).await.unwrap();
        assert_eq!(deployed.code, artifact(&module()));
    }
}

#[tokio::test]
async fn a_compiler_for_another_workload_is_refused() {
    let world = World::new(workload(ATTESTED));
    let steward = world.steward().await;
    let other = format!("sha256:{}", "cd".repeat(32));
    let (address, _) = compiler(&world, &steward, other).await;
    let error = deployed(&world, &steward, &address).await.unwrap_err();
    assert!(matches!(error, DeployError::Compiler { .. }), "{error:?}");
}

#[tokio::test]
async fn a_compiler_without_protection_is_refused_unless_the_workload_says_otherwise() {
    let world = World::new(workload(b""));
    let steward = world.steward().await;
    let (address, _) = compiler(&world, &steward, world.workload.digest()).await;
    let error = deployed(&world, &steward, &address).await.unwrap_err();
    assert!(matches!(error, DeployError::Compiler { .. }), "{error:?}");
    assert_eq!(error.refusal(), Refusal::Compiler);
}

#[tokio::test]
async fn a_compiler_with_another_measurement_is_refused() {
    let other = "ab".repeat(48);
    let config = format!("[compiler]\nallow_development = true\nmeasurements = [\"{other}\"]\n");
    let world = World::new(workload(config.as_bytes()));
    let steward = world.steward().await;
    let (address, _) = compiler(&world, &steward, world.workload.digest()).await;
    let error = deployed(&world, &steward, &address).await.unwrap_err();
    assert!(matches!(error, DeployError::Compiler { .. }), "{error:?}");

    let config = config.replace(&other, &"00".repeat(48));
    let world = World { workload: workload(config.as_bytes()), ..world };
    let (address, _) = compiler(&world, &steward, world.workload.digest()).await;
    deployed(&world, &steward, &address).await.unwrap();
}

#[tokio::test]
async fn a_keep_with_another_workload_gets_nothing_compiled() {
    let world = World::new(workload(ATTESTED));
    let steward = world.steward().await;
    let (address, host) = compiler(&world, &steward, world.workload.digest()).await;
    // This one runs something else, and would take any compiler.
    let mut other = workload(ATTESTED);
    other.files.insert("x.pem".into(), b"x".to_vec());
    let other = World { workload: other, host: TestHost::new(&world.development), ..world };
    let error = deployed(&other, &steward, &address).await.unwrap_err();
    assert!(
        matches!(error, DeployError::Compiler { .. } | DeployError::CompilerForm { .. }),
        "{error:?}"
    );
    assert!(host.chains().len() == 1);
}

#[tokio::test]
async fn what_cannot_be_compiled_comes_back_with_its_reason() {
    let mut bad = workload(ATTESTED);
    bad.files.insert(file::WASM.into(), b"\0asm\x01\0\0\0 bad".to_vec());
    let world = World::new(bad);
    let steward = world.steward().await;
    let (address, _) = compiler(&world, &steward, world.workload.digest()).await;
    let error = deployed(&world, &steward, &address).await.unwrap_err();
    assert_eq!(error.refusal(), Refusal::Invalid);
    assert!(error.message().starts_with("it ends badly"), "{}", error.message());
}

#[tokio::test]
async fn native_code_of_the_tenant_goes_before_a_compiler_if_it_fits() {
    // Nobody listens there, and nobody is needed.
    let mut own = workload(ATTESTED);
    own.files.insert(file::ARTIFACT.into(), artifact(&module()));
    let world = World::new(own);
    let steward = world.steward().await;
    deployed(&world, &steward, "127.0.0.1:1").await.unwrap();

    // For another machine: then the compiler is asked.
    let mut other = workload(ATTESTED);
    other.files.insert(file::ARTIFACT.into(), b"else where".to_vec());
    let world = World::new(other);
    let steward = world.steward().await;
    let (address, _) = compiler(&world, &steward, world.workload.digest()).await;
    deployed(&world, &steward, &address).await.unwrap();
    assert!(world.host.warnings()[0].contains("does not fit"), "{:?}", world.host.warnings());

    // Broken: that is no reason to look for another.
    let mut broken = workload(ATTESTED);
    broken.files.insert(file::ARTIFACT.into(), b"broken".to_vec());
    let world = World::new(broken);
    let steward = world.steward().await;
    let error = deployed(&world, &steward, "127.0.0.1:1").await.unwrap_err();
    assert_eq!(error.refusal(), Refusal::Artifact);
}

#[tokio::test]
async fn a_workload_says_whose_native_code_it_takes() {
    let own = |config: &[u8]| {
        let mut own = workload(config);
        own.files.insert(file::ARTIFACT.into(), artifact(&module()));
        World::new(own)
    };
    let world = own(b"[compiler]\naccept = [\"attested\"]\nallow_development = true\n");
    let steward = world.steward().await;
    let error = deployed(&world, &steward, "127.0.0.1:1").await.unwrap_err();
    assert!(matches!(error, DeployError::Compiler { .. }), "{error:?}");

    let world = World::new(workload(b"[compiler]\naccept = [\"tenant\"]\n"));
    let steward = world.steward().await;
    let error = deployed(&world, &steward, "127.0.0.1:1").await.unwrap_err();
    assert!(matches!(error, DeployError::NoCompiler(_)), "{error:?}");
}

#[tokio::test]
async fn without_a_steward_no_compiler_is_believed() {
    let world = World::new(workload(ATTESTED));
    let steward = world.steward().await;
    // There is one, and the host names it; but to this Keep, nobody could vouch for it.
    let (address, compiler) = compiler(&world, &steward, world.workload.digest()).await;
    let server = {
        let workload = world.workload.clone();
        Server::start(
            None,
            Box::new(move |got| {
                let got = Got { workload: Some(workload.digest()), ..got.clone() };
                vec![workload.answer(&got)]
            }),
        )
        .await
    };
    let launch =
        Deploy { compiler: Some(address), steward: None, ..world.launch(&steward, &server) };
    let error = deploy(&launch, world.host.as_ref(), &TestLoader).await.unwrap_err();
    assert!(matches!(error, DeployError::UnprovenCompiler), "{error:?}");
    assert_eq!(error.refusal(), Refusal::Compiler);
    let said = error.message();
    assert!(said.contains("without a Steward") && said.contains("package compile"), "{said}");
    assert!(world.host.steps().contains(&12));
    assert_eq!(compiler.warnings(), [""; 0]);
}
