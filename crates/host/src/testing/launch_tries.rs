//! Launches thousands of changed apps, and returns counts for the caller's checks.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use starlane_bundle::{Digest, Signature, SignedManifest};

use super::{
    launch_suite::{APP, MODULE, ONE, TWO, counts, flipped},
    launch_world::{World, address, hostile_names, publisher},
};

/// Changes manifest, signature and module byte by byte, on the server and (without the server) in the store. Returns
/// the number of changes, and those that were launched. In between, the unchanged app must launch.
pub async fn one_changed_byte(world: &World) -> (usize, Vec<String>) {
    let signed = world.publish(ONE, &[MODULE]);
    world.say(APP, 1, ONE, &signed);
    let digest = Digest::of(MODULE.1);
    let (mut tried, mut accepted) = (0, Vec::new());
    for away in [false, true] {
        let page = world.page();
        for (what, changed) in changed_bundles(&signed) {
            match &changed {
                Changed::Manifest(manifest) if away => {
                    world.store.put_manifest(&address(ONE), manifest.clone()).await.unwrap()
                }
                Changed::Manifest(manifest) => world.source.publish(&address(ONE), manifest.clone()),
                Changed::Module(bytes) if away => world.store.put_blob(&digest, bytes.clone().into()).await.unwrap(),
                Changed::Module(bytes) => world.source.put_under(digest, bytes.clone()),
            }
            tried += 1;
            if page.launch(APP).await.is_ok() {
                accepted.push(format!("{what}, {}", if away { "kept" } else { "served" }));
            }
            world.source.publish(&address(ONE), signed.clone());
            world.source.put_under(digest, MODULE.1);
            if away {
                world.store.put_manifest(&address(ONE), signed.clone()).await.unwrap();
                world.store.put_blob(&digest, MODULE.1.into()).await.unwrap();
            }
        }
        world.page().launch(APP).await.unwrap();
        world.set_away(true);
        world.page().launch(APP).await.unwrap();
    }
    (tried, accepted)
}

enum Changed {
    Manifest(SignedManifest),
    Module(Vec<u8>),
}

/// A bit of each byte of the manifest, six characters at each place of the signature's text, all bits of the module.
fn changed_bundles(signed: &SignedManifest) -> Vec<(String, Changed)> {
    let mut changed = Vec::new();
    for at in 0..signed.bytes.len() {
        let damaged = SignedManifest { bytes: flipped(&signed.bytes, at * 8 + at % 8), ..signed.clone() };
        changed.push((format!("byte {at} of the manifest"), Changed::Manifest(damaged)));
    }
    let text = signed.signature.to_string();
    for (at, old) in text.char_indices() {
        for new in "AQgwz-".chars().filter(|new| *new != old) {
            let other: String = text.char_indices().map(|(n, c)| if n == at { new } else { c }).collect();
            // A text that is not a signature any more never reaches a host.
            let Ok(signature) = Signature::parse(&other) else { continue };
            let damaged = SignedManifest { signature, ..signed.clone() };
            changed.push((format!("character {at} of the signature is {new}"), Changed::Manifest(damaged)));
        }
    }
    for bit in 0..MODULE.1.len() * 8 {
        changed.push((format!("bit {bit} of the module"), Changed::Module(flipped(MODULE.1, bit))));
    }
    changed
}

/// Launches signed bundles with hostile file names. Returns the number of tries, and those that were launched.
pub async fn hostile_names_of_files(world: &World) -> (usize, Vec<String>) {
    let mut accepted = Vec::new();
    for (revision, names) in (1..).zip(hostile_names()) {
        let signed = world.publish_as(ONE, &[MODULE], &publisher(), |manifest| {
            let entry = manifest.file(MODULE.0).unwrap().clone();
            manifest.files.extend(names.iter().map(|name| (name.clone(), entry.clone())));
        });
        world.say(APP, revision, ONE, &signed);
        if world.page().refused(APP).await != "malformed" {
            accepted.push(names.join(", "));
        }
    }
    let signed = world.publish(ONE, &[MODULE, ("/one", b""), ("/two/one", b"")]);
    world.say(APP, 1_000, ONE, &signed);
    world.page().launch(APP).await.unwrap();
    (hostile_names().len(), accepted)
}

/// Launches an app of 1,000 files, reads all of them, and launches its next version. Returns the number of fetched
/// blobs and of files.
pub async fn delta_of_one_file(world: &World) -> (u64, u64) {
    let mut files: Vec<(String, Vec<u8>)> =
        (0..1000).map(|index| (format!("/files/{index:03}.txt"), format!("file {index}\n").into_bytes())).collect();
    fn borrowed(files: &[(String, Vec<u8>)]) -> Vec<(&str, &[u8])> {
        files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect()
    }
    let one = world.publish(ONE, &borrowed(&files));
    world.say(APP, 1, ONE, &one);
    let page = world.page();
    page.launch(APP).await.unwrap();
    for (path, bytes) in &files {
        assert_eq!(page.read(ONE, path).await.unwrap(), bytes);
    }
    assert_eq!(page.0.blob_counts(), counts(1000, 0, 0));
    drop(page);
    files[500].1 = b"another\n".to_vec();
    let two = world.publish(TWO, &borrowed(&files));
    world.say(APP, 2, TWO, &two);
    let before = world.source.fetched();
    let page = world.page();
    page.launch(APP).await.unwrap();
    for (path, bytes) in &files {
        assert_eq!(page.read(TWO, path).await.unwrap(), bytes);
    }
    let fetched = page.0.blob_counts().fetched;
    assert_eq!(world.source.fetched() - before, fetched, "what the page counts is what was asked for");
    (fetched, files.len() as u64)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::{MemoryStore, testing::virtual_time::VirtualTime};

    #[test]
    fn one_changed_file_of_a_thousand_is_one_blob() {
        let time = VirtualTime::default();
        let world = World::new(Rc::new(time.clone()), Rc::new(MemoryStore::new()));
        assert_eq!(time.run(async move { delta_of_one_file(&world).await }), Some((1, 1000)));
    }

    #[test]
    fn hostile_names_are_refused() {
        let time = VirtualTime::default();
        let world = World::new(Rc::new(time.clone()), Rc::new(MemoryStore::new()));
        let (tried, accepted) = time.run(async move { hostile_names_of_files(&world).await }).unwrap();
        assert!(tried > 20 && accepted.is_empty(), "{tried}: {accepted:?}");
    }

    #[test]
    fn one_changed_byte_of_a_bundle_is_refused_served_and_kept() {
        let time = VirtualTime::default();
        let world = World::new(Rc::new(time.clone()), Rc::new(MemoryStore::new()));
        let (tried, accepted) = time.run(async move { one_changed_byte(&world).await }).unwrap();
        assert!(tried > 2_000, "{tried}");
        assert!(accepted.is_empty(), "{accepted:#?}");
    }
}
