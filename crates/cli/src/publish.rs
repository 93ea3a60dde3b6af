//! `starlane publish`: check, sign, upload what the server lacks, the manifest last.

use std::{
    collections::BTreeMap,
    fs::File,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use starlane_bundle::{
    Digest, Manifest, SignedManifest,
    authoring::{Draft, Others},
};
use starlane_protocol::Address;

use crate::{
    arguments::Publish,
    bundle::{SIGNATURE, fetch, published},
    client::{Client, Upload},
    key,
    output::{Output, size},
};

/// A file that must be in the repository.
struct Blob<'a> {
    digest: Digest,
    size: u64,
    path: &'a Path,
}

/// Reads the bundle of a folder, and what it names of bundles that others have published.
pub(crate) fn read(folder: &Path, client: &Client, output: Output) -> Result<Draft> {
    let mut others = Others::default();
    for bundle in Draft::others(folder)? {
        let (signed, manifest) =
            fetch(client, &bundle).with_context(|| format!("{} uses another bundle", folder.display()))?;
        output.remark(&format!("It uses {bundle} by {}: publishing vouches for it too.", manifest.publisher));
        others.add(signed.digest(), manifest);
    }
    Ok(Draft::read_with(folder, &others)?)
}

pub(crate) fn run(given: &Publish, client: &Client, output: Output) -> Result<()> {
    let address = &given.address;
    if address.version().is_none() || address.path().is_some() || address.host().is_some() {
        bail!("{address} is no bundle's address: it ends with a version, such as acme:repo:profiles:1.0.0");
    }
    let draft = read(&given.folder, client, output)?;
    let loaded = key::load(given.key.as_deref())?;
    let publisher = loaded.key.public();
    if loaded.made {
        output.remark(&format!(
            "A publisher's key was made in {}: keep it safe, it owns what it publishes.",
            loaded.file.display()
        ));
    }
    // Bytes that were published before are published: a second publish of the same content is done at once.
    let known = published(client, address)?;
    let created = known.as_ref().map_or_else(now, |(_, manifest)| manifest.created);
    let manifest = draft.manifest(address, publisher, created);
    if let Some((signed, known)) = known {
        if known != manifest {
            bail!(
                "{address} was published with {}: a version never changes, so use a new one",
                if known.publisher == publisher { "other content" } else { "another key" }
            );
        }
        report(&given.address, &signed, &manifest, None, output);
        return Ok(());
    }
    let signed = manifest.sign(&loaded.key);
    let blobs = blobs(&draft);
    let missing = missing(client, &blobs)?;
    upload(client, &missing, output)?;
    let signature = signed.signature.to_string();
    let body = Upload::Bytes("application/json", &signed.bytes);
    client.send("PUT", &format!("/bundles/{address}"), &[(SIGNATURE, &signature)], body)?.success()?;
    let bytes = missing.iter().map(|blob| blob.size).sum();
    report(address, &signed, &manifest, Some((missing.len(), blobs.len(), bytes)), output);
    Ok(())
}

/// The draft's files, each content once.
fn blobs(draft: &Draft) -> Vec<Blob<'_>> {
    let mut blobs = BTreeMap::new();
    for (_, entry, path) in draft.files() {
        blobs.entry(entry.sha256).or_insert(Blob { digest: entry.sha256, size: entry.size, path });
    }
    blobs.into_values().collect()
}

fn missing<'a>(client: &Client, blobs: &'a [Blob<'a>]) -> Result<Vec<&'a Blob<'a>>> {
    let mut missing = Vec::new();
    for blob in blobs {
        let answer = client.send("HEAD", &format!("/blobs/sha256/{}", blob.digest), &[], Upload::Nothing)?;
        match answer.status {
            200 => {}
            404 => missing.push(blob),
            _ => _ = answer.success()?,
        }
    }
    Ok(missing)
}

fn upload(client: &Client, missing: &[&Blob<'_>], output: Output) -> Result<()> {
    let total = missing.iter().map(|blob| blob.size).sum();
    let bar = match output {
        Output::Human => ProgressBar::new(total),
        Output::Json | Output::Quiet => ProgressBar::hidden(),
    };
    if let Ok(style) = ProgressStyle::with_template("  uploading {bar:30.cyan} {bytes}/{total_bytes} {bytes_per_sec}") {
        bar.set_style(style);
    }
    for blob in missing {
        let file = File::open(blob.path).with_context(|| format!("{} can't be read", blob.path.display()))?;
        let body = Upload::Stream(blob.size, Box::new(bar.wrap_read(file)));
        let answer = client.send("PUT", &format!("/blobs/sha256/{}", blob.digest), &[], body);
        let uploaded = answer.and_then(|answer| answer.success().map(drop));
        uploaded.with_context(|| format!("{} can't be uploaded", blob.path.display()))?;
    }
    bar.finish_and_clear();
    Ok(())
}

fn report(
    address: &Address,
    signed: &SignedManifest,
    manifest: &Manifest,
    uploaded: Option<(usize, usize, u64)>,
    output: Output,
) {
    let (digest, publisher) = (signed.digest(), manifest.publisher);
    let (new, all, bytes) = uploaded.unwrap_or((0, 0, 0));
    let told = match uploaded {
        None => "nothing: the server has this version, with the same content".to_owned(),
        Some(_) => format!("{new} of {all} files ({}); {} were there", size(bytes), all - new),
    };
    let facts = [("digest", format!("sha256 {digest}")), ("publisher", publisher.to_string()), ("uploaded", told)];
    let next = manifest
        .app
        .as_ref()
        .map(|app| format!("starlane app create {}:{} --bundle {address}", address.space(), app.name));
    let json = json!({
        "bundle": address.as_str(), "digest": digest, "publisher": publisher,
        "uploaded": new, "present": all - new, "bytes": bytes, "unchanged": uploaded.is_none(),
    });
    output.done(&format!("Published {address}"), &facts, next.as_deref(), &json);
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
