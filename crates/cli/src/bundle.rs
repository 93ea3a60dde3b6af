//! `starlane bundle show|verify|list`: lists and checks the bundles of a server. The checks run on this machine.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::json;
use starlane_bundle::{Digest, FileEntry, Manifest, PublicKey, SIGNATURE_HEADER, Signature, SignedManifest};
use starlane_protocol::Address;

use crate::{
    client::{Client, Upload},
    error::code,
    output::{Output, size, time},
};

#[derive(serde::Serialize, serde::Deserialize)]
struct Listed {
    bundles: Vec<Known>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Known {
    address: Address,
    publisher: PublicKey,
}

/// Lists the published bundles.
pub(crate) fn list(client: &Client, output: Output) -> Result<()> {
    let answer = client.send("GET", "/bundles", &[], Upload::Nothing)?.success()?;
    let listed: Listed = serde_json::from_slice(&answer.body)?;
    if listed.bundles.is_empty() {
        output.remark("There are no bundles that you may see: `starlane publish DIR ADDRESS` publishes one.");
    }
    let rows: Vec<[String; 2]> =
        listed.bundles.iter().map(|known| [known.address.to_string(), known.publisher.to_string()]).collect();
    output.table(["BUNDLE", "PUBLISHER"], &rows, &serde_json::to_value(&listed)?);
    Ok(())
}

/// Shows the files of a published bundle and who signed it.
pub(crate) fn show(client: &Client, address: &Address, output: Output) -> Result<()> {
    let (signed, manifest) = fetch(client, address)?;
    let digest = signed.digest();
    let rows: Vec<[String; 3]> =
        manifest.files.iter().map(|(name, file)| [name.clone(), size(file.size), file.media_type.clone()]).collect();
    let json = json!({ "digest": digest, "manifest": manifest });
    let expiry = match manifest.expires {
        None => String::new(),
        Some(at) if at <= now() => format!(", expired {}", time(at)),
        Some(at) => format!(", expires {}", time(at)),
    };
    output.remark(&format!("{address}, signed by {}, manifest {digest}{expiry}", manifest.publisher));
    for (bundle, used) in &manifest.uses {
        output.remark(&format!("It uses {bundle} by {}, manifest {}", used.publisher, used.manifest));
    }
    output.table(["FILE", "SIZE", "TYPE"], &rows, &json);
    Ok(())
}

/// Fetches a whole published bundle, with the bundles that it uses, and checks the signature, the time, the names, and
/// the digest and length of each file.
pub(crate) fn verify(client: &Client, address: &Address, output: Output) -> Result<()> {
    let (signed, manifest) = fetch(client, address)?;
    if let (Some(at), Err(_)) = (manifest.expires, manifest.check_time(now())) {
        bail!("{address} expired at {}, so hosts refuse it: publish a new version", time(at));
    }
    let digest = signed.digest();
    let others =
        manifest.uses.iter().flat_map(|(bundle, used)| used.files.iter().map(move |file| (bundle.as_str(), file)));
    let own = manifest.files.iter().map(|file| (address.as_str(), file));
    let (mut files, mut bytes) = (0, 0);
    for (bundle, (name, entry)) in own.chain(others) {
        blob(client, bundle, name, entry)?;
        files += 1;
        bytes += entry.size;
    }
    let mut facts = vec![
        ("publisher", manifest.publisher.to_string()),
        ("manifest", digest.to_string()),
        ("files", format!("{files}, {}", size(bytes))),
    ];
    facts.extend(manifest.expires.map(|at| ("expires", time(at))));
    let json = json!({
        "address": address, "publisher": manifest.publisher, "digest": digest, "files": files, "bytes": bytes,
        "expires": manifest.expires,
    });
    output.done(&format!("{address} is complete and valid"), &facts, None, &json);
    Ok(())
}

/// Seconds since the Unix epoch.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Returns the bundle at this address, if there is one, and checks its signature.
pub(crate) fn published(client: &Client, address: &Address) -> Result<Option<(SignedManifest, Manifest)>> {
    let answer = client.send("GET", &format!("/bundles/{address}"), &[], Upload::Nothing)?;
    if answer.status == 404 {
        return Ok(None);
    }
    let answer = answer.success()?;
    let signature = Signature::parse(answer.header(SIGNATURE_HEADER).unwrap_or_default())?;
    let signed = SignedManifest { bytes: answer.body, signature };
    let manifest = signed.open().with_context(|| format!("the manifest of {address} on the server is not valid"))?;
    if manifest.address != *address {
        bail!("the server has a wrong bundle at {address}: its manifest is for {}", manifest.address);
    }
    Ok(Some((signed, manifest)))
}

/// Returns the bundle at this address, which must exist.
pub(crate) fn fetch(client: &Client, address: &Address) -> Result<(SignedManifest, Manifest)> {
    published(client, address)?.with_context(|| {
        format!("{address} is not published on {}: publish it with `starlane publish DIR {address}`", client.url())
    })
}

/// Returns a file of a published bundle, which must have the length and the digest of the manifest.
pub(crate) fn file(client: &Client, manifest: &Manifest, name: &str) -> Result<Vec<u8>> {
    let address = &manifest.address;
    let file = manifest.files.get(name).with_context(|| format!("{address} has no file {name}"))?;
    blob(client, address.as_str(), name, file)
}

fn blob(client: &Client, bundle: &str, name: &str, file: &FileEntry) -> Result<Vec<u8>> {
    let answer = client.send("GET", &format!("/blobs/sha256/{}", file.sha256), &[], Upload::Nothing)?;
    if answer.status == 404 {
        bail!("{name} of {bundle} is missing on the server: publish {bundle} again to upload missing files");
    }
    let answer = answer.success().map_err(|error| match code(&error) {
        "damaged" => anyhow!(
            "{name} of {bundle} is damaged on the server: {error:#}; publish {bundle} again to upload damaged files"
        ),
        _ => error,
    })?;
    let found = Digest::of(&answer.body);
    if found != file.sha256 || answer.body.len() as u64 != file.size {
        bail!(
            "{name} of {bundle} is damaged on the server: it has {} bytes with the digest {found}; the signed manifest \
             expects {} bytes with {}; publish {bundle} again to upload damaged files",
            answer.body.len(),
            file.size,
            file.sha256
        );
    }
    Ok(answer.body)
}
