//! `starlane bundle show|verify|list`: what a server has published, checked here and not there.

use anyhow::{Result, bail};
use serde_json::json;
use starlane_bundle::{Digest, Manifest, PublicKey};
use starlane_protocol::Address;

use crate::{
    client::{Client, Upload},
    output::{Output, size},
    publish::published,
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

/// Lists what is published.
pub(crate) fn list(client: &Client, output: Output) -> Result<()> {
    let answer = client.send("GET", "/bundles", &[], Upload::Nothing)?.success()?;
    let listed: Listed = serde_json::from_slice(&answer.body)?;
    if listed.bundles.is_empty() {
        output.remark("Nothing is published yet that you may see: `starlane publish DIR ADDRESS` publishes a bundle.");
    }
    let rows: Vec<[String; 2]> =
        listed.bundles.iter().map(|known| [known.address.to_string(), known.publisher.to_string()]).collect();
    output.table(["BUNDLE", "PUBLISHER"], &rows, &serde_json::to_value(&listed)?);
    Ok(())
}

/// Shows the files of a published bundle and who signed it.
pub(crate) fn show(client: &Client, address: &Address, output: Output) -> Result<()> {
    let (signed, manifest) = fetch(client, address)?;
    let rows: Vec<[String; 3]> =
        manifest.files.iter().map(|(name, file)| [name.clone(), size(file.size), file.media_type.clone()]).collect();
    let json = json!({ "digest": signed, "manifest": manifest });
    output.remark(&format!("{address}, signed by {}, manifest {signed}", manifest.publisher));
    output.table(["FILE", "SIZE", "TYPE"], &rows, &json);
    Ok(())
}

/// Fetches all of a published bundle and checks it: the signature, the names, and the digest and length of each file.
pub(crate) fn verify(client: &Client, address: &Address, output: Output) -> Result<()> {
    let (signed, manifest) = fetch(client, address)?;
    let mut bytes = 0;
    for (name, file) in &manifest.files {
        let path = format!("/blobs/sha256/{}", file.sha256);
        let answer = client.send("GET", &path, &[], Upload::Nothing)?.success()?;
        let found = Digest::of(&answer.body);
        if found != file.sha256 || answer.body.len() as u64 != file.size {
            bail!(
                "{name} of {address} is damaged on the server: it has {} bytes with the digest {found}, and the signed \
                 manifest says {} bytes with {}",
                answer.body.len(),
                file.size,
                file.sha256
            );
        }
        bytes += file.size;
    }
    let files = manifest.files.len();
    let facts = [
        ("publisher", manifest.publisher.to_string()),
        ("manifest", signed.to_string()),
        ("files", format!("{files}, {}", size(bytes))),
    ];
    let json = json!({ "address": address, "publisher": manifest.publisher, "digest": signed, "files": files, "bytes": bytes });
    output.done(&format!("{address} is whole"), &facts, None, &json);
    Ok(())
}

/// The digest of the manifest, and the manifest, its signature checked.
fn fetch(client: &Client, address: &Address) -> Result<(Digest, Manifest)> {
    match published(client, address)? {
        Some((_, manifest)) if manifest.address != *address => {
            bail!("the server has another bundle at {address}: the manifest there says {}", manifest.address)
        }
        Some((signed, manifest)) => Ok((signed.digest(), manifest)),
        None => bail!("{address} is not published on {}: `starlane publish DIR {address}` does that", client.url()),
    }
}
