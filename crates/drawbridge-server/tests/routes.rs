// SPDX-License-Identifier: Apache-2.0

//! Every route and what it answers, over TLS.

mod common;

use common::{AUDIENCE, Answer, Package, World, problem};
use drawbridge_types::{ContentDigest, Entry, Meta, media};
use reqwest::Method;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_is_published_and_fetched() {
    let world = World::new().await;
    let alice = world.user("alice-sub");
    alice.register("alice-sub", "alice/shop", &json!({"public": true})).await;
    let package = Package::new(b"\0asm module");
    alice.publish("alice/shop", "1.0.0", &package).await;

    let anybody = world.anybody();
    let tags = anybody.get("/alice/shop/_tag").await;
    assert_eq!((tags.status, tags.json()), (200, json!(["1.0.0"])));
    let tag = anybody.get("/alice/shop/_tag/1.0.0").await;
    assert_eq!(tag.header("content-type"), media::ENTRY);
    let entry: Entry = serde_json::from_slice(&tag.body).unwrap();
    assert_eq!(entry, package.root());
    let digest: ContentDigest = tag.header("content-digest").parse().unwrap();
    assert_eq!(digest, ContentDigest::of(&tag.body));
    let root = anybody.get("/alice/shop/_tag/1.0.0/tree").await;
    assert_eq!(root.body, package.directory());
    assert_eq!(root.header("content-type"), media::DIRECTORY);
    assert_eq!(anybody.get("/alice/shop/_tag/1.0.0/tree/").await.body, package.directory());
    let module = anybody.get("/alice/shop/_tag/1.0.0/tree/main.wasm").await;
    assert_eq!(module.body, b"\0asm module");
    assert_eq!(module.header("content-type"), media::WASM);
    assert_eq!(module.header("content-length"), "11");
    assert_eq!(module.header("x-content-type-options"), "nosniff");
    let digest: ContentDigest = module.header("content-digest").parse().unwrap();
    assert_eq!(digest, ContentDigest::of(b"\0asm module"));
    assert_eq!(anybody.get("/alice/shop/_tag/1.0.0/tree/other").await.status, 404);
    assert_eq!(anybody.get("/alice/shop/_tag/1.0.0/tree/main.wasm/x").await.status, 404);
    let head = anybody.send(Method::HEAD, "/alice/shop/_tag/1.0.0/tree/main.wasm").await;
    assert_eq!((head.status, head.header("content-length")), (200, "11"));
    for path in ["/alice/shop/_tag", "/alice/shop/_tag/1.0.0", "/alice/shop/_resolve/latest"] {
        assert_eq!(anybody.send(Method::HEAD, path).await.status, 200, "{path}");
    }
    for path in ["/alice", "/alice/shop"] {
        assert_eq!(alice.send(Method::HEAD, path).await.status, 200, "{path}");
    }
    world.bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_of_the_interface_are_told_apart() {
    let world = World::new().await;
    let anybody = world.anybody();
    for (path, status, code) in [
        ("/api/v0.2.0/alice/shop/_tag", 501, "version.unsupported"),
        ("/api/v1.0.0/alice/shop/_tag", 501, "version.unsupported"),
        ("/api/v1.0.0/a/b/c/d/e", 501, "version.unsupported"),
        ("/api/vx/alice/shop/_tag", 400, "version.malformed"),
        ("/api/0.1.0/alice/shop/_tag", 400, "version.malformed"),
        ("/api/v0.1.0/al-ice/shop/_tag", 400, "name.invalid"),
        ("/api/v0.1.0/alice/shop/_tag/one", 400, "name.invalid"),
        ("/api/v0.1.0/alice/shop/_tag/1.0.0/tree/a%2F..", 400, "name.invalid"),
        ("/api/v0.1.0/alice/shop/_what", 404, "http.not-found"),
        ("!/nothing", 404, "http.not-found"),
    ] {
        assert_eq!(anybody.get(path).await.problem(), problem(status, code), "{path}");
    }
    // An older patch is as good as this one.
    assert_eq!(anybody.get("/api/v0.1.7/alice/shop/_tag").await.status, 401);
    let answer = anybody.send(Method::POST, "/alice/shop/_tag").await;
    assert_eq!(answer.problem(), problem(405, "http.method"));
    assert!(answer.header("allow").contains("GET"), "{}", answer.header("allow"));
    for path in ["!/healthz", "!/health", "!/metrics", "!/openapi.json"] {
        assert_eq!(anybody.get(path).await.status, 200, "{path}");
    }
    assert_eq!(anybody.send(Method::POST, "!/health").await.status, 200);
    let metrics = anybody.get("!/metrics").await.text();
    assert!(metrics.contains("drawbridge_http_requests_total"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_the_owner_learns_nothing() {
    let world = World::new().await;
    let (alice, bob, anybody) = (world.user("a"), world.user("b"), world.anybody());
    alice.register("a", "alice/secret", &json!({"public": false})).await;
    bob.register("b", "bob/own", &json!({})).await;
    alice.publish("alice/secret", "1.0.0", &Package::new(b"secret")).await;

    for path in [
        "/alice/secret/_tag",
        "/alice/secret/_tag/1.0.0",
        "/alice/secret/_tag/1.0.0/tree",
        "/alice/secret/_tag/1.0.0/tree/main.wasm",
        "/alice/secret/_tag/1.0.0/_signature",
        "/alice/secret/_resolve/latest",
        "/alice/secret",
    ] {
        let missing = path.replace("secret", "nothing");
        for (caller, status, code) in
            [(&anybody, 401, "token.missing"), (&bob, 404, "access.not-found")]
        {
            let (found, none) = (caller.get(path).await, caller.get(&missing).await);
            assert_eq!(found.problem(), problem(status, code), "{path}");
            assert_eq!(found.body, none.body, "{path}");
        }
    }
    assert_eq!(alice.get("/alice/secret/_tag/1.0.0/tree/main.wasm").await.body, b"secret");
    // Nor can anybody else change anything.
    let package = Package::new(b"other");
    for caller in [&bob, &anybody] {
        assert!(matches!(
            caller.put_tag("/alice/secret/_tag/2.0.0", &package.root()).await.status,
            401 | 404
        ));
        for path in ["/alice/secret/_tag/1.0.0", "/alice/secret", "/alice"] {
            assert!(matches!(caller.delete(path).await.status, 401 | 404), "{path}");
        }
    }
    assert_eq!(bob.get("/alice").await.status, 404);
    assert_eq!(bob.put_json("/carol", &json!({"subject": "a"})).await.code(), "user.subject");
    assert_eq!(alice.get("/alice").await.json(), json!({"subject": "a"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_judged() {
    let world = World::new().await;
    let mut caller = world.anybody();
    let record = json!({"subject": "a"});
    assert_eq!(caller.put_json("/alice", &record).await.problem(), problem(401, "token.missing"));
    for (token, code) in [
        ("not.a.token".to_owned(), "token.invalid"),
        (world.issuer.mint("a", "https://elsewhere/", &common::ALL), "token.invalid"),
    ] {
        caller.token = Some(token);
        let answer = caller.put_json("/alice", &record).await;
        assert_eq!(answer.problem(), problem(401, code));
        assert!(answer.header("www-authenticate").contains("invalid_token"));
    }
    for scopes in [&["read:drawbridge_users"][..], &["manage:drawbridge_tags"], &[]] {
        caller.token = Some(world.issuer.mint("a", AUDIENCE, scopes));
        let answer = caller.put_json("/alice", &record).await;
        assert_eq!(answer.problem(), problem(403, "token.scope"), "{scopes:?}");
    }
    caller.token = Some(world.issuer.mint("a", AUDIENCE, &["write:drawbridge_users"]));
    assert_eq!(caller.put_json("/alice", &record).await.status, 201);
    assert_eq!(caller.get("/alice").await.status, 200);
    assert_eq!(caller.delete("/alice").await.problem(), problem(403, "token.scope"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_stays_as_it_is() {
    let world = World::new().await;
    let alice = world.user("a");
    alice.register("a", "alice/shop", &json!({"public": true})).await;
    let package = Package::new(b"one");
    alice.publish("alice/shop", "1.0.0", &package).await;
    let exists = problem(409, "name.exists");
    assert_eq!(alice.put_json("/alice", &json!({"subject": "a"})).await.problem(), exists);
    assert_eq!(alice.put_json("/alice/shop", &json!({"public": false})).await.problem(), exists);
    let other = Package::new(b"two");
    let tag = "/alice/shop/_tag/1.0.0";
    assert_eq!(alice.put_tag(tag, &other.root()).await.problem(), exists);
    let tree = format!("{tag}/tree");
    assert_eq!(alice.put(&tree, media::DIRECTORY, &package.directory()).await.problem(), exists);
    let answer = alice.put(&tree, media::DIRECTORY, &other.directory()).await;
    assert_eq!(answer.problem(), problem(400, "digest.mismatch"));

    // A repository's policy can be changed by who has seen it as it is.
    let found = alice.get("/alice/shop").await;
    let change = |etag: String| {
        let request = alice.request(Method::PUT, "/alice/shop").header("if-match", etag);
        async move { Answer::of(request.body(r#"{"public":false}"#).send().await.unwrap()).await }
    };
    assert_eq!(change("\"7\"".into()).await.problem(), problem(412, "repository.changed"));
    assert_eq!(change("x".into()).await.problem(), problem(400, "http.header"));
    let changed = change(found.header("etag").into()).await;
    assert_eq!((changed.status, changed.header("etag")), (204, "\"1\""));
    assert_eq!(change(found.header("etag").into()).await.status, 412);
    assert_eq!(world.anybody().get(tag).await.status, 401);

    // What was deleted is gone, with its name.
    assert_eq!(alice.delete(tag).await.status, 204);
    assert_eq!(alice.get(tag).await.status, 404);
    assert_eq!(alice.delete(tag).await.status, 404);
    let deleted = problem(409, "name.deleted");
    assert_eq!(alice.put_tag(tag, &package.root()).await.problem(), deleted);
    assert_eq!(alice.delete("/alice/shop").await.status, 204);
    assert_eq!(alice.get("/alice/shop").await.status, 404);
    assert_eq!(alice.put_json("/alice/shop", &json!({})).await.problem(), deleted);
    assert_eq!(alice.delete("/alice").await.status, 204);
    assert_eq!(alice.put_json("/alice", &json!({"subject": "a"})).await.problem(), deleted);
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_resolve_to_the_highest_tag_that_is_whole() {
    let world = World::new().await;
    let alice = world.user("a");
    alice.register("a", "alice/shop", &json!({"public": true})).await;
    let resolve = async |request: &str| {
        let path = format!("/alice/shop/_resolve/{}", request.replace('^', "%5E"));
        let answer = world.anybody().get(&path).await;
        match answer.status {
            200 => answer.json()["tag"].as_str().unwrap().to_owned(),
            _ => answer.code(),
        }
    };
    assert_eq!(resolve("latest").await, "access.not-found");
    for version in ["1.0.0", "1.2.0", "1.10.0", "2.0.0-rc.1"] {
        alice.publish("alice/shop", version, &Package::new(version.as_bytes())).await;
    }
    assert_eq!(resolve("latest").await, "1.10.0");
    assert_eq!(resolve("^1.0").await, "1.10.0");
    assert_eq!(resolve("~1.2").await, "1.2.0");
    assert_eq!(resolve("2.0.0-rc.1").await, "2.0.0-rc.1");
    assert_eq!(resolve("^3").await, "access.not-found");
    assert_eq!(resolve("one").await, "name.invalid");
    // A tag whose files are still missing is found by nobody.
    let package = Package::new(b"3");
    alice.put_tag("/alice/shop/_tag/3.0.0", &package.root()).await;
    assert_eq!(resolve("latest").await, "1.10.0");
    assert_eq!(resolve("3.0.0").await, "tag.incomplete");
    let tree = "/alice/shop/_tag/3.0.0/tree";
    alice.put(tree, media::DIRECTORY, &package.directory()).await;
    assert_eq!(resolve("latest").await, "1.10.0");
    for (name, kind, content) in &package.0 {
        assert_eq!(resolve("latest").await, "1.10.0");
        assert_eq!(alice.put(&format!("{tree}/{name}"), kind, content).await.status, 201);
    }
    assert_eq!(resolve("latest").await, "3.0.0");
    // Nor is one that its owner withdrew, but by its exact version.
    assert_eq!(alice.send(Method::PUT, "/alice/shop/_tag/3.0.0/_yank").await.status, 204);
    assert_eq!(resolve("latest").await, "1.10.0");
    assert_eq!(resolve("3.0.0").await, "3.0.0");
    let terms = world.anybody().get("/alice/shop/_resolve/3.0.0").await;
    assert_eq!(terms.header("content-type"), media::TERMS);
    let terms: drawbridge_types::Terms = serde_json::from_slice(&terms.body).unwrap();
    assert!(terms.yanked && terms.steward.is_none());
    assert_eq!(terms.meta, package.root().meta);
    assert_eq!(alice.delete("/alice/shop/_tag/3.0.0/_yank").await.status, 204);
    assert_eq!(resolve("latest").await, "3.0.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_checked_against_their_parents() {
    let world = World::new().await;
    let alice = world.user("a");
    alice.register("a", "alice/shop", &json!({"public": true})).await;
    let package = Package::new(b"0123456789");
    let tag = "/alice/shop/_tag/1.0.0";
    let tree = format!("{tag}/tree");
    let module = format!("{tree}/main.wasm");
    let put = async |path: &str, kind: &str, content: &[u8]| {
        alice.put(path, kind, content).await.problem()
    };
    assert_eq!(put(&tree, media::DIRECTORY, b"{}").await, problem(404, "access.not-found"));
    alice.put_tag(tag, &package.root()).await;
    assert_eq!(put(&module, media::WASM, b"x").await, problem(409, "tree.no-parent"));
    alice.put(&tree, media::DIRECTORY, &package.directory()).await;
    let wrong = problem(400, "tree.not-in-parent");
    assert_eq!(put(&format!("{tree}/other"), media::WASM, b"x").await, wrong);
    assert_eq!(put(&format!("{module}/x"), media::WASM, b"x").await, wrong);
    assert_eq!(put(&module, media::WASM, b"012345678x").await, problem(400, "digest.mismatch"));
    assert_eq!(put(&module, "text/html", b"0123456789").await, problem(400, "type.mismatch"));
    // The digest of the right content, and other content.
    let digest = ContentDigest::of(b"0123456789").to_string();
    for (content, code) in [
        (&b"012345678x"[..], "digest.mismatch"),
        (b"01234", "length.mismatch"),
        (&[b'x'; 4096], "length.mismatch"),
    ] {
        let request = alice.request(Method::PUT, &module).body(content.to_vec());
        let request = request.header("content-type", media::WASM);
        let request = request.header("content-digest", &digest);
        let answer = Answer::of(request.send().await.unwrap()).await;
        assert_eq!(answer.problem(), problem(400, code));
    }
    for (name, value, code) in [
        ("content-digest", "", "digest.missing"),
        ("content-digest", "sha-512=:x:", "digest.missing"),
        ("content-type", "", "http.header"),
    ] {
        let request = alice.request(Method::PUT, &module).body("0123456789");
        let mut request = request.build().unwrap();
        let headers = request.headers_mut();
        headers.insert("content-type", media::WASM.parse().unwrap());
        headers.insert("content-digest", digest.parse().unwrap());
        match value {
            "" => drop(headers.remove(name)),
            value => drop(headers.insert(name, value.parse().unwrap())),
        }
        let answer = Answer::of(alice.client.execute(request).await.unwrap()).await;
        assert_eq!(answer.problem(), problem(400, code), "{name}");
    }
    // Nothing of all that was kept.
    assert_eq!(world.files("blobs").len(), 1);
    assert_eq!(world.files("staging").len(), 0);
    assert_eq!(alice.get(&module).await.status, 404);
    assert_eq!(alice.put(&module, media::WASM, b"0123456789").await.status, 201);
    assert_eq!(alice.get(&module).await.body, b"0123456789");

    // A directory that is none, and one that names nothing by SHA-256.
    let not = Entry::new(Meta::of(b"not json", media::DIRECTORY));
    alice.put_tag("/alice/shop/_tag/1.0.1", &not).await;
    let answer = alice.put("/alice/shop/_tag/1.0.1/tree", media::DIRECTORY, b"not json").await;
    assert_eq!(answer.problem(), problem(400, "content.invalid"));
    let digest = r#"{"sha-224":"abcdabcdabcdabcdabcdabcdabcdabcdabcdaA=="}"#;
    let text = format!(r#"{{"digest":{digest},"length":1,"type":"a/b"}}"#);
    let answer = alice.put("/alice/shop/_tag/1.0.2", media::ENTRY, text.as_bytes()).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(world.files("staging").len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_digest_of_content_does_not_open_it() {
    // Bob knows digests of Alice's private workload, and names them in a tag of his own.
    let world = World::new().await;
    let (alice, bob) = (world.user("a"), world.user("b"));
    alice.register("a", "alice/secret", &json!({})).await;
    bob.register("b", "bob/copy", &json!({"public": true})).await;
    let package = Package::new(b"secret");
    alice.publish("alice/secret", "1.0.0", &package).await;
    bob.put_tag("/bob/copy/_tag/1.0.0", &package.root()).await;
    for path in ["", "/main.wasm", "/nothing"] {
        let path = format!("/bob/copy/_tag/1.0.0/tree{path}");
        assert_eq!(bob.get(&path).await.status, 404, "{path}");
    }
    assert_eq!(bob.get("/bob/copy/_resolve/1.0.0").await.code(), "tag.incomplete");
    // Also not when he has the directory, but not the module.
    let tree = "/bob/copy/_tag/1.0.0/tree";
    assert_eq!(bob.put(tree, media::DIRECTORY, &package.directory()).await.status, 201);
    assert_eq!(bob.get("/bob/copy/_tag/1.0.0/tree/main.wasm").await.status, 404);
    // Content that two have is there once.
    let module = "/bob/copy/_tag/1.0.0/tree/main.wasm";
    assert_eq!(bob.put(module, media::WASM, b"secret").await.status, 201);
    assert_eq!(world.files("blobs").len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_and_conditions() {
    let world = World::new().await;
    let alice = world.user("a");
    alice.register("a", "alice/shop", &json!({"public": true})).await;
    let content: Vec<u8> = (0..400_000u32).flat_map(u32::to_le_bytes).collect();
    alice.publish("alice/shop", "1.0.0", &Package::new(&content)).await;
    let path = "/alice/shop/_tag/1.0.0/tree/main.wasm";
    let get = async |headers: &[(&str, &str)]| {
        let mut request = world.anybody().request(Method::GET, path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::of(request.send().await.unwrap()).await
    };
    let whole = get(&[]).await;
    assert_eq!((whole.status, &whole.body), (200, &content));
    let etag = whole.header("etag").to_owned();
    let part = get(&[("range", "bytes=100-199999")]).await;
    assert_eq!((part.status, &part.body[..]), (206, &content[100..200_000]));
    assert_eq!(part.header("content-range"), "bytes 100-199999/1600000");
    assert_eq!(part.header("content-digest"), "");
    assert_eq!(part.header("repr-digest"), whole.header("content-digest"));
    let last = get(&[("range", "bytes=-10")]).await;
    assert_eq!(last.body, content[content.len() - 10..]);
    let none = get(&[("range", "bytes=1600000-")]).await;
    assert_eq!(none.problem(), problem(416, "range.unsatisfiable"));
    assert_eq!(none.header("content-range"), "bytes */1600000");
    assert_eq!(get(&[("range", "bytes=5-4")]).await.status, 200);
    let same = get(&[("if-none-match", &etag)]).await;
    assert_eq!((same.status, same.body.len(), same.header("etag")), (304, 0, &etag[..]));
    assert_eq!(get(&[("if-none-match", "\"other\"")]).await.status, 200);
    assert_eq!(get(&[("range", "bytes=0-9"), ("if-range", &etag)]).await.status, 206);
    assert_eq!(get(&[("range", "bytes=0-9"), ("if-range", "\"other\"")]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages() {
    let world = World::new().await;
    let (alice, anybody) = (world.user("a"), world.anybody());
    alice.register("a", "alice/shop", &json!({"public": true})).await;
    alice.register("a", "alice/secret-shop", &json!({})).await;
    alice.register("a", "alice/Cafe", &json!({"public": true})).await;
    for minor in [0, 1, 2, 9, 10, 11] {
        let package = Package::new(b"same");
        alice.publish("alice/shop", &format!("1.{minor}.0"), &package).await;
    }
    let mut after = String::new();
    let mut seen = Vec::new();
    loop {
        let path = format!("/alice/shop/_tag?limit=4&after={after}");
        let page: drawbridge_types::Page<drawbridge_types::TagSummary> =
            serde_json::from_slice(&anybody.get(&path).await.body).unwrap();
        seen.extend(page.items.iter().map(|item| item.tag.to_string()));
        assert!(page.items.iter().all(|item| !item.signed && !item.yanked));
        let Some(next) = page.next else { break };
        after = next;
    }
    assert_eq!(seen, ["1.0.0", "1.1.0", "1.2.0", "1.9.0", "1.10.0", "1.11.0"]);
    for limit in ["0", "1001", "x", "-1"] {
        let answer = anybody.get(&format!("/alice/shop/_tag?limit={limit}")).await;
        assert_eq!(answer.problem(), problem(400, "http.query"), "{limit}");
    }
    let names = async |caller: &common::Caller, path: &str| {
        let page: drawbridge_types::Page<drawbridge_types::RepositorySummary> =
            serde_json::from_slice(&caller.get(path).await.body).unwrap();
        let items = page.items.iter().map(|item| format!("{}/{}", item.user, item.repo));
        (items.collect::<Vec<_>>().join(" "), page.next)
    };
    assert_eq!(names(&anybody, "/_search?q=SHOP").await, ("alice/shop".into(), None));
    let both = ("alice/secret-shop alice/shop".to_owned(), None);
    assert_eq!(names(&alice, "/_search?q=shop").await, both);
    assert_eq!(names(&anybody, "/_search?q=nothing").await, (String::new(), None));
    assert_eq!(names(&anybody, "/alice/_repositories").await.0, "alice/Cafe alice/shop");
    let (first, next) = names(&alice, "/alice/_repositories?limit=2").await;
    assert_eq!(first, "alice/Cafe alice/secret-shop");
    let rest = format!("/alice/_repositories?limit=2&after={}", next.unwrap());
    assert_eq!(names(&alice, &rest).await, ("alice/shop".into(), None));
    let (first, next) = names(&alice, "/_search?q=&limit=1").await;
    assert_eq!(first, "alice/Cafe");
    let rest = format!("/_search?q=&limit=9&after={}", next.unwrap());
    assert_eq!(names(&alice, &rest).await.0, "alice/secret-shop alice/shop");
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_hold() {
    let world = World::with(|config| {
        config.quotas.bytes = 2000;
        config.quotas.repositories = 2;
        config.quotas.tags = 3;
        config.quotas.users_per_subject = 2;
        config.quotas.nodes = 4;
        config.limits.file = 1500;
    })
    .await;
    let alice = world.user("a");
    let full = problem(403, "quota.exceeded");
    alice.register("a", "alice/one", &json!({"public": true})).await;
    alice.register("a", "alice/two", &json!({})).await;
    assert_eq!(alice.put_json("/alice/three", &json!({})).await.problem(), full);
    assert_eq!(alice.put_json("/alice2", &json!({"subject": "a"})).await.status, 201);
    assert_eq!(alice.put_json("/alice3", &json!({"subject": "a"})).await.problem(), full);
    // A bare module of 1000 bytes twice is as much as there may be.
    let bare = |size: usize| (vec![7; size], Entry::new(Meta::of(&vec![7; size], media::WASM)));
    let (content, entry) = bare(1000);
    for tag in ["1.0.0", "1.0.1"] {
        assert_eq!(alice.put_tag(&format!("/alice/one/_tag/{tag}"), &entry).await.status, 201);
        let tree = format!("/alice/one/_tag/{tag}/tree");
        assert_eq!(alice.put(&tree, media::WASM, &content).await.status, 201);
    }
    let (small, entry) = bare(1);
    assert_eq!(alice.put_tag("/alice/two/_tag/1.0.0", &entry).await.status, 201);
    let tree = "/alice/two/_tag/1.0.0/tree";
    assert_eq!(alice.put(tree, media::WASM, &small).await.problem(), full);
    assert_eq!(alice.put_tag("/alice/two/_tag/1.0.1", &entry).await.problem(), full);
    // What is deleted makes room.
    assert_eq!(alice.delete("/alice/one/_tag/1.0.1").await.status, 204);
    assert_eq!(alice.put(tree, media::WASM, &small).await.status, 201);
    // Files and trees have bounds of their own.
    let bob = world.user("b");
    bob.register("b", "bob/one", &json!({})).await;
    let (large, entry) = bare(1501);
    assert_eq!(bob.put_tag("/bob/one/_tag/1.0.0", &entry).await.status, 201);
    let answer = bob.put("/bob/one/_tag/1.0.0/tree", media::WASM, &large).await;
    assert_eq!(answer.problem(), problem(413, "http.body-too-large"));
    let mut package = Package::new(b"x");
    package.0.push(("a", "a/b", vec![1]));
    package.0.push(("b", "a/b", vec![2]));
    assert_eq!(bob.put_tag("/bob/one/_tag/1.0.1", &package.root()).await.status, 201);
    let directory = package.directory();
    let answer = bob.put("/bob/one/_tag/1.0.1/tree", media::DIRECTORY, &directory).await;
    assert_eq!(answer.problem(), full);
}
