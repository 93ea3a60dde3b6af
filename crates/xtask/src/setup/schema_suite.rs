//! The official JSON Schema Test Suite. It comes from the sources of the Python package `jsonschema`, which has versions and
//! checksums. The suite itself has neither.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use super::python::{self, Environment};
use crate::files;
use crate::report;
use crate::workshop::Workshop;

/// The release whose sources contain the suite.
const RELEASE: &str = "jsonschema-4.25.1";
/// The release with its digest, for pip.
const REQUIREMENT: &str =
    "jsonschema==4.25.1 --hash=sha256:e4a9655ce0da0c0b67a085847e00a3a51449e1157f4f75e9fb5aa545e122eb85\n";

/// The path of the suite in one file: an object of its files for draft 2020-12, by keyword.
pub(crate) fn file(workshop: &Workshop) -> PathBuf {
    workshop.path("target/schema-suite.json")
}

/// The missing Debian packages that are needed to fetch it.
pub(crate) fn missing_packages(workshop: &Workshop) -> Vec<String> {
    if merged(workshop).exists() { Vec::new() } else { python::missing_packages(workshop) }
}

/// Fetches the suite into the folder of tools, and copies it to target/ for the tests.
pub(crate) fn ensure(workshop: &Workshop) -> Result<()> {
    let folder = folder(workshop);
    let merged = merged(workshop);
    if !merged.exists() {
        workshop.installed.set(true);
        report::step("JSON Schema Test Suite", || {
            fs::create_dir_all(&folder)?;
            let requirement = folder.join("requirement.txt");
            fs::write(&requirement, REQUIREMENT)?;
            let pip = Environment::at(workshop, "schema-suite/python").pip(workshop)?;
            let download = pip.args(["download", "--no-deps", "--no-binary", ":all:", "--require-hashes"]);
            download.arg("-d").arg(&folder).arg("-r").arg(&requirement).run()?;
            let archive = folder.join(format!("{RELEASE}.tar.gz"));
            workshop.program("tar").arg("-xzf").arg(archive).arg("-C").arg(&folder).run()?;
            fs::write(&merged, merge(&folder.join(RELEASE).join("json/tests/draft2020-12"))?)?;
            files::remove_folder(&folder.join(RELEASE))
        })?;
    }
    let suite = fs::read(&merged).with_context(|| format!("cannot read {}", merged.display()))?;
    let file = file(workshop);
    if fs::read(&file).ok().as_ref() != Some(&suite) {
        fs::create_dir_all(workshop.path("target"))?;
        fs::write(&file, suite)?;
    }
    report::note("JSON Schema Test Suite");
    Ok(())
}

fn folder(workshop: &Workshop) -> PathBuf {
    workshop.tools.join("schema-suite")
}

/// The fetched suite in one file, in the folder of tools.
fn merged(workshop: &Workshop) -> PathBuf {
    folder(workshop).join(format!("{RELEASE}.json"))
}

/// Merges the files of a folder, without its subfolder of optional tests.
fn merge(folder: &std::path::Path) -> Result<String> {
    let mut all = Map::new();
    for entry in fs::read_dir(folder).with_context(|| format!("{RELEASE} has no {}", folder.display()))? {
        let path = entry?.path();
        let keyword = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.extension().is_some_and(|kind| kind == "json") {
            all.insert(keyword, serde_json::from_slice(&fs::read(&path)?)?);
        }
    }
    if all.len() < 40 {
        bail!("{RELEASE} has only {} files of the suite; at least 40 are expected", all.len());
    }
    Ok(Value::Object(all).to_string())
}
