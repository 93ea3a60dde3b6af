use std::{
    fs,
    sync::{atomic::Ordering::Relaxed, mpsc},
};

use futures_util::{FutureExt, StreamExt, future::join_all};

use super::*;
use crate::disk;

const MEMORY: u64 = 1 << 20;

fn kept(bytes: &[u8]) -> (tempfile::TempDir, SharedStore, Digest) {
    let folder = tempfile::tempdir().unwrap();
    let store = SharedStore::new(folder.path());
    let digest = Digest::of(bytes);
    store.put_blob(&digest, bytes).unwrap();
    (folder, store, digest)
}

#[tokio::test]
async fn every_range_of_a_blob_is_the_same_as_in_memory() {
    let all: Vec<u8> = (0..3 * PIECE + 17).map(|n| (n % 251) as u8).collect();
    for length in [0, 1, PIECE as usize, PIECE as usize + 1, all.len()] {
        let whole = &all[..length];
        let (_folder, store, digest) = kept(whole);
        let verified = Verified::new(MEMORY);
        for (start, end) in [(0, length), (length / 2, length), (0, length.min(1)), (length, length)] {
            let blob = verified.open(&store, &digest).await.unwrap().unwrap();
            assert_eq!(blob.length(), length as u64);
            let body = blob.body(start as u64..end as u64);
            let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            assert!(bytes == whole[start..end], "{start}..{end} of {length}");
        }
    }
    let (_folder, store, _) = kept(b"x");
    assert!(Verified::new(MEMORY).open(&store, &Digest::of(b"other")).await.unwrap().is_none());
}

#[tokio::test]
async fn a_damaged_blob_is_not_sent_as_complete() {
    for length in [100, 3 * PIECE as usize] {
        let (_folder, store, digest) = kept(&vec![7; length]);
        let verified = Verified::new(MEMORY);
        assert!(verified.open(&store, &digest).await.is_ok());
        let blob = verified.open(&store, &digest).await.unwrap().unwrap();
        fs::write(store.blob_file(&digest).unwrap(), vec![8; length + 1]).unwrap();
        assert!(verified.open(&store, &digest).await.is_err(), "it is verified again");
        // An answer that began earlier gets its bytes or ends early.
        let body = axum::body::to_bytes(blob.body(0..length as u64), usize::MAX).await;
        assert!(body.map_or(true, |bytes| bytes.iter().all(|byte| *byte == 7)));
    }
}

#[tokio::test]
async fn short_blobs_stay_in_memory_until_they_are_removed_or_evicted() {
    let folder = tempfile::tempdir().unwrap();
    let store = SharedStore::new(folder.path());
    let put = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        store.put_blob(&digest, bytes).unwrap();
        digest
    };
    let verified = Verified::new(MEMORY);
    let (short, long) = (put(b"short"), put(&vec![1; PIECE as usize + 1]));
    assert!(verified.in_memory(&short).is_none(), "it was not requested yet");
    for digest in [short, long] {
        verified.open(&store, &digest).await.unwrap().unwrap();
    }
    assert!(
        verified.in_memory(&short).is_some_and(|blob| matches!(&blob, Blob::Short(bytes) if &bytes[..] == b"short"))
    );
    assert!(verified.in_memory(&long).is_none());
    verified.forget(&short);
    assert!(verified.in_memory(&short).is_none());

    let many: Vec<Digest> = (0..100_u8).map(|n| put(&vec![n; PIECE as usize / 2])).collect();
    for digest in &many {
        verified.open(&store, digest).await.unwrap().unwrap();
    }
    let kept: u64 = many.iter().filter_map(|digest| verified.in_memory(digest)).map(|blob| blob.length() + ENTRY).sum();
    assert!((1..=MEMORY).contains(&kept), "{kept} bytes of {MEMORY}");
    let none = Verified::new(0);
    none.open(&store, &many[0]).await.unwrap().unwrap();
    assert!(none.in_memory(&many[0]).is_none());
}

#[tokio::test]
async fn body_continues_when_its_file_is_replaced_by_the_same_bytes() {
    let whole: Vec<u8> = (0..5 * PIECE).map(|n| (n % 251) as u8).collect();
    let (_folder, store, digest) = kept(&whole);
    let file = store.blob_file(&digest).unwrap();
    let verified = Verified::new(MEMORY);
    let begin = async || {
        let blob = verified.open(&store, &digest).await.unwrap().unwrap();
        let mut body = blob.body(0..whole.len() as u64).into_data_stream();
        let first = body.next().await.unwrap().unwrap();
        (body, first.to_vec())
    };
    let (mut body, mut sent) = begin().await;
    while let Some(piece) = {
        disk::write(&file, &whole).unwrap();
        body.next().await
    } {
        sent.extend_from_slice(&piece.unwrap());
    }
    assert!(sent == whole);

    let (mut body, _) = begin().await;
    disk::write(&file, &vec![7; whole.len()]).unwrap();
    assert!(body.next().await.unwrap().is_err(), "other bytes are not sent");
}

#[tokio::test]
async fn long_blob_is_hashed_once_for_all_waiting_requests() {
    let length = 16 * PIECE;
    let (_folder, store, digest) = kept(&vec![7; length as usize]);
    let verified = Verified::new(MEMORY);
    for stamp in join_all((0..32).map(|_| verified.verify_long(&store, digest))).await {
        assert!(stamp.unwrap().is_some());
    }
    assert_eq!(verified.0.hashed.load(Relaxed), length);
}

#[test]
fn hashing_of_a_long_blob_stops_without_waiting_requests() {
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
    let length = 16 * PIECE;
    let (_folder, store, digest) = kept(&vec![7; length as usize]);
    let verified = Verified::new(MEMORY);
    runtime.block_on(async {
        // This blocks all work that waits for the disk.
        let (go_on, held) = mpsc::channel::<()>();
        let holding = tokio::task::spawn_blocking(move || held.recv());
        let mut gone = Box::pin(verified.verify_long(&store, digest));
        assert!(gone.as_mut().now_or_never().is_none());
        drop(gone);
        drop(go_on);
        let _ = holding.await;
        tokio::task::spawn_blocking(|| ()).await.unwrap();
        assert_eq!(verified.0.hashed.load(Relaxed), 0);
        verified.verify_long(&store, digest).await.unwrap();
        assert_eq!(verified.0.hashed.load(Relaxed), length);
    });
}
