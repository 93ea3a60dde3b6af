//! Other versions of the layout, and tabs that hold them open.

use std::rc::Rc;

use bytes::Bytes;
use starlane_bundle::Digest;
use starlane_host::ports::{BundleStore, RecordStore};
use wasm_bindgen::JsValue;
use wasm_bindgen_test::wasm_bindgen_test;

use crate::fixture::{Patch, faster_timers, fresh_name, manifest, open_store, record, script, stored, stored_keys};

/// Makes a database of version 1 or 2 with an entry of each kind, and leaves the connection open as `globalThis.old`.
const EARLIER: &str = "
    const [name, digest, bundle, signature, record, version] = given;
    const request = indexedDB.open(name, Number(version));
    const stores = ['blobs', 'manifests', 'records', 'settings'];
    if (version === '2') stores.push('bundles', 'sizes');
    request.onupgradeneeded = () => { for (const store of stores) request.result.createObjectStore(store); };
    await new Promise((resolve, reject) => { request.onsuccess = resolve; request.onerror = reject; });
    const old = (globalThis.old = request.result);
    const transaction = old.transaction(stores, 'readwrite');
    const put = (store, value, key) => transaction.objectStore(store).put(value, key);
    put('blobs', new TextEncoder().encode('kept'), digest);
    put('manifests', { bytes: new TextEncoder().encode('{}'), signature }, bundle);
    put('records', record, JSON.parse(record).app);
    put('settings', new Uint8Array(32).fill(1), 'secret');
    if (version === '2') {
      put('sizes', 4, digest);
      put('sizes', 2, bundle);
      put('settings', 6, 'total');
      put('bundles', { used: 41, blobs: [digest] }, bundle);
      put('settings', 41, 'clock');
    }
    await new Promise((resolve, reject) => { transaction.oncomplete = resolve; transaction.onabort = reject; });";

/// A database of an earlier version, whose tab does `then` with its connection `old`.
async fn earlier(version: u8, then: &str) -> String {
    let name = fresh_name();
    let given = [
        name.clone(),
        Digest::of(b"kept").to_string(),
        record(7).bundle.to_string(),
        manifest("{}").signature.to_string(),
        serde_json::to_string(&record(7)).unwrap(),
        version.to_string(),
    ];
    let given: js_sys::Array = given.iter().map(|text| JsValue::from_str(text)).collect();
    script(&format!("{EARLIER} {then}"), &given).await;
    name
}

#[wasm_bindgen_test]
async fn data_of_the_first_version_is_kept_and_weighed() {
    for then in ["old.close()", "old.onversionchange = () => setTimeout(() => old.close(), 50)"] {
        let name = earlier(1, then).await;
        let (store, reasons) = open_store(&name, 10.0);
        assert_eq!(store.blob(&Digest::of(b"kept")).await, Ok(Some(Bytes::from_static(b"kept"))));
        assert_eq!(store.manifest(&record(7).bundle).await, Ok(Some(manifest("{}"))));
        assert_eq!(store.record(&record(7).app).await, Ok(Some(record(7))));
        assert_eq!(stored_keys(&name, "settings").await, ["total"], "the host's secret is gone");
        // Six of ten bytes are used. Four more fit; for five, all blobs without a bundle are evicted.
        store.put_blob(&Digest::of(b"four"), Bytes::from_static(b"four")).await.unwrap();
        assert_eq!(store.blob(&Digest::of(b"kept")).await, Ok(Some(Bytes::from_static(b"kept"))));
        store.put_blob(&Digest::of(b"5five"), Bytes::from_static(b"5five")).await.unwrap();
        assert_eq!(store.blob(&Digest::of(b"kept")).await, Ok(None));
        assert_eq!(store.record(&record(7).app).await, Ok(Some(record(7))));
        assert!(reasons.borrow().is_empty(), "{reasons:?}");
    }
}

#[wasm_bindgen_test]
async fn data_of_the_second_version_is_kept_without_the_secret_of_the_host() {
    for then in ["old.close()", "old.onversionchange = () => setTimeout(() => old.close(), 50)"] {
        let name = earlier(2, then).await;
        let (store, reasons) = open_store(&name, 10.0);
        assert_eq!(store.blob(&Digest::of(b"kept")).await, Ok(Some(Bytes::from_static(b"kept"))));
        assert_eq!(store.manifest(&record(7).bundle).await, Ok(Some(manifest("{}"))));
        assert_eq!(store.record(&record(7).app).await, Ok(Some(record(7))));
        assert_eq!(stored_keys(&name, "settings").await, ["clock", "total"], "the host's secret is gone");
        assert_eq!(stored(&name, "settings", "total").await.as_f64(), Some(6.0));
        assert_eq!(stored(&name, "settings", "clock").await.as_f64(), Some(41.0));
        assert_eq!(stored_keys(&name, "bundles").await, [record(7).bundle.to_string()]);
        assert_eq!(stored_keys(&name, "sizes").await.len(), 2);
        assert!(reasons.borrow().is_empty(), "{reasons:?}");
    }
}

#[wasm_bindgen_test]
async fn a_tab_that_never_closes_costs_only_the_time_limit() {
    let name = earlier(1, "").await;
    let patch = faster_timers(10);
    let (store, reasons) = open_store(&name, 1e9);
    let (digest, bytes) = (Digest::of(b"new"), Bytes::from_static(b"new"));
    let (put, read) = futures_util::join!(store.put_blob(&digest, bytes.clone()), store.record(&record(7).app));
    assert_eq!((put, read), (Ok(()), Ok(None)));
    assert!(store.is_degraded());
    assert_eq!(store.blob(&digest).await, Ok(Some(bytes)));
    assert_eq!(reasons.borrow().len(), 1, "{reasons:?}");
    assert!(reasons.borrow()[0].contains("does not answer"), "{reasons:?}");
    drop(patch);
    // When the tab closes, the next page finds all data.
    script("old.close()", &JsValue::UNDEFINED).await;
    let (next, reasons) = open_store(&name, 1e9);
    assert_eq!(next.record(&record(7).app).await, Ok(Some(record(7))));
    assert_eq!(next.blob(&digest).await, Ok(None));
    assert!(reasons.borrow().is_empty());
}

/// The timers of a page in the background fire once a minute, as if the page were blocked. The store must not wait forever because
/// of that.
#[wasm_bindgen_test]
async fn a_hidden_page_also_gives_up() {
    let name = earlier(1, "").await;
    let patch = Patch::apply(
        "const [own, now] = [globalThis.setTimeout, performance.now]; let late = 0; \
         performance.now = () => now.call(performance) + late; \
         globalThis.setTimeout = (call, ms) => own(() => { late += ms + 60_000; call(); }, ms / 100); \
         return () => { globalThis.setTimeout = own; delete performance.now; };",
    );
    let (store, reasons) = open_store(&name, 1e9);
    assert_eq!(store.record(&record(7).app).await, Ok(None));
    assert!(store.is_degraded());
    assert!(reasons.borrow()[0].contains("does not answer"), "{reasons:?}");
    drop(patch);
    script("old.close()", &JsValue::UNDEFINED).await;
}

/// A transaction that never ends counts like a database that never opens.
#[wasm_bindgen_test]
async fn an_endless_transaction_costs_only_the_time_limit() {
    let name = fresh_name();
    let (store, reasons) = open_store(&name, 1e9);
    store.put_record(record(7)).await.unwrap();
    let endless = "const request = indexedDB.open(given); \
        await new Promise((resolve) => { request.onsuccess = resolve; }); \
        const objects = request.result.transaction('records', 'readwrite').objectStore('records'); \
        globalThis.endless = true; \
        const again = () => { if (globalThis.endless) objects.get('x').onsuccess = again; else request.result.close(); }; \
        again();";
    script(endless, &JsValue::from_str(&name)).await;
    let patch = faster_timers(10);
    assert_eq!(store.record(&record(7).app).await, Ok(None));
    assert!(store.is_degraded());
    assert!(reasons.borrow()[0].contains("does not answer"), "{reasons:?}");
    drop(patch);
    script("globalThis.endless = false", &JsValue::UNDEFINED).await;
    let (next, _) = open_store(&name, 1e9);
    assert_eq!(next.record(&record(7).app).await, Ok(Some(record(7))));
}

#[wasm_bindgen_test]
async fn a_tab_of_the_first_version_does_not_block_ours() {
    let (store, _) = open_store(&earlier(1, "old.close()").await, 1e9);
    store.put_blob(&Digest::of(b"new"), Bytes::from_static(b"new")).await.unwrap();
    let store: Rc<dyn BundleStore> = Rc::new(store);
    // The old tab cannot open the newer layout. Its attempt must not block our tab.
    let body = "const request = indexedDB.open(given, 1); \
        return new Promise((resolve) => { request.onerror = (event) => { event.preventDefault(); resolve(request.error.name); }; \
        request.onsuccess = () => resolve('opened'); });";
    let name = earlier(1, "old.close()").await;
    let (newer, _) = open_store(&name, 1e9);
    assert_eq!(newer.record(&record(7).app).await, Ok(Some(record(7))));
    assert_eq!(script(body, &JsValue::from_str(&name)).await.as_string().unwrap(), "VersionError");
    assert_eq!(store.blob(&Digest::of(b"new")).await, Ok(Some(Bytes::from_static(b"new"))));
}
