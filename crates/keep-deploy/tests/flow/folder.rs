// SPDX-License-Identifier: Apache-2.0

//! Steps 11 and 12 from a folder: the same digest, the same doubts.

use std::fs;
use std::path::Path;

use drawbridge_types::file;
use keep_deploy::{DeployError, Deployed, deploy};
use keep_launch::Source;

use crate::common::*;

async fn from(
    world: &World,
    folder: &Path,
    digest: &str,
) -> Result<Deployed<Vec<u8>>, DeployError> {
    let (steward, drawbridge) = (world.steward().await, world.drawbridge().await);
    let mut launch = world.launch(&steward, &drawbridge);
    launch.source = Source::Folder { path: folder.to_str().unwrap().to_owned() };
    launch.digest = digest.to_owned();
    let done = deploy(&launch, world.host.as_ref(), &TestLoader).await;
    assert_eq!(drawbridge.paths(), [""; 0]);
    done
}

fn write(workload: &Workload) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in &workload.files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

#[tokio::test]
async fn a_folder_has_the_digest_with_which_it_would_be_published() {
    let world = World::new(Workload::usual());
    let folder = write(&world.workload);
    let deployed = from(&world, folder.path(), &world.workload.digest()).await.unwrap();
    assert_eq!(deployed.config.args, ["--fast"]);
    assert_eq!(world.host.steps(), [5, 6, 7, 8, 11, 12]);
}

#[tokio::test]
async fn every_change_in_a_folder_is_noticed() {
    type Change = fn(&Path);
    let changes: &[Change] = &[
        |folder| fs::write(folder.join("more.pem"), b"x").unwrap(),
        |folder| fs::remove_file(folder.join(file::ARTIFACT)).unwrap(),
        |folder| fs::write(folder.join(file::CONFIG), b"").unwrap(),
        |folder| fs::write(folder.join(file::WASM), b"\0asm").unwrap(),
        |folder| fs::write(folder.join("unknown"), b"").unwrap(),
        |folder| fs::create_dir(folder.join("folder")).unwrap(),
    ];
    for change in changes {
        let world = World::new(Workload::usual());
        let folder = write(&world.workload);
        change(folder.path());
        from(&world, folder.path(), &world.workload.digest()).await.unwrap_err();
        assert!(!world.host.steps().contains(&12));
    }
}

#[tokio::test]
async fn a_file_alone_is_its_own_root() {
    let world = World::new(Workload::new(&[(file::WASM, &module())]));
    let folder = write(&world.workload);
    let digest = drawbridge_types::ContentDigest::of(&module()).workload().unwrap();
    let error = from(&world, folder.path(), &digest).await.unwrap_err();
    assert!(matches!(error, DeployError::NoCompiler(_)), "{error:?}");
    assert!(world.host.steps().contains(&12));
}
