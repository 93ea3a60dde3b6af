//! `starlane publish`: checks and signs a bundle, uploads the files that the server does not have, and then the
//! manifest.

use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    io::{self, Read},
    path::Path,
    sync::{Mutex, PoisonError},
    thread,
};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use starlane_bundle::{
    Contents, Digest, Manifest, PublicKey, SIGNATURE_HEADER, SignedManifest,
    authoring::{Draft, Others},
};
use starlane_meter::{FunctionLimits, check_within};

use crate::{
    arguments::Publish,
    bundle::{fetch, now, published},
    client::{Answer, Client, Upload},
    error::{BrokeOff, Conflict, Refused, find},
    key,
    output::{Output, size, time},
};

/// The number of parallel uploads: on a connection with a long delay, a small file mostly waits for the response.
const UPLOADS: usize = 4;
/// The maximum number of tries for a file whose connection is lost: a server may close an idle connection when it is
/// used again.
const TRIES: usize = 3;
/// The error for a file that changed after its digest was computed.
const CHANGED: &str = "the file changed during the upload: run the command again";

/// A file that must be in the repository.
struct Blob<'a> {
    digest: Digest,
    size: u64,
    path: &'a Path,
}

/// Checks a module with the default limits of a server. The error has the text of the server's own error.
fn check_module(wasm: &[u8], memory: u64) -> Result<(), String> {
    check_within(wasm, &FunctionLimits::default(), memory).map_err(|fault| fault.to_string())
}

/// Reads the bundle of a folder, and the other published bundles to which it refers.
pub(crate) fn read(folder: &Path, client: &Client, output: Output) -> Result<Draft> {
    let mut others = Others::default();
    for bundle in Draft::others(folder)? {
        let (signed, manifest) =
            fetch(client, &bundle).with_context(|| format!("{} uses another bundle", folder.display()))?;
        output.remark(&format!("It uses {bundle} by {}: your signature covers that bundle too.", manifest.publisher));
        others.add(signed.digest(), manifest);
    }
    Ok(Draft::read_with(folder, &others, &check_module)?)
}

pub(crate) fn run(given: &Publish, client: &Client, output: Output) -> Result<()> {
    let address = &given.address;
    let draft = read(&given.folder, client, output)?;
    let loaded = key::load(given.key.as_deref())?;
    if loaded.made {
        output.remark(&format!(
            "A publisher's key was created in {}: keep it safe, it owns the names of your bundles.",
            loaded.file.display()
        ));
    }
    let wanted = Wanted { given, draft: &draft, publisher: loaded.key.public() };
    let known = published(client, address)?;
    if let Some((_, known)) = &known {
        wanted.check(known)?;
        known.check_time(now()).map_err(|_| {
            Conflict(format!("{address} was published and has expired, so hosts refuse it: publish a new version"))
        })?;
    }
    let signed = wanted.manifest(now(), None).sign(&loaded.key);
    let manifest = signed.open().with_context(|| format!("hosts would refuse {address}"))?;
    // The server may have lost a file of a published bundle.
    let blobs = blobs(&draft);
    let missing = missing(client, &blobs)?;
    upload(client, &missing, output)?;
    let known = match known {
        None => wanted.put(&signed, client)?,
        known => known,
    };
    let unchanged = known.is_some();
    let (signed, manifest) = known.unwrap_or((signed, manifest));
    let uploaded = Uploaded { new: missing.len(), all: blobs.len(), bytes: missing.iter().map(|blob| blob.size).sum() };
    report(&signed, &manifest, &uploaded, unchanged, output);
    Ok(())
}

/// The bundle to publish.
struct Wanted<'a> {
    given: &'a Publish,
    draft: &'a Draft,
    publisher: PublicKey,
}

impl Wanted<'_> {
    /// Returns the manifest for a time of creation. Without `--expires`, `kept` is the time when it expires.
    fn manifest(&self, created: u64, kept: Option<u64>) -> Contents {
        let mut manifest = self.draft.contents(&self.given.address, self.publisher, created);
        manifest.expires = self.given.expires.map_or(kept, |time| Some(created.saturating_add(time.as_secs())));
        manifest
    }

    /// Checks that a published bundle is the same as this one, except for its time of creation. The error says what
    /// differs.
    fn check(&self, known: &Contents) -> Result<(), Conflict> {
        let mut wanted = self.manifest(known.created, known.expires);
        if *known == wanted {
            return Ok(());
        }
        wanted.expires = known.expires;
        let other = match known.publisher == wanted.publisher {
            false => "another key",
            true if *known == wanted => "another time to expire",
            true => "other content",
        };
        let address = &self.given.address;
        Err(Conflict(format!("{address} was published with {other}: a version never changes, so use a new version")))
    }

    /// Uploads the manifest. If another command published the same bundle at the same time, returns the other manifest,
    /// which is valid.
    fn put(&self, signed: &SignedManifest, client: &Client) -> Result<Option<(SignedManifest, Manifest)>> {
        let address = &self.given.address;
        let signature = signed.signature.to_string();
        let body = Upload::Bytes("application/json", &signed.bytes);
        let path = format!("/bundles/{address}{}", if self.given.take_over { "?take-over=true" } else { "" });
        let sent = client.send("PUT", &path, &[(SIGNATURE_HEADER, &signature)], body)?.success();
        let Err(refused) = sent else { return Ok(None) };
        let theirs = if is_conflict(&refused) { published(client, address)? } else { None };
        match theirs {
            Some((signed, known)) if self.check(&known).is_ok() => Ok(Some((signed, known))),
            _ => Err(refused),
        }
    }
}

fn is_conflict(error: &anyhow::Error) -> bool {
    find::<Refused>(error).is_some_and(|refused| refused.status == 409)
}

/// The contents of the draft's files, without duplicates.
fn blobs(draft: &Draft) -> Vec<Blob<'_>> {
    let mut blobs = BTreeMap::new();
    for (_, entry, path) in draft.files() {
        blobs.entry(entry.sha256).or_insert(Blob { digest: entry.sha256, size: entry.size, path });
    }
    blobs.into_values().collect()
}

/// Returns the files that the server does not have.
fn missing<'a>(client: &Client, blobs: &'a [Blob<'a>]) -> Result<Vec<&'a Blob<'a>>> {
    #[derive(serde::Deserialize)]
    struct Missing {
        missing: HashSet<Digest>,
    }
    let digests = json!({ "sha256": blobs.iter().map(|blob| blob.digest).collect::<Vec<_>>() }).to_string();
    let body = Upload::Bytes("application/json", digests.as_bytes());
    let answer = client.send("POST", "/blobs/missing", &[], body)?.success()?;
    let Missing { missing } = serde_json::from_slice(&answer.body)
        .context("the server's answer can't be read: the server is perhaps newer than this command")?;
    Ok(blobs.iter().filter(|blob| missing.contains(&blob.digest)).collect())
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
    let next = Mutex::new(missing.iter());
    let take = || next.lock().unwrap_or_else(PoisonError::into_inner).next();
    let upload_all = || {
        while let Some(blob) = take() {
            let uploaded = upload_one(client, blob, &bar);
            uploaded.with_context(|| format!("{} can't be uploaded", blob.path.display())).inspect_err(|_| {
                // Do not start the remaining uploads.
                while take().is_some() {}
            })?;
        }
        Ok(())
    };
    let uploaded = thread::scope(|scope| {
        let threads: Vec<_> = (0..UPLOADS).map(|_| scope.spawn(upload_all)).collect();
        let ended = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("an upload failed")));
        ended.collect::<Vec<Result<()>>>().into_iter().collect::<Result<()>>()
    });
    bar.finish_and_clear();
    uploaded
}

fn upload_one(client: &Client, blob: &Blob<'_>, bar: &ProgressBar) -> Result<()> {
    let mut tries = 1;
    loop {
        let mut file = Exactly { reader: File::open(blob.path).context("the file can't be read")?, left: blob.size };
        let body = Upload::Stream(blob.size, Box::new(bar.wrap_read(&mut file)));
        let sent = client.send("PUT", &format!("/blobs/sha256/{}", blob.digest), &[], body).and_then(Answer::success);
        let Err(error) = sent else { return Ok(()) };
        bar.dec(blob.size - file.left);
        if is_conflict(&error) {
            bail!(CHANGED);
        }
        if tries == TRIES || find::<BrokeOff>(&error).is_none() {
            return Err(error);
        }
        tries += 1;
    }
}

/// A reader that fails if the file is not as long as it was when its digest was computed. The request announces that
/// length: with fewer bytes, it would never end.
struct Exactly<R> {
    reader: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        let left = self.left.checked_sub(read as u64);
        // The HTTP client does not read beyond the announced length, so check here whether the file is longer.
        let goes_on = left == Some(0) && self.reader.read(&mut [0])? > 0;
        match left {
            Some(left) if !goes_on && (read > 0 || left == 0 || buffer.is_empty()) => {
                self.left = left;
                Ok(read)
            }
            _ => Err(io::Error::other(CHANGED)),
        }
    }
}

/// The number of uploaded contents, the number of all contents, and the uploaded bytes.
struct Uploaded {
    new: usize,
    all: usize,
    bytes: u64,
}

fn report(signed: &SignedManifest, manifest: &Manifest, uploaded: &Uploaded, unchanged: bool, output: Output) {
    let (digest, publisher, address) = (signed.digest(), manifest.publisher, &manifest.address);
    let Uploaded { new, all, bytes } = *uploaded;
    let told = match (unchanged, new) {
        (true, 0) => "nothing: the server has this version, with the same content".to_owned(),
        (true, _) => format!("{new} of {all} files ({}), which the server had lost", size(bytes)),
        (false, _) => format!("{new} of {all} files ({}); the server had {}", size(bytes), all - new),
    };
    let mut facts =
        vec![("digest", format!("sha256 {digest}")), ("publisher", publisher.to_string()), ("uploaded", told)];
    facts.extend(manifest.expires.map(|at| ("expires", time(at))));
    let next = manifest
        .app
        .as_ref()
        .map(|app| format!("starlane app create {}:{} --bundle {address}", address.space(), app.name));
    let json = json!({
        "bundle": address.as_str(), "digest": digest, "publisher": publisher, "expires": manifest.expires,
        "uploaded": new, "present": all - new, "bytes": bytes, "unchanged": unchanged,
    });
    output.done(&format!("Published {address}"), &facts, next.as_deref(), &json);
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use starlane_bundle::SecretKey;
    use starlane_protocol::Address;

    use super::*;

    #[test]
    fn a_file_that_shrank_or_grew_is_an_error() {
        let read = |text: &[u8], left: u64| {
            let mut whole = Vec::new();
            let told = Exactly { reader: text, left }.read_to_end(&mut whole);
            told.map(|_| whole).map_err(|error| error.to_string())
        };
        assert_eq!(read(b"four", 4).unwrap(), b"four");
        assert_eq!(read(b"", 0).unwrap(), b"");
        for (text, left) in [("fou", 4), ("", 4), ("fours", 4), ("x", 0)] {
            assert_eq!(read(text.as_bytes(), left).unwrap_err(), CHANGED, "{text}");
        }
        // Reads it as a request does, up to the announced length.
        let mut grown = Exactly { reader: &b"fours"[..], left: 4 };
        assert!(grown.read(&mut [0; 4]).is_err(), "the last of what was told is not handed out");
    }

    #[test]
    fn the_time_of_creation_does_not_change_the_content() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("bundle.toml"), "[bundle]\nname = \"x\"\n").unwrap();
        let draft = Draft::read(folder.path()).unwrap();
        let given = |expires: Option<u64>| Publish {
            folder: folder.path().to_owned(),
            address: Address::parse("acme:repo:x:1.0.0").unwrap(),
            key: None,
            expires: expires.map(Duration::from_secs),
            take_over: false,
        };
        let publisher = SecretKey::from_seed([1; 32]).public();
        let (plain, for_an_hour) = (given(None), given(Some(3600)));
        let plain = Wanted { given: &plain, draft: &draft, publisher };
        let for_an_hour = Wanted { given: &for_an_hour, draft: &draft, publisher };
        let told = |wanted: &Wanted<'_>, known: &Contents| wanted.check(known).map_err(|error| error.0);

        let earlier = for_an_hour.manifest(1_000, None);
        assert_eq!(earlier.expires, Some(4_600));
        assert_eq!(told(&for_an_hour, &earlier), Ok(()));
        assert_eq!(told(&plain, &earlier), Ok(()), "without the flag it expires as it did");
        assert_eq!(told(&plain, &plain.manifest(2_000, None)), Ok(()));
        let other = told(&for_an_hour, &plain.manifest(2_000, None)).unwrap_err();
        assert!(other.contains("another time to expire"), "{other}");
        let other = told(&plain, &Contents { public: true, ..earlier.clone() }).unwrap_err();
        assert!(other.contains("other content"), "{other}");
        let stranger = Wanted { publisher: SecretKey::from_seed([2; 32]).public(), ..plain };
        assert!(told(&stranger, &earlier).unwrap_err().contains("another key"));
    }
}
