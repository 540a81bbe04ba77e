// SPDX-License-Identifier: Apache-2.0

//! Steps 9 to 12, and a Drawbridge that is down, slow or a liar. Nothing of what it sends comes out.

use drawbridge_types::{Entry, Meta, file, media};
use keep_deploy::{DeployError, Deployed, MAX_WASM, deploy};
use keep_launch::Refusal;

use crate::common::*;

async fn try_with(world: &World, drawbridge: &Server) -> Result<Deployed<Vec<u8>>, DeployError> {
    let steward = world.steward().await;
    deploy(&world.launch(&steward, drawbridge), world.host.as_ref(), &TestLoader).await
}

/// Deploys from that Drawbridge and expects it to fail before the workload is accepted.
async fn refused(world: &World, drawbridge: &Server) -> DeployError {
    let error = try_with(world, drawbridge).await.unwrap_err();
    assert!(!world.host.steps().contains(&12), "the workload was accepted");
    let message = error.message();
    let (_, help) = message.rsplit_once('\n').expect("several lines");
    assert!(help.starts_with("help: ") && help.len() > 6, "{message}");
    // The next try, with an honest Drawbridge, works.
    let honest = world.drawbridge().await;
    try_with(world, &honest).await.unwrap();
    error
}

fn raw(head: &str, body: &[u8]) -> Vec<u8> {
    [head.as_bytes(), b"\r\n\r\n", body].concat()
}

#[tokio::test]
async fn one_flipped_bit_of_any_file_is_noticed() {
    let paths = [
        ("/tree/main.wasm", file::WASM),
        ("/tree/main.artifact", file::ARTIFACT),
        ("/tree/Enarx.toml", file::CONFIG),
    ];
    for (path, name) in paths {
        let world = World::new(Workload::usual());
        let mut content = world.workload.files[name].clone();
        let at = content.len() / 2;
        content[at] ^= 1;
        let lie = vec![reply(200, media::OCTETS, &content)];
        let error = refused(&world, &world.lying(path, lie).await).await;
        assert!(matches!(&error, DeployError::Changed { file, .. } if file == name), "{error:?}");
        assert_eq!(error.refusal(), Refusal::Workload);
    }
}

#[tokio::test]
async fn another_directory_is_noticed_whatever_the_tag_says() {
    let world = World::new(Workload::usual());
    let other = Workload::new(&[(file::WASM, b"\0asm\x01\0\0\0evil")]);
    let lie = vec![reply(200, media::DIRECTORY, &other.directory())];
    let error = refused(&world, &world.lying("/tree", lie).await).await;
    assert!(matches!(&error, DeployError::Changed { file, .. } if file == "(root)"), "{error:?}");
}

#[tokio::test]
async fn another_tag_is_noticed() {
    let world = World::new(Workload::usual());
    let other = Workload::new(&[(file::WASM, b"\0asm\x01\0\0\0evil")]);
    let entry = serde_json::to_vec(&Entry::new(other.root())).unwrap();
    let error =
        refused(&world, &world.lying("", vec![reply(200, media::ENTRY, &entry)]).await).await;
    let DeployError::OtherWorkload { found, pinned } = error else { panic!("{error:?}") };
    assert_eq!((found, pinned), (other.digest(), world.workload.digest()));
}

/// `Content-Digest` is the Drawbridge's word, and so decides nothing, neither for nor against.
#[tokio::test]
async fn a_header_with_a_digest_decides_nothing() {
    let world = World::new(Workload::usual());
    let evil = vec![9; world.workload.files[file::WASM].len()];
    let digest = drawbridge_types::ContentDigest::of(&world.workload.files[file::WASM]);
    let head =
        format!("HTTP/1.1 200 X\r\nContent-Digest: {digest}\r\nContent-Length: {}", evil.len());
    let lie = vec![Act::Send(raw(&head, &evil))];
    let error = refused(&world, &world.lying("/tree/main.wasm", lie).await).await;
    assert!(matches!(error, DeployError::Changed { .. }), "{error:?}");
}

#[tokio::test]
async fn signed_tags_are_read_and_held_against_the_pin() {
    use base64ct::{Base64UrlUnpadded, Encoding as _};
    let jws = |entry: &Entry| {
        let payload = Base64UrlUnpadded::encode_string(&serde_json::to_vec(entry).unwrap());
        format!("{{\"payload\":\"{payload}\",\"protected\":\"e30\",\"signature\":\"AAAA\"}}")
    };
    let world = World::new(Workload::usual());
    let signed = jws(&Entry::new(world.workload.root()));
    let server = world.lying("", vec![reply(200, media::JWS, signed.as_bytes())]).await;
    try_with(&world, &server).await.unwrap();

    let other = jws(&Entry::new(Meta::of(b"else", media::WASM)));
    let server = world.lying("", vec![reply(200, media::JWS, other.as_bytes())]).await;
    let world = World { host: TestHost::new(&world.development), ..world };
    let error = refused(&world, &server).await;
    assert!(matches!(error, DeployError::OtherWorkload { .. }), "{error:?}");
}

#[tokio::test]
async fn endless_and_overlong_bodies_are_cut_off() {
    let chunked = b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let chunk = [b"10000\r\n", &vec![b' '; 0x10000][..], b"\r\n"].concat();
    for path in ["", "/tree", "/tree/Enarx.toml", "/tree/main.artifact", "/tree/main.wasm"] {
        let world = World::new(Workload::usual());
        let acts = vec![Act::Send(chunked.clone()), Act::Endless(chunk.clone())];
        let error = refused(&world, &world.lying(path, acts).await).await;
        assert!(
            matches!(
                error,
                DeployError::TooLong { .. }
                    | DeployError::Changed { why: "it is longer", .. }
                    | DeployError::DrawbridgeSilent { .. }
            ),
            "{path}: {error:?}"
        );
    }
}

#[tokio::test]
async fn an_announced_length_beyond_the_bounds_is_not_even_asked_for() {
    // The directory itself is pinned, so this is a tenant who published too much.
    let mut workload = Workload::usual();
    workload.files.remove(file::ARTIFACT);
    let mut directory = drawbridge_types::Directory::default();
    let mut meta = Meta::of(b"\0asm", media::WASM);
    meta.length = MAX_WASM + 1;
    directory.insert(file::WASM.parse().unwrap(), Entry::new(meta));
    let bytes = directory.to_bytes();
    let root = drawbridge_types::Directory::meta(&bytes);
    let digest = root.digest.workload().unwrap();
    let world = World::new(workload);
    let entry = serde_json::to_vec(&Entry::new(root)).unwrap();
    let server = Server::start(
        Some(&world.ca.root),
        Box::new(move |got| {
            vec![match got.path.strip_prefix(TAG) {
                Some("") => reply(200, media::ENTRY, &entry),
                Some("/tree") => reply(200, media::DIRECTORY, &bytes),
                _ => reply(404, "text/plain", b""),
            }]
        }),
    )
    .await;
    let steward = world.steward().await;
    let mut launch = world.launch(&steward, &server);
    launch.digest = digest;
    let error = deploy(&launch, world.host.as_ref(), &TestLoader).await.unwrap_err();
    assert!(matches!(error, DeployError::TooLong { max: MAX_WASM, .. }), "{error:?}");
    assert_eq!(server.paths().len(), 2);
}

#[tokio::test]
async fn a_drawbridge_that_dies_mid_stream_is_told_from_a_short_file() {
    let world = World::new(Workload::usual());
    let content = world.workload.files[file::WASM].clone();
    let head = format!("HTTP/1.1 200 X\r\nContent-Length: {}", content.len());
    let acts = vec![Act::Send(raw(&head, &content[..100_000])), Act::Cut];
    let error = refused(&world, &world.lying("/tree/main.wasm", acts).await).await;
    assert!(matches!(error, DeployError::DrawbridgeSilent { .. }), "{error:?}");
    assert!(error.is_transient());

    let world = World::new(Workload::usual());
    let short = vec![reply(200, media::OCTETS, &content[..100_000])];
    let error = refused(&world, &world.lying("/tree/main.wasm", short).await).await;
    assert!(matches!(error, DeployError::Changed { why: "it is shorter", .. }), "{error:?}");
}

#[tokio::test]
async fn a_drawbridge_that_stalls_is_left() {
    for path in ["", "/tree/main.wasm"] {
        let world = World::new(Workload::usual());
        let workload = world.workload.clone();
        let answer = move |got: &Got| match got.path.strip_prefix(TAG) {
            Some(found) if found == path => {
                // Time passes at once from here on, as long as nothing else happens.
                tokio::time::pause();
                vec![Act::Send(b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\n".to_vec()), Act::Stall]
            }
            _ => vec![workload.answer(got)],
        };
        let server = Server::start(Some(&world.ca.root), Box::new(answer)).await;
        let error = try_with(&world, &server).await.unwrap_err();
        assert!(error.is_transient() && error.refusal() == Refusal::Drawbridge, "{error:?}");
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_drawbridge_that_is_down_is_named() {
    let world = World::new(Workload::usual());
    let mut server = world.drawbridge().await;
    server.address.set_port(1);
    let error = refused(&world, &server).await;
    assert!(error.message().contains("https://localhost:1/api/"), "{}", error.message());
}

#[tokio::test]
async fn a_drawbridge_with_another_certificate_gets_no_client_certificate() {
    let world = World::new(Workload::usual());
    let (mut server, other) = (world.drawbridge().await, world.drawbridge().await);
    server.root = other.root;
    let error = refused(&world, &server).await;
    assert!(matches!(error, DeployError::DrawbridgeSilent { .. }), "{error:?}");
    assert_eq!(server.paths(), [""; 0]);
}

#[tokio::test]
async fn refusals_are_passed_on() {
    let world = World::new(Workload::usual());
    let problem = br#"{"title":"t","detail":"the repository wants SNP","code":"release.platform","remedy":"use SNP"}"#;
    let server = world.lying("", vec![reply(403, media::PROBLEM, problem)]).await;
    let message = refused(&world, &server).await.message();
    assert!(
        message.contains("the repository wants SNP") && message.ends_with("help: use SNP"),
        "{message}"
    );
    // Even one that cannot be read, or that wants to write on the terminal.
    let world = World::new(Workload::usual());
    let server = world.lying("", vec![reply(500, "text/plain", b"\x1b[31m")]).await;
    let error = refused(&world, &server).await;
    assert!(error.is_transient() && !error.message().contains('\x1b'));
}

#[tokio::test]
async fn a_module_alone_is_a_workload() {
    let module = module();
    let meta = Meta::of(&module, media::WASM);
    let world = World::new(Workload::default());
    let entry = serde_json::to_vec(&Entry::new(meta.clone())).unwrap();
    let (steward, body) = (world.steward().await, module.clone());
    let server = Server::start(
        Some(&world.ca.root),
        Box::new(move |got| {
            vec![match got.path.strip_prefix(TAG) {
                Some("") => reply(200, media::ENTRY, &entry),
                Some("/tree") => reply(200, media::WASM, &body),
                _ => reply(404, "text/plain", b""),
            }]
        }),
    )
    .await;
    let mut launch = world.launch(&steward, &server);
    launch.digest = meta.digest.workload().unwrap();
    // There is nobody to compile it, but it arrived.
    let error = deploy(&launch, world.host.as_ref(), &TestLoader).await.unwrap_err();
    assert!(matches!(error, DeployError::NoCompiler(_)), "{error:?}");
    assert_eq!(world.host.steps(), [5, 6, 7, 8, 9, 10, 11, 12]);
}

#[tokio::test]
async fn files_that_the_configuration_names_come_along_and_others_do_not() {
    let module = module();
    let config =
        b"[[files]]\nkind = \"listen\"\nname = \"web\"\nport = 8443\nclient_auth = \"required\"\n\
                   trust = [\"clients.pem\"]\n";
    let files: &[(&str, &[u8])] = &[
        (file::WASM, &module),
        (file::CONFIG, config),
        (file::ARTIFACT, &artifact(&module)),
        ("clients.pem", b"not looked at here"),
        ("other.pem", b"nobody asks for it"),
    ];
    let world = World::new(Workload::new(files));
    let server = world.drawbridge().await;
    try_with(&world, &server).await.unwrap();
    let paths = server.paths();
    assert!(paths.iter().any(|path| path.ends_with("/tree/clients.pem")), "{paths:?}");
    assert!(!paths.iter().any(|path| path.ends_with("/tree/other.pem")), "{paths:?}");
}

#[tokio::test]
async fn a_faulty_configuration_is_shown() {
    let module = module();
    let workload = Workload::new(&[(file::WASM, &module), (file::CONFIG, b"nonsense = 1")]);
    let world = World::new(workload);
    let server = world.drawbridge().await;
    let error = try_with(&world, &server).await.unwrap_err();
    assert_eq!(error.refusal(), Refusal::Config);
    assert!(error.message().contains("nonsense"), "{}", error.message());
}

#[tokio::test]
async fn without_a_steward_a_keep_is_nobody_and_says_so() {
    let world = World::new(Workload::usual());
    let (steward, server) = (world.steward().await, {
        // One for public repositories: it asks for no certificate.
        let workload = world.workload.clone();
        Server::start(
            None,
            Box::new(move |got| {
                let got = Got { workload: Some(workload.digest()), ..got.clone() };
                vec![workload.answer(&got)]
            }),
        )
        .await
    });
    let mut launch = world.launch(&steward, &server);
    launch.steward = None;
    let deployed = deploy(&launch, world.host.as_ref(), &TestLoader).await.unwrap();
    assert!(deployed.identity.is_self_signed());
    assert_eq!(world.host.warnings().len(), 1, "{:?}", world.host.warnings());
    assert_eq!(steward.paths(), [""; 0]);
}

#[tokio::test]
async fn a_digest_that_is_none_ends_it_at_once() {
    for digest in ["", "sha256:", "sha256:00", "sha512:00", &format!("sha384:{}", "0".repeat(96))] {
        let world = World::new(Workload::usual());
        let (steward, server) = (world.steward().await, world.drawbridge().await);
        let mut launch = world.launch(&steward, &server);
        launch.digest = digest.to_owned();
        let error = deploy(&launch, world.host.as_ref(), &TestLoader).await.unwrap_err();
        assert_eq!(error.refusal(), Refusal::Launch);
        assert_eq!(steward.paths(), [""; 0]);
    }
}
