//! The contract of stores of bundles and of records. Each case gets an empty store. [`bundles`] and [`records`] run the
//! cases of one port one after another, and [`all`] those of both.

// The cases of a suite fail by panics.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{future::Future, rc::Rc};

use bytes::Bytes;
use starlane_bundle::{AppRecord, Digest, SecretKey, SignedManifest};
use starlane_protocol::Address;

use crate::ports::{BundleStore, RecordStore};

/// An implementation of both stores of a host.
pub trait Stores: BundleStore + RecordStore {}

impl<T: BundleStore + RecordStore> Stores for T {}

/// Runs the cases of both ports, each on a fresh back-end from `fresh`.
pub async fn all<F: Future<Output = Rc<dyn Stores>>>(fresh: impl Fn() -> F) {
    bundles(async || fresh().await as _).await;
    records(async || fresh().await as _).await;
}

/// Runs the cases of a store of bundles, each on a fresh one.
pub async fn bundles(fresh: impl AsyncFn() -> Rc<dyn BundleStore>) {
    no_bundle_is_there_at_first(&*fresh().await).await;
    a_manifest_comes_back_byte_for_byte(&*fresh().await).await;
    manifests_of_other_versions_stay_apart(&*fresh().await).await;
    a_blob_comes_back_whatever_its_size(&*fresh().await).await;
    a_blob_is_kept_under_the_digest_it_was_given(&*fresh().await).await;
    a_dropped_blob_is_gone_and_may_come_again(&*fresh().await).await;
    operations_may_overlap(&*fresh().await).await;
}

/// Runs the cases of a store of records, each on a fresh one.
pub async fn records(fresh: impl AsyncFn() -> Rc<dyn RecordStore>) {
    no_record_is_there_at_first(&*fresh().await).await;
    a_record_of_a_lower_revision_is_not_kept(&*fresh().await).await;
    records_come_back_all_and_in_order(&*fresh().await).await;
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// A signed text. Stores don't read manifests.
fn manifest(text: &str) -> SignedManifest {
    SignedManifest { bytes: text.into(), signature: SecretKey::from_seed([7; 32]).sign(text.as_bytes()) }
}

fn record(app: &str, revision: u64) -> AppRecord {
    AppRecord {
        app: address(app),
        revision,
        bundle: address("acme:repo:profiles:1.0.0"),
        manifest: Digest::of(app.as_bytes()),
        publisher: SecretKey::from_seed([7; 32]).public(),
        overrides: Vec::new(),
        maker: None,
    }
}

/// An empty store returns nothing, not an error. Removing a missing entry is not an error.
pub async fn no_bundle_is_there_at_first(store: &dyn BundleStore) {
    let (bundle, digest) = (address("acme:repo:profiles:1.0.0"), Digest::of(b""));
    assert_eq!(store.manifest(&bundle).await, Ok(None));
    assert_eq!(store.blob(&digest).await, Ok(None));
    assert_eq!(store.drop_blob(&digest).await, Ok(()));
}

/// The same for records.
pub async fn no_record_is_there_at_first(store: &dyn RecordStore) {
    let app = address("acme:profiles");
    assert_eq!(store.record(&app).await, Ok(None));
    assert_eq!(store.records().await, Ok(vec![]));
    assert_eq!(store.drop_record(&app).await, Ok(()));
}

/// The store keeps the exact signed bytes. Another put replaces them.
pub async fn a_manifest_comes_back_byte_for_byte(store: &dyn BundleStore) {
    let bundle = address("acme:repo:profiles:1.0.0");
    for text in ["{ \"a\" :\t1 }\n", "", "{\"ü\":\u{0}}"] {
        store.put_manifest(&bundle, manifest(text)).await.unwrap();
        assert_eq!(store.manifest(&bundle).await, Ok(Some(manifest(text))));
    }
}

/// A bundle's address includes its version.
pub async fn manifests_of_other_versions_stay_apart(store: &dyn BundleStore) {
    let versions = ["acme:repo:profiles:1.0.0", "acme:repo:profiles:1.0.1", "acme:repo:profiles:1.0.0-rc.1"];
    for version in versions {
        store.put_manifest(&address(version), manifest(version)).await.unwrap();
    }
    for version in versions {
        assert_eq!(store.manifest(&address(version)).await, Ok(Some(manifest(version))));
    }
}

/// An empty blob, one with every byte value, and a large one.
pub async fn a_blob_comes_back_whatever_its_size(store: &dyn BundleStore) {
    let every: Vec<u8> = (0..=255).collect();
    for bytes in [Vec::new(), every, vec![0xa5; 3 * 1024 * 1024 + 1]] {
        let digest = Digest::of(&bytes);
        store.put_blob(&digest, bytes.clone().into()).await.unwrap();
        let kept = store.blob(&digest).await.unwrap();
        // Not `assert_eq`, which would print 3 MiB.
        assert!(kept.as_deref() == Some(&bytes[..]), "a blob of {} bytes", bytes.len());
    }
}

/// A store checks no digests: the reader of a blob verifies it. So it accepts a damaged blob, and a put replaces it.
pub async fn a_blob_is_kept_under_the_digest_it_was_given(store: &dyn BundleStore) {
    let digest = Digest::of(b"right");
    store.put_blob(&digest, Bytes::from_static(b"wrong")).await.unwrap();
    assert_eq!(store.blob(&digest).await, Ok(Some(Bytes::from_static(b"wrong"))));
    store.put_blob(&digest, Bytes::from_static(b"right")).await.unwrap();
    assert_eq!(store.blob(&digest).await, Ok(Some(Bytes::from_static(b"right"))));
}

/// Removing one entry keeps the others.
pub async fn a_dropped_blob_is_gone_and_may_come_again(store: &dyn BundleStore) {
    let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
    store.put_blob(&one, Bytes::from_static(b"one")).await.unwrap();
    store.put_blob(&other, Bytes::from_static(b"other")).await.unwrap();
    store.drop_blob(&one).await.unwrap();
    assert_eq!(store.blob(&one).await, Ok(None));
    assert_eq!(store.blob(&other).await, Ok(Some(Bytes::from_static(b"other"))));
    store.put_blob(&one, Bytes::from_static(b"one")).await.unwrap();
    assert_eq!(store.blob(&one).await, Ok(Some(Bytes::from_static(b"one"))));
}

/// A tab with an old revision must not overwrite the newer record of another tab.
pub async fn a_record_of_a_lower_revision_is_not_kept(store: &dyn RecordStore) {
    for (revision, kept) in [(1, 1), (1, 1), (9, 9), (2, 9), (u64::MAX, u64::MAX), (9, u64::MAX)] {
        let kept = record("acme:profiles", kept);
        assert_eq!(store.put_record(record("acme:profiles", revision)).await, Ok(kept.clone()));
        assert_eq!(store.record(&address("acme:profiles")).await, Ok(Some(kept)));
    }
    store.drop_record(&address("acme:profiles")).await.unwrap();
    assert_eq!(store.record(&address("acme:profiles")).await, Ok(None));
}

/// In the order of their addresses.
pub async fn records_come_back_all_and_in_order(store: &dyn RecordStore) {
    for app in ["acme:b", "acme:c", "acme:a"] {
        store.put_record(record(app, 1)).await.unwrap();
    }
    store.drop_record(&address("acme:c")).await.unwrap();
    assert_eq!(store.records().await, Ok(vec![record("acme:a", 1), record("acme:b", 1)]));
}

/// Calls are made without waiting for earlier ones.
pub async fn operations_may_overlap(store: &dyn BundleStore) {
    let bytes = |index: usize| Bytes::from(vec![index as u8; 1000 + index]);
    let puts = (0..32).map(|index| {
        let bytes = bytes(index);
        store.put_blob(&Digest::of(&bytes), bytes)
    });
    for put in futures_util::future::join_all(puts).await {
        put.unwrap();
    }
    let gets = (0..32).map(|index| store.blob(&Digest::of(&bytes(index))));
    for (index, got) in futures_util::future::join_all(gets).await.into_iter().enumerate() {
        assert_eq!(got, Ok(Some(bytes(index))));
    }
}
