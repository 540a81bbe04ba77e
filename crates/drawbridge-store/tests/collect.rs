// SPDX-License-Identifier: Apache-2.0

//! Collecting garbage and checking, in a folder.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use drawbridge_store::{
    About, Grace, Quotas, RepoId, Store, StoreError, TagId, TagRecord, UploadId,
};
use drawbridge_types::{Entry, Meta, Repository, TreePath, UserRecord, media};

fn tag(version: &str) -> TagId {
    let repo = RepoId { user: "alice".parse().unwrap(), repo: "shop".parse().unwrap() };
    repo.tag(version.parse().unwrap())
}

async fn prepared(folder: &Path) -> Store {
    let store = Store::open(folder.to_str().unwrap(), Quotas::default()).unwrap();
    let user = "alice".parse().unwrap();
    store.create_user(&user, &UserRecord { subject: "a".into() }).await.unwrap();
    store.create_repository(&tag("1.0.0").repo, &Repository::default()).await.unwrap();
    store
}

/// A tag whose tree is that one file.
async fn publish(store: &Store, version: &str, content: &'static [u8]) -> Result<(), StoreError> {
    let entry = Entry::new(Meta::of(content, media::WASM));
    let body = serde_json::to_string(&entry).unwrap();
    let record = TagRecord { kind: media::ENTRY.into(), body, entry: entry.clone(), created: 0 };
    store.create_tag(&tag(version), &record).await?;
    put(store, version, &entry, content).await
}

async fn put(
    store: &Store,
    version: &str,
    entry: &Entry,
    content: &'static [u8],
) -> Result<(), StoreError> {
    let (tag, path) = (tag(version), TreePath::default());
    let admission = store.admit_node(&tag, &path, &entry.meta, false).await?;
    let mut incoming = store.incoming(&entry.meta, None)?;
    incoming.write(Bytes::from_static(content)).await?;
    Store::put_node(&tag, entry, &path, incoming, &entry.meta, admission).await.map(drop)
}

/// Everything is old enough.
const NOW: Grace =
    Grace { content: Duration::ZERO, uploads: Duration::ZERO, files: Duration::ZERO };

async fn collect_all(store: &Store) -> drawbridge_store::Collected {
    // Times are whole seconds, and what is of this very second is never old.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    store.collect(NOW).await.unwrap()
}

#[tokio::test]
async fn what_a_tag_names_stays_and_the_rest_goes() {
    let folder = tempfile::tempdir().unwrap();
    let store = prepared(folder.path()).await;
    for (version, content) in [("1.0.0", &b"one"[..]), ("1.0.1", b"two"), ("1.0.2", b"two")] {
        publish(&store, version, content).await.unwrap();
    }
    let before = collect_all(&store).await;
    assert_eq!((before.contents, before.kept), (0, 2));
    store.delete_tag(&tag("1.0.1")).await.unwrap();
    assert_eq!(collect_all(&store).await.contents, 0, "another tag names it");
    store.delete_tag(&tag("1.0.2")).await.unwrap();
    // Not yet: it was written a moment ago.
    assert_eq!(store.collect(Grace::default()).await.unwrap().contents, 0);
    let after = collect_all(&store).await;
    assert_eq!((after.contents, after.bytes, after.kept), (1, 3, 1));
    assert!(store.check(true).await.unwrap().faults.is_empty());
    // That versions were deleted is still known.
    assert!(matches!(publish(&store, "1.0.1", b"new").await, Err(StoreError::Deleted(_))));
    store.delete_repository(&tag("1.0.0").repo).await.unwrap();
    assert_eq!(collect_all(&store).await.kept, 0);
    assert!(
        !folder
            .path()
            .join("nodes/alice/shop/1.0.0")
            .read_dir()
            .is_ok_and(|mut dir| dir.next().is_some())
    );
}

#[tokio::test]
async fn what_a_killed_collection_had_moved_away_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = prepared(folder.path()).await;
    publish(&store, "1.0.0", b"one").await.unwrap();
    let entry = Entry::new(Meta::of(b"one", media::WASM));
    let hex = entry.meta.digest.workload().unwrap().replace("sha256:", "");
    let (blob, trash) = (
        folder.path().join(format!("blobs/sha256/{}/{hex}", &hex[..2])),
        folder.path().join("trash"),
    );
    std::fs::create_dir_all(&trash).unwrap();
    std::fs::rename(&blob, trash.join(&hex)).unwrap();
    std::fs::write(trash.join("00".repeat(32)), b"rubbish").unwrap();
    assert!(!store.check(false).await.unwrap().faults.is_empty());
    let collected = store.collect(Grace::default()).await.unwrap();
    assert_eq!(collected.contents, 1);
    assert!(blob.exists() && !trash.join(&hex).exists());
    assert!(store.check(true).await.unwrap().faults.is_empty());
    // Content that is gone for good can be put again.
    std::fs::remove_file(&blob).unwrap();
    assert!(!store.has_node(&tag("1.0.0"), &TreePath::default(), &entry.meta).await.unwrap());
    let again = put(&store, "1.0.0", &entry, b"one").await;
    assert!(matches!(again, Err(StoreError::Exists(_)) | Ok(())), "{again:?}");
    assert!(store.check(true).await.unwrap().faults.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_beside_collections_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = prepared(folder.path()).await;
    let others: Vec<_> = (0..2)
        .map(|_| {
            let store = Store::open(folder.path().to_str().unwrap(), Quotas::default()).unwrap();
            tokio::spawn(async move {
                loop {
                    // Far less grace than it may have: what is older than a second goes.
                    let grace = Grace { files: Duration::from_secs(60), ..NOW };
                    let _ = store.collect(grace).await;
                }
            })
        })
        .collect();
    // The same content again and again, with and without a tag that names it.
    let mut refused = 0;
    for round in 0..40u64 {
        let version = format!("1.{round}.0");
        match publish(&store, &version, b"again").await {
            Ok(()) => {}
            Err(StoreError::Busy) => refused += 1,
            Err(error) => panic!("{error}"),
        }
        if round % 3 != 0 {
            store.delete_tag(&tag(&version)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    }
    for other in others {
        other.abort();
        let _ = other.await;
    }
    store.collect(Grace::default()).await.unwrap();
    let checked = store.check(true).await.unwrap();
    assert!(checked.faults.is_empty(), "{:?}", checked.faults);
    assert!(refused < 40, "nothing was published");
}

#[tokio::test]
async fn uploads_that_nobody_goes_on_with_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let store = prepared(folder.path()).await;
    let id = UploadId::new(&"alice".parse().unwrap(), [7; 16]);
    let meta = Meta::of(b"content", media::WASM);
    let about = About::new(&tag("1.0.0"), &TreePath::default(), meta, None);
    store.begin_upload(&id, &about).await.unwrap();
    let mut appender = store.append(&id, 0, 7).await.unwrap();
    appender.write(Bytes::from_static(b"con")).await.unwrap();
    assert_eq!(appender.commit().await.unwrap(), 3);
    // Somebody else at the same byte comes too late.
    let mut late = store.append(&id, 0, 7).await.unwrap();
    late.write(Bytes::from_static(b"CON")).await.unwrap();
    assert!(matches!(late.commit().await, Err(StoreError::Offset(0))));
    assert_eq!(store.upload(&id).await.unwrap().unwrap().1, 3);
    assert_eq!(store.collect(Grace::default()).await.unwrap().uploads, 0);
    // What a killed process left in the making.
    std::fs::write(folder.path().join("staging/drawbridge-1-2-3"), b"half").unwrap();
    std::fs::write(folder.path().join("blobs-are-named-otherwise#1"), b"half").unwrap();
    let collected = collect_all(&store).await;
    assert_eq!((collected.uploads, collected.files), (1, 2));
    assert_eq!(store.upload(&id).await.unwrap(), None);
}

#[tokio::test]
async fn a_flipped_bit_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let store = prepared(folder.path()).await;
    publish(&store, "1.0.0", b"one").await.unwrap();
    let hex = Meta::of(b"one", "a/b").digest.workload().unwrap().replace("sha256:", "");
    let blob = folder.path().join(format!("blobs/sha256/{}/{hex}", &hex[..2]));
    std::fs::write(&blob, b"onf").unwrap();
    assert!(store.check(false).await.unwrap().faults.is_empty());
    let faults = store.check(true).await.unwrap().faults;
    assert_eq!(faults.len(), 1);
    assert!(faults[0].key.contains(&hex) && faults[0].what.contains("digest"), "{faults:?}");
    std::fs::write(&blob, b"o").unwrap();
    assert_eq!(store.check(false).await.unwrap().faults.len(), 1);
}
