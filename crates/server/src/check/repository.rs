//! Checks bundles, blobs and apps: each file has the content that its name promises, and every reference has a target.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Read,
    path::Path,
    sync::atomic::Ordering::Relaxed,
};

use starlane_bundle::{
    AppRecord, Digest, Hasher, Manifest, Placement, PublicKey, ResourceKind, Signature, SignedManifest,
};
use starlane_protocol::Address;

use super::Check;
use crate::{data_path::below, database};

/// The bundles and blobs without a problem.
#[derive(Default)]
struct Found {
    /// By address: the digest of the manifest.
    bundles: BTreeMap<Address, (Digest, Manifest)>,
    blobs: BTreeMap<Digest, u64>,
}

pub(super) fn check(check: &mut Check<'_>) {
    let mut found = Found::default();
    blobs(check, &mut found);
    bundles(check, &mut found, &check.data.join("bundles"));
    references(check, &found);
    apps(check, &found);
}

fn blobs(check: &mut Check<'_>, found: &mut Found) {
    let mend = "delete it and publish the bundles that name it again: `starlane publish` uploads what is missing";
    for folder in check.list(&check.data.join("blobs")) {
        for file in check.list(&folder) {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Ok(digest) = Digest::parse(&name) else {
                check.problem(&file, "its name is not a digest", "delete it: the server does not read it");
                continue;
            };
            if folder.file_name().is_none_or(|folder| name.get(..2).is_none_or(|first| folder != first)) {
                check.problem(
                    &file,
                    "it is in the folder of other digests",
                    "delete it: the server does not read it there",
                );
                continue;
            }
            match digest_of(&file) {
                Ok((real, size)) => {
                    check.seen.fetch_add(1, Relaxed);
                    check.report.bytes += size;
                    if real == digest {
                        found.blobs.insert(digest, size);
                    } else {
                        check.problem(&file, format!("its content has the digest {real}: it is damaged"), mend);
                    }
                }
                // The running server collected it meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => check.unreadable(&file, &error),
            }
        }
    }
}

fn digest_of(file: &Path) -> std::io::Result<(Digest, u64)> {
    let (mut file, mut hasher, mut size) = (fs::File::open(file)?, Hasher::new(), 0);
    let mut piece = vec![0; 64 * 1024];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok((hasher.finish(), size)),
            length => {
                hasher.update(piece.get(..length).unwrap_or_default());
                size += length as u64;
            }
        }
    }
}

fn bundles(check: &mut Check<'_>, found: &mut Found, folder: &Path) {
    let entries = check.list(folder);
    // The key is written before the first version.
    let owner = folder.join("publisher.key");
    if !entries.contains(&owner) && entries.iter().any(|entry| entry.join("manifest.json").exists()) {
        let mend = "publish under this name again as an admin: `starlane publish --take-over`";
        check.problem(
            &owner,
            "it is missing: the owner of the name is not known, so no bundle can be published under it",
            mend,
        );
    }
    for entry in entries {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match name.as_str() {
            _ if entry.is_dir() => bundles(check, found, &entry),
            "manifest.json" => bundle(check, found, folder, &entry),
            "manifest.signature" => {
                // A killed publish can leave the signature without a manifest, because the signature is written first.
            }
            "publisher.key" => {
                let key = check.read(&entry);
                if key.is_some_and(|key| PublicKey::parse(String::from_utf8_lossy(&key).trim()).is_err()) {
                    let mend = "publish under this name again as an admin: `starlane publish --take-over`";
                    check.problem(&entry, "it does not contain a public key", mend);
                }
            }
            _ => check.problem(&entry, "this file does not belong here", "delete it: the server does not read it"),
        }
    }
}

fn bundle(check: &mut Check<'_>, found: &mut Found, folder: &Path, file: &Path) {
    let path = folder.strip_prefix(check.data.join("bundles")).unwrap_or(folder);
    let address = path.to_string_lossy().replace(std::path::MAIN_SEPARATOR, ":");
    let mend = format!("delete the folder and publish {address} again");
    check.report.bundles += 1;
    let (Some(bytes), signature) = (check.read(file), check.read(&folder.join("manifest.signature"))) else { return };
    let text = String::from_utf8_lossy(&signature.unwrap_or_default()).trim().to_owned();
    let signature = match Signature::parse(&text) {
        Ok(signature) => signature,
        Err(error) => {
            check.problem(&folder.join("manifest.signature"), error.to_string(), mend);
            return;
        }
    };
    let signed = SignedManifest { bytes, signature };
    match signed.open() {
        Ok(manifest) if manifest.address.as_str() == address => {
            found.bundles.insert(manifest.address.clone(), (signed.digest(), manifest));
        }
        Ok(manifest) => check.problem(file, format!("it is the manifest of {}", manifest.address), mend),
        Err(error) => check.problem(file, error.to_string(), mend),
    }
}

/// Checks that every blob exists that a manifest names, with the length in the manifest.
fn references(check: &mut Check<'_>, found: &Found) {
    let mut named = BTreeSet::new();
    for (address, (_, manifest)) in &found.bundles {
        let mut file = check.data.join("bundles");
        file.extend(address.segments());
        let file = file.join(address.version().unwrap_or_default()).join("manifest.json");
        for (path, entry) in manifest.files.iter() {
            named.insert(entry.sha256);
            let problem = match found.blobs.get(&entry.sha256) {
                Some(size) if *size == entry.size => continue,
                Some(size) => format!("{path} has {} bytes in the manifest, but its blob has {size}", entry.size),
                None => format!("the blob {} of {path} is missing or damaged", entry.sha256),
            };
            check.problem(
                &file,
                problem,
                format!("publish {address} again with the same content: this uploads the missing files"),
            );
        }
        for (used, of_use) in manifest.uses.iter() {
            let there = Address::parse(used).ok().and_then(|used| found.bundles.get(&used));
            if there.is_none_or(|(digest, _)| *digest != of_use.manifest) {
                let problem = format!("it uses {used}, which is not here with the digest in the manifest");
                check.problem(&file, problem, format!("publish {used} again, as it was"));
            }
        }
    }
    check.report.unnamed = found.blobs.keys().filter(|digest| !named.contains(digest)).count() as u64;
}

fn apps(check: &mut Check<'_>, found: &Found) {
    for file in check.list(&check.data.join("apps")) {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let kind = file.extension().unwrap_or_default().to_string_lossy().into_owned();
        let Some(bytes) = check.read(&file) else { continue };
        match kind.as_str() {
            "json" => {
                check.report.apps += 1;
                app(check, found, &file, &stem, &bytes);
            }
            "revision" => {
                if String::from_utf8_lossy(&bytes).trim().parse::<u64>().is_err() {
                    let mend = "write a number into it that is larger than any revision of the app so far";
                    check.problem(&file, "it is not a number", mend);
                }
            }
            _ => check.problem(&file, "this file does not belong here", "delete it: the server does not read it"),
        }
    }
}

fn app(check: &mut Check<'_>, found: &Found, file: &Path, stem: &str, bytes: &[u8]) {
    let again = format!("create the app again: `starlane app create {stem} --bundle ADDRESS`");
    let record: AppRecord = match serde_json::from_slice(bytes) {
        Ok(record) => record,
        Err(error) => {
            let mend = format!("delete it, and {again}");
            return check.problem(file, format!("it can't be read: {error}"), mend);
        }
    };
    check.apps = true;
    check.principals |= record.maker.as_ref().is_some_and(|maker| !maker.proof.is_empty());
    databases(check, found, file, &record);
    if record.app.as_str() != stem {
        check.problem(file, format!("it is the record of {}", record.app), format!("delete it, and {again}"));
    }
    let overrides = record.overrides.iter().map(|over| (&over.bundle, &over.manifest));
    for (bundle, digest) in overrides.chain([(&record.bundle, &record.manifest)]) {
        let bundle = bundle.without_path();
        match found.bundles.get(&bundle) {
            Some((known, _)) if known == digest => {}
            Some(_) => check.problem(
                file,
                format!("it names a manifest of {bundle} that differs from the one here"),
                again.clone(),
            ),
            None => check.problem(
                file,
                format!("it names {bundle}, which is not here or is damaged"),
                format!("publish {bundle} again"),
            ),
        }
    }
}

/// Checks that each database of an app exists.
fn databases(check: &mut Check<'_>, found: &Found, file: &Path, record: &AppRecord) {
    let Some((_, manifest)) = found.bundles.get(&record.bundle) else { return };
    let Ok(folder) = below(check.data, [database::FOLDER, record.app.as_str()]) else { return };
    let resources = manifest.app.iter().flat_map(|config| config.resources.iter());
    let of_server = resources.filter(|(_, resource)| resource.placement != Placement::Browser);
    for (name, _) in of_server.filter(|(_, resource)| resource.kind == ResourceKind::Database) {
        match database::exists(check.data, &record.app, name, record.revision) {
            Ok(true) => {}
            // An upgrade removed it meanwhile.
            Ok(false) if is_newer(file, record) => {}
            Ok(false) => {
                let path = folder.join(format!("{name}.sqlite"));
                let problem =
                    format!("the database `{name}` of {} at revision {} is missing", record.app, record.revision);
                let mend = "restore the app's folder from a backup; the next start makes an empty database otherwise";
                check.problem(&path, problem, mend);
            }
            Err(error) => check.unreadable(&folder, &error),
        }
    }
}

/// Whether the revision of an app has changed since `record` was read.
fn is_newer(file: &Path, record: &AppRecord) -> bool {
    let now = fs::read(file).ok().and_then(|bytes| serde_json::from_slice::<AppRecord>(&bytes).ok());
    now.is_none_or(|now| now.revision != record.revision)
}
