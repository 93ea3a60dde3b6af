//! The store in IndexedDB: the contract, and the behaviour of this back-end alone. Each test has its own database.

use std::{cell::RefCell, rc::Rc};

use bytes::Bytes;
use indexed_db_futures::{Build, database::Database, transaction::TransactionMode};
use starlane_bundle::Digest;
use starlane_host::{
    ports::{BundleStore, RecordStore, StoreError},
    testing::store_suite::{self, Stores},
};
use wasm_bindgen_test::wasm_bindgen_test;

use crate::fixture::{Opened, Patch, fresh_name, open_store, record};

/// A store with an ample budget, and the reasons why it continued in memory.
fn open(name: &str) -> Opened {
    open_store(name, 1e9)
}

#[wasm_bindgen_test]
async fn the_contract_is_kept() {
    let stores = Rc::new(RefCell::new(Vec::new()));
    store_suite::all(|| {
        let (store, _) = open(&fresh_name());
        stores.borrow_mut().push(store.clone());
        async { Rc::new(store) as Rc<dyn Stores> }
    })
    .await;
    assert!(stores.borrow().iter().all(|store| !store.is_degraded()), "all was kept in IndexedDB, not in memory");
}

#[wasm_bindgen_test]
async fn another_page_finds_stored_data() {
    let name = fresh_name();
    let digest = Digest::of(b"kept");
    let (store, _) = open(&name);
    store.put_blob(&digest, Bytes::from_static(b"kept")).await.unwrap();
    store.put_record(record(7)).await.unwrap();
    // Both may be open at once.
    let (other, reasons) = open(&name);
    assert_eq!(other.blob(&digest).await, Ok(Some(Bytes::from_static(b"kept"))));
    assert_eq!(other.record(&record(7).app).await, Ok(Some(record(7))));
    assert!(reasons.borrow().is_empty());
}

#[wasm_bindgen_test]
async fn a_newer_page_can_upgrade_and_its_data_stays_untouched() {
    let name = fresh_name();
    let digest = Digest::of(b"kept");
    let (store, reasons) = open(&name);
    store.put_blob(&digest, Bytes::from_static(b"kept")).await.unwrap();
    // This would wait forever if our connection stayed open.
    let newer = Database::open(name.as_str()).with_version(99_u32).await.unwrap();
    assert_eq!(store.blob(&digest).await, Ok(None), "from now on in memory");
    assert!(store.is_degraded());
    store.put_blob(&digest, Bytes::from_static(b"again")).await.unwrap();
    assert_eq!(store.blob(&digest).await, Ok(Some(Bytes::from_static(b"again"))));
    assert_eq!(reasons.borrow().len(), 1, "{reasons:?}");
    assert!(reasons.borrow()[0].contains("newer version"), "{reasons:?}");
    newer.close();
}

#[wasm_bindgen_test]
async fn a_deleted_database_is_created_again() {
    let name = fresh_name();
    let (digest, bytes) = (Digest::of(b"kept"), Bytes::from_static(b"kept"));
    let (store, reasons) = open(&name);
    store.put_blob(&digest, bytes.clone()).await.unwrap();
    Database::delete_by_name(&name).unwrap().await.unwrap();
    assert_eq!(store.blob(&digest).await, Ok(None));
    store.put_blob(&digest, bytes.clone()).await.unwrap();
    assert_eq!(store.blob(&digest).await, Ok(Some(bytes)));
    assert!(reasons.borrow().is_empty(), "{reasons:?}");
}

/// Makes the next `times` transactions fail as on a connection that the browser has lost.
fn broken(times: u32) -> Patch {
    Patch::apply(&format!(
        "const own = IDBDatabase.prototype.transaction; let left = {times}; \
         IDBDatabase.prototype.transaction = function (...all) {{ \
           if (left-- > 0) throw new DOMException('connection lost', 'InvalidStateError'); return own.apply(this, all); }}; \
         return () => {{ IDBDatabase.prototype.transaction = own; }};"
    ))
}

#[wasm_bindgen_test]
async fn a_dead_connection_is_opened_again() {
    let (digest, bytes) = (Digest::of(b"kept"), Bytes::from_static(b"kept"));
    let (store, reasons) = open(&fresh_name());
    store.put_blob(&digest, bytes.clone()).await.unwrap();
    let _patch = broken(2);
    assert_eq!(store.blob(&digest).await, Ok(Some(bytes)));
    assert!(reasons.borrow().is_empty(), "{reasons:?}");
}

#[wasm_bindgen_test]
async fn after_three_tries_the_store_reports_that_it_continues_in_memory() {
    let (digest, bytes) = (Digest::of(b"kept"), Bytes::from_static(b"kept"));
    let (store, reasons) = open(&fresh_name());
    let _patch = broken(3);
    store.put_blob(&digest, bytes.clone()).await.unwrap();
    assert_eq!(store.blob(&digest).await, Ok(Some(bytes)));
    assert_eq!(reasons.borrow().len(), 1);
    assert!(reasons.borrow()[0].contains("connection lost"), "{reasons:?}");
}

#[wasm_bindgen_test]
async fn a_page_without_indexeddb_keeps_its_data_in_memory() {
    let (store, reasons) = open(&fresh_name());
    let _patch = Patch::apply(
        "const own = IDBFactory.prototype.open; \
         IDBFactory.prototype.open = () => { throw new DOMException('not here', 'SecurityError'); }; \
         return () => { IDBFactory.prototype.open = own; };",
    );
    assert_eq!(store.put_record(record(7)).await, Ok(record(7)));
    assert_eq!(store.record(&record(7).app).await, Ok(Some(record(7))));
    assert_eq!(reasons.borrow().len(), 1);
}

#[wasm_bindgen_test]
async fn a_full_store_reports_it_and_can_still_be_read() {
    let (digest, bytes) = (Digest::of(b"kept"), Bytes::from_static(b"kept"));
    let (store, reasons) = open(&fresh_name());
    store.put_blob(&digest, bytes.clone()).await.unwrap();
    let patch = Patch::apply(
        "const own = IDBObjectStore.prototype.put; \
         IDBObjectStore.prototype.put = () => { throw new DOMException('no room', 'QuotaExceededError'); }; \
         return () => { IDBObjectStore.prototype.put = own; };",
    );
    let error = store.put_blob(&Digest::of(b"more"), Bytes::from_static(b"more")).await.unwrap_err();
    assert!(matches!(error, StoreError::Full(_)), "{error}");
    drop(patch);
    assert_eq!(store.blob(&digest).await, Ok(Some(bytes)));
    assert!(reasons.borrow().is_empty(), "{reasons:?}");
}

#[wasm_bindgen_test]
async fn a_damaged_entry_is_named_and_can_be_replaced() {
    let name = fresh_name();
    let digest = Digest::of(b"kept");
    let (store, _) = open(&name);
    assert_eq!(store.blob(&digest).await, Ok(None));
    let database = Database::open(name.as_str()).await.unwrap();
    let transaction = database.transaction("blobs").with_mode(TransactionMode::Readwrite).build().unwrap();
    transaction.object_store("blobs").unwrap().put(7_u32).with_key(digest.to_string()).await.unwrap();
    transaction.commit().await.unwrap();
    let error = store.blob(&digest).await.unwrap_err();
    assert!(matches!(&error, StoreError::Damaged { name, .. } if *name == digest.to_string()), "{error}");
    store.put_blob(&digest, Bytes::from_static(b"kept")).await.unwrap();
    assert_eq!(store.blob(&digest).await, Ok(Some(Bytes::from_static(b"kept"))));
}
