use std::{cell::RefCell, rc::Rc};

use starlane_bundle::SecretKey;
use starlane_host::testing::store_suite::{self, Stores};

use super::*;

#[tokio::test]
async fn the_store_passes_the_suite_of_stores() {
    let folders = RefCell::new(Vec::new());
    store_suite::all(|| {
        let folder = tempfile::tempdir().unwrap();
        let store: Rc<dyn Stores> = Rc::new(DiskStore::new(folder.path()));
        folders.borrow_mut().push(folder);
        std::future::ready(store)
    })
    .await;
}

#[tokio::test]
async fn the_error_names_a_damaged_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::new(folder.path());
    fs::create_dir_all(folder.path().join("apps")).unwrap();
    fs::write(folder.path().join("apps/acme:profiles.json"), "{").unwrap();
    let error = store.record(&Address::parse("acme:profiles").unwrap()).await.unwrap_err();
    assert!(matches!(&error, StoreError::Damaged { name, .. } if name.contains("acme:profiles.json")), "{error}");
    assert_eq!(store.records().await, Ok(Vec::new()), "other apps are not affected");
    fs::write(folder.path().join("apps/acme:gone.revision"), "many").unwrap();
    let error = store.last_revision(&Address::parse("acme:gone").unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("acme:gone.revision"), "{error}");
    fs::write(folder.path().join("host.secret"), "short").unwrap();
    let error = store.secret(HostSecret([1; 32])).await.unwrap_err();
    assert!(error.to_string().contains("host.secret"), "{error}");
}

/// The server's name is derived from it.
#[tokio::test]
async fn the_first_secret_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (HostSecret([1; 32]), HostSecret([2; 32]));
    assert!(DiskStore::new(folder.path()).secret(first.clone()).await == Ok(first.clone()));
    assert!(DiskStore::new(folder.path()).secret(second).await == Ok(first));
}

#[test]
fn a_bundle_can_have_the_name_of_the_publishers_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = SharedStore::new(folder.path());
    let key = SecretKey::from_seed([1; 32]);
    let manifest = SignedManifest { bytes: b"{}".to_vec(), signature: key.sign(b"{}") };
    for bundle in ["acme:repo:1.0.0", "acme:repo:publisher:1.0.0", "acme:repo:publisher:key:1.0.0"] {
        let bundle = Address::parse(bundle).unwrap();
        store.put_manifest(&bundle, &manifest, &key.public()).unwrap();
        assert_eq!(store.owner(&bundle).unwrap(), Some(key.public()), "{bundle}");
        assert_eq!(store.manifest(&bundle).unwrap(), Some(manifest.clone()), "{bundle}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_can_read_the_hosts_secret() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    DiskStore::new(folder.path()).secret(HostSecret([1; 32])).await.unwrap();
    let mode = fs::metadata(folder.path().join("host.secret")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[cfg(unix)]
#[test]
fn existing_blob_is_rewritten_only_if_it_is_damaged() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    let store = SharedStore::new(folder.path());
    for length in [0, 5, 200_000] {
        let bytes = vec![7; length];
        let digest = Digest::of(&bytes);
        let file = store.blob_file(&digest).unwrap();
        let put = || {
            store.put_blob(&digest, &bytes).unwrap();
            let about = fs::metadata(&file).unwrap();
            (about.ino(), about.ctime(), about.ctime_nsec())
        };
        let first = put();
        assert_eq!(put(), first, "{length} bytes");
        for damaged in [vec![8; length], vec![7; length + 1], vec![7; length / 2]] {
            fs::write(&file, damaged).unwrap();
            put();
            assert!(fs::read(&file).unwrap() == bytes, "{length} bytes");
        }
    }
}
