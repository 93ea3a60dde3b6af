//! Tests of launching, on any store: what it refuses and what it repairs. Each case gets a [`World`] whose page has an
//! empty store.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;

use futures_util::future::{Either, join, select};
use serde_json::json;
use starlane_bundle::{Contents, Digest, ResourceKind, SecretKey, SignedManifest, Used};
use starlane_protocol::Failure;

use super::launch_world::{World, address, publisher};
use crate::{BlobCounts, ports::BundleStore};

/// Names the cases, as `$tests! { name name … }`.
#[macro_export]
macro_rules! launch_cases {
    ($tests:ident) => {
        $tests! {
            what_was_launched_once_launches_with_the_server_away
            a_manifest_that_expires_between_two_launches_is_refused
            nothing_of_another_version_bundle_or_publisher_is_taken
            a_blob_of_another_file_is_refused_and_not_kept
            an_older_revision_is_refused_for_ever
            an_older_launch_does_not_take_the_place_of_a_newer_one
            nobody_says_what_is_in_anothers_bundle
            a_verifier_that_can_not_be_loaded_is_no_verdict
            a_meter_that_can_not_be_loaded_is_no_verdict
            what_checks_modules_is_loaded_only_for_new_modules
            a_server_that_fails_for_now_is_as_good_as_away
            an_app_runs_in_workers_or_inline_and_not_in_both
            resources_that_a_page_has_no_driver_for_are_an_error
            flipped_bits_in_blobs_are_noticed_and_healed
            flipped_bits_in_a_manifest_are_noticed_and_healed
        }
    };
}

pub(super) const APP: &str = "acme:app";
pub(super) const ONE: &str = "acme:repo:app:1.0.0";
pub(super) const TWO: &str = "acme:repo:app:2.0.0";
pub(super) const MODULE: (&str, &[u8]) = ("/module.wasm", b"a module");
const TEXT: (&str, &[u8]) = ("/text.txt", b"a text");

pub(super) fn counts(fetched: u64, cached: u64, healed: u64) -> BlobCounts {
    BlobCounts { fetched, cached, healed }
}

pub(super) fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

/// The first launch continues, also with another revision. After it has ended, the app can run in the other way.
pub async fn an_app_runs_in_workers_or_inline_and_not_in_both(world: &World) {
    let signed = world.publish(ONE, &[MODULE]);
    world.say(APP, 1, ONE, &signed);
    let page = world.page();
    for (revision, inline) in [(2, false), (3, true)] {
        page.launch_inline(APP, inline).await.unwrap();
        page.launch_inline(APP, inline).await.unwrap();
        world.say(APP, revision, ONE, &signed);
        let refused = page.launch_inline(APP, !inline).await.unwrap_err();
        let says = if inline { "it already runs inline" } else { "it already runs in workers" };
        assert!(refused.code() == "conflict" && refused.to_string().contains(says), "{refused}");
        page.0.uninstall(&address(APP));
        page.launch_inline(APP, !inline).await.unwrap();
        page.0.uninstall(&address(APP));
    }
    let both = join(page.launch_inline(APP, false), page.launch_inline(APP, true)).await;
    let refused: Vec<_> = [both.0, both.1].into_iter().filter_map(Result::err).collect();
    assert!(refused.len() == 1 && refused[0].code() == "conflict", "{refused:?}");
}

/// A page refuses every kind of resource that is placed in browsers. It ignores resources of the server.
pub async fn resources_that_a_page_has_no_driver_for_are_an_error(world: &World) {
    let page = world.page();
    for (revision, kind) in (1..).zip(ResourceKind::ALL) {
        for (placement, is_refused) in [("browser", true), ("both", true), ("server", false)] {
            let app = format!("acme:{kind}-{placement}");
            let bundle = format!("acme:repo:{kind}-{placement}:1.0.0");
            let resource = json!({ "drafts": { "kind": kind, "placement": placement } });
            let with_it = |contents: &mut Contents| {
                let app = contents.app.as_mut().unwrap();
                app.resources = serde_json::from_value::<BTreeMap<_, _>>(resource).unwrap().into_iter().collect();
            };
            let signed = world.publish_as(&bundle, &[MODULE], &publisher(), with_it);
            world.say(&app, revision, &bundle, &signed);
            let launched = page.launch(&app).await;
            if !is_refused {
                assert_eq!(launched.map(|launched| launched.app), Ok(address(&app)));
                continue;
            }
            let refused = launched.unwrap_err();
            assert_eq!((refused.status(), refused.code()), (501, "not-supported"), "{refused}");
            for word in ["`drafts`", kind.name(), "this page", "serves: none", "placement = \"server\""] {
                assert!(refused.to_string().contains(word), "{word}: {refused}");
            }
            assert!(page.0.inspect().apps.iter().all(|view| view.app != address(&app)));
        }
    }
}

/// An unverified app does not run, the store stays unchanged, and the next launch tries again.
pub async fn a_verifier_that_can_not_be_loaded_is_no_verdict(world: &World) {
    let signed = world.publish(ONE, &[MODULE]);
    world.say(APP, 1, ONE, &signed);
    for kept in [false, true] {
        world.set_verifier_missing(true);
        let page = world.page();
        let error = page.launch(APP).await.unwrap_err();
        assert_eq!((error.status(), error.code()), (503, "load-failed"), "kept: {kept}");
        assert!(!error.to_string().contains("does not verify"), "{error}");
        assert!(page.0.inspect().apps.is_empty());
        world.set_verifier_missing(false);
        page.launch(APP).await.unwrap();
    }
}

/// A module that could not be checked does not run, but is not refused either.
pub async fn a_meter_that_can_not_be_loaded_is_no_verdict(world: &World) {
    let signed = world.publish(ONE, &[MODULE]);
    world.say(APP, 1, ONE, &signed);
    let page = world.page();
    world.set_meter_missing(true);
    let error = page.launch(APP).await.unwrap_err();
    assert_eq!((error.status(), error.code()), (503, "load-failed"), "{error}");
    assert!(error.to_string().contains("could not be checked"), "{error}");
    assert!(page.0.inspect().apps.is_empty());
    world.set_meter_missing(false);
    page.launch(APP).await.unwrap();
}

/// An app without mechtrons does not load the checks; neither does an app with compiled modules.
pub async fn what_checks_modules_is_loaded_only_for_new_modules(world: &World) {
    let other = "acme:other";
    world.say(other, 1, TWO, &world.publish(TWO, &[TEXT]));
    world.say(APP, 1, ONE, &world.publish(ONE, &[MODULE]));
    let page = world.page();
    for (app, prepared) in [(other, 0), (APP, 1), (APP, 1), (other, 1)] {
        page.launch(app).await.unwrap();
        assert_eq!(world.prepared(), prepared, "{app}");
    }
}

/// A launch fetches only the required files, and each once.
pub async fn what_was_launched_once_launches_with_the_server_away(world: &World) {
    let signed = world.publish(ONE, &[MODULE, TEXT]);
    world.say(APP, 1, ONE, &signed);
    world.set_away(true);
    assert_eq!(world.page().refused(APP).await, "offline", "nothing is kept yet");
    world.set_away(false);
    let page = world.page();
    page.launch(APP).await.unwrap();
    assert_eq!(page.0.blob_counts(), counts(1, 0, 0));
    world.set_away(true);
    let page = world.page();
    assert_eq!(page.launch(APP).await.unwrap().revision, 1);
    assert_eq!(page.0.blob_counts(), counts(0, 1, 0));
    assert!(page.read(ONE, TEXT.0).await.unwrap_err().message.contains("no connection"), "it was never read");
}

/// The page's clock decides, with and without the server.
pub async fn a_manifest_that_expires_between_two_launches_is_refused(world: &World) {
    let now = world.time.unix_ms() / 1000;
    let signed = world.publish_as(ONE, &[MODULE], &publisher(), |manifest| manifest.expires = Some(now + 4));
    world.say(APP, 1, ONE, &signed);
    world.page().launch(APP).await.unwrap();
    world.time.sleep(5_000).await;
    assert_eq!(world.page().refused(APP).await, "expired");
    world.set_away(true);
    assert_eq!(world.page().refused(APP).await, "expired");
    world.set_away(false);
    let renewed = world.publish(TWO, &[MODULE]);
    world.say(APP, 2, TWO, &renewed);
    assert_eq!(world.page().launch(APP).await.unwrap().bundle, address(TWO));
}

/// All these manifests are signed, most of them by the trusted key.
pub async fn nothing_of_another_version_bundle_or_publisher_is_taken(world: &World) {
    let signed = world.publish(ONE, &[MODULE]);
    let other_version = world.publish(TWO, &[MODULE, TEXT]);
    let other_bundle = world.publish("acme:repo:other:1.0.0", &[MODULE]);
    let other_content = world.publish(ONE, &[("/module.wasm", b"another module")]);
    let stranger = SecretKey::from_seed([2; 32]);
    let strangers = world.publish_as(ONE, &[MODULE], &stranger, |_| {});
    let forged = SignedManifest { signature: stranger.sign(&signed.bytes), ..signed.clone() };
    let cases = [
        ("another version", &other_version, "wrong-bundle"),
        ("another bundle", &other_bundle, "wrong-bundle"),
        ("other content under its address", &other_content, "digest-mismatch"),
        ("another publisher", &strangers, "untrusted"),
        ("another's signature", &forged, "bad-signature"),
    ];
    world.say(APP, 1, ONE, &signed);
    for (what, manifest, code) in cases {
        world.source.publish(&address(ONE), manifest.clone());
        assert_eq!(world.page().refused(APP).await, code, "{what}, served");
        let kept = world.store.manifest(&address(ONE)).await.unwrap();
        assert!(kept.is_none_or(|kept| kept.bytes.is_empty()), "{what} is not kept");
        // A wrong manifest in the store is replaced by the right one from the source.
        world.store.put_manifest(&address(ONE), manifest.clone()).await.unwrap();
        assert_eq!(world.page().refused(APP).await, code, "{what}, kept and served");
        world.source.publish(&address(ONE), signed.clone());
        world.page().launch(APP).await.unwrap();
        assert_eq!(world.store.manifest(&address(ONE)).await, Ok(Some(signed.clone())), "{what} is replaced");
        world.store.put_manifest(&address(ONE), manifest.clone()).await.unwrap();
        world.source.set_offline(true);
        assert_eq!(world.page().refused(APP).await, "offline", "{what}, kept, and no other to be had");
        world.source.set_offline(false);
        world.page().launch(APP).await.unwrap();
        assert!(world.store.manifest(&address(ONE)).await == Ok(Some(signed.clone())));
        forget(&*world.store).await;
    }
    // A record with a manifest of another signer.
    world.source.publish(&address(ONE), strangers.clone());
    world.say(APP, 2, ONE, &strangers);
    assert_eq!(world.page().refused(APP).await, "untrusted");
}

/// Stores cannot remove a manifest, so an invalid one stands for a missing one.
async fn forget(store: &dyn BundleStore) {
    let nothing = SignedManifest { bytes: Vec::new(), signature: publisher().sign(b"") };
    store.put_manifest(&address(ONE), nothing).await.unwrap();
}

/// Also a blob with the right length, and one that is longer than in the manifest.
pub async fn a_blob_of_another_file_is_refused_and_not_kept(world: &World) {
    let signed = world.publish(ONE, &[MODULE, ("/other.wasm", b"A MODULE")]);
    world.say(APP, 1, ONE, &signed);
    let digest = Digest::of(MODULE.1);
    for (bytes, code) in
        [(&b"A MODULE"[..], "digest-mismatch"), (b"", "digest-mismatch"), (b"a module and more", "malformed")]
    {
        world.source.put_under(digest, bytes.to_vec());
        assert_eq!(world.page().refused(APP).await, code, "{bytes:?}");
        assert_eq!(world.store.blob(&digest).await, Ok(None), "{bytes:?} is not kept");
    }
    world.source.add_blob(MODULE.1);
    world.page().launch(APP).await.unwrap();
    // In the store, a blob under a wrong digest counts as damaged.
    world.store.put_blob(&digest, (&b"A MODULE"[..]).into()).await.unwrap();
    let page = world.page();
    page.launch(APP).await.unwrap();
    assert_eq!(page.0.blob_counts(), counts(1, 0, 1));
}

/// The highest known revision stays, after all later records and refusals.
pub async fn an_older_revision_is_refused_for_ever(world: &World) {
    let (one, two) = (world.publish(ONE, &[MODULE]), world.publish(TWO, &[MODULE, TEXT]));
    world.say(APP, 7, TWO, &two);
    world.page().launch(APP).await.unwrap();
    for revision in [6, 0, 1] {
        world.say(APP, revision, ONE, &one);
        assert_eq!(world.page().refused(APP).await, "rollback", "revision {revision}");
        world.set_away(true);
        assert_eq!(world.page().launch(APP).await.unwrap().revision, 7);
        world.set_away(false);
        assert_eq!(world.page().refused(APP).await, "rollback", "revision {revision} after a launch from the cache");
    }
    // The record of another app cannot bypass this.
    world.say("acme:other", 1, ONE, &one);
    world.page().launch("acme:other").await.unwrap();
    assert_eq!(world.page().refused(APP).await, "rollback");
    world.say(APP, 8, ONE, &one);
    assert_eq!(world.page().launch(APP).await.unwrap().bundle, address(ONE), "a rollback is a new revision");
}

/// In both orders.
pub async fn an_older_launch_does_not_take_the_place_of_a_newer_one(world: &World) {
    let (one, two) = (world.publish(ONE, &[MODULE]), world.publish(TWO, &[("/module.wasm", b"a newer module")]));
    world.say(APP, 1, ONE, &one);
    let page = world.page();
    let holding = world.source.hold();
    let older = Box::pin(page.launch(APP));
    let before = world.source.fetched();
    let asked = Box::pin(async {
        while world.source.fetched() == before {
            world.time.sleep(5).await;
        }
    });
    let Either::Right(((), older)) = select(older, asked).await else { panic!("its module came") };
    world.source.hold_no_more();
    world.say(APP, 2, TWO, &two);
    page.launch(APP).await.unwrap();
    drop(holding);
    assert_eq!(older.await.unwrap_err().code(), "rollback");
    assert_eq!(page.launch(APP).await.unwrap().revision, 2);
}

/// An app lists the files of the bundles that it uses, but the files of the bundle's own app take precedence.
pub async fn nobody_says_what_is_in_anothers_bundle(world: &World) {
    let stranger = SecretKey::from_seed([2; 32]);
    let own = world.publish(ONE, &[MODULE, TEXT]);
    world.say(APP, 1, ONE, &own);
    let other = world.publish_as("bob:repo:app:1.0.0", &[("/text.txt", b"another text")], &stranger, |manifest| {
        let (manifest_digest, files) = (own.digest(), manifest.files.clone());
        let used = Used { manifest: manifest_digest, publisher: publisher().public(), files };
        manifest.uses.insert(ONE.to_owned(), used);
    });
    world.say("bob:app", 1, "bob:repo:app:1.0.0", &other);
    let trust = [&publisher(), &stranger];
    for (first, second) in [(APP, "bob:app"), ("bob:app", APP)] {
        let page = world.page();
        page.launch_trusting(first, &trust).await.unwrap();
        assert_eq!(page.launch_trusting(second, &trust).await.unwrap_err().code(), "conflict", "{second}");
        page.0.uninstall(&address(first));
        page.launch_trusting(second, &trust).await.unwrap();
    }
}

/// A server without an answer counts as away, and the last record applies. A refusal of the server is different.
pub async fn a_server_that_fails_for_now_is_as_good_as_away(world: &World) {
    let signed = world.publish(ONE, &[MODULE]);
    world.say(APP, 1, ONE, &signed);
    let busy = || Failure::new(429, "too-many", "not so fast");
    world.set_failing(Some(busy()));
    assert_eq!(world.page().refused(APP).await, "too-many", "nothing is kept yet");
    world.set_failing(None);
    world.page().launch(APP).await.unwrap();
    for failure in [busy(), Failure::internal("no room on the disk"), Failure::not_running("it is starting")] {
        world.set_failing(Some(failure));
        assert_eq!(world.page().launch(APP).await.unwrap().revision, 1);
    }
    world.set_failing(Some(Failure::no_grant("not any more")));
    assert_eq!(world.page().refused(APP).await, "no-grant");
    // An untrusted bundle is also refused offline, with the reason.
    world.set_failing(None);
    world.set_away(true);
    let stranger = SecretKey::from_seed([2; 32]);
    assert_eq!(world.page().launch_trusting(APP, &[&stranger]).await.unwrap_err().code(), "untrusted");
}

/// Every bit of the module, one at a time.
pub async fn flipped_bits_in_blobs_are_noticed_and_healed(world: &World) {
    let signed = world.publish(ONE, &[MODULE, TEXT]);
    world.say(APP, 1, ONE, &signed);
    world.page().launch(APP).await.unwrap();
    for bit in 0..MODULE.1.len() * 8 {
        world.store.put_blob(&Digest::of(MODULE.1), flipped(MODULE.1, bit).into()).await.unwrap();
        let page = world.page();
        page.launch(APP).await.unwrap();
        assert_eq!(page.0.blob_counts(), counts(1, 0, 1), "bit {bit}");
    }
    let page = world.page();
    page.launch(APP).await.unwrap();
    page.read(ONE, TEXT.0).await.unwrap();
    world.store.put_blob(&Digest::of(TEXT.1), flipped(TEXT.1, 3).into()).await.unwrap();
    assert_eq!(page.read(ONE, TEXT.0).await.unwrap(), TEXT.1);
    assert_eq!(page.0.blob_counts(), counts(2, 1, 1));
    world.store.put_blob(&Digest::of(TEXT.1), flipped(TEXT.1, 3).into()).await.unwrap();
    world.set_away(true);
    page.read(ONE, TEXT.0).await.unwrap_err();
    assert_eq!(world.store.blob(&Digest::of(TEXT.1)).await, Ok(None), "it was dropped");
}

/// Some bits of it, from the first to the last.
pub async fn flipped_bits_in_a_manifest_are_noticed_and_healed(world: &World) {
    let signed = world.publish(ONE, &[MODULE]);
    world.say(APP, 1, ONE, &signed);
    world.page().launch(APP).await.unwrap();
    let bits = signed.bytes.len() * 8;
    for bit in (0..bits).step_by(bits / 50) {
        let damaged = SignedManifest { bytes: flipped(&signed.bytes, bit), ..signed.clone() };
        world.store.put_manifest(&address(ONE), damaged).await.unwrap();
        world.source.set_offline(true);
        assert_eq!(world.page().refused(APP).await, "offline", "bit {bit}");
        world.source.set_offline(false);
        world.page().launch(APP).await.unwrap();
        assert!(world.store.manifest(&address(ONE)).await == Ok(Some(signed.clone())), "bit {bit} is healed");
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::{MemoryStore, testing::virtual_time::VirtualTime};

    macro_rules! tests {
        ($($case:ident)*) => { $(
            #[test]
            fn $case() {
                let time = VirtualTime::default();
                let world = World::new(Rc::new(time.clone()), Rc::new(MemoryStore::new()));
                time.run(async move { super::$case(&world).await }).unwrap();
            }
        )* };
    }

    crate::launch_cases!(tests);
}
