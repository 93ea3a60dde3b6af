//! `cargo xtask dist`: packs everything that users install into target/dist.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::build::{self, Artifact};
use crate::files;
use crate::report;
use crate::setup::{self, Piece};
use crate::workshop::Workshop;

/// The crates of the guest SDK.
const SDK_CRATES: [&str; 3] = ["abi", "mechtron", "mechtron-macros"];

/// How the server is built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// For users.
    Release,
    /// For tests, which have built it already.
    Dev,
}

/// The assembled files.
pub(crate) struct Dist {
    server: PathBuf,
    tarball: PathBuf,
    sdk: Sdk,
}

/// `cargo xtask dist`
pub(crate) fn command(workshop: &Workshop) -> Result<ExitCode> {
    setup::prepare(workshop, &Piece::BUILD)?;
    setup::ensure_all(workshop, &Piece::BUILD)?;
    let folder = workshop.path("target/dist");
    let Dist { server, tarball, sdk } = assemble(workshop, Profile::Release, &folder)?;
    try_sdk(workshop, &sdk)?;

    let size = |path: &Path| fs::metadata(path).map(|about| about.len() / 1024).unwrap_or_default();
    let (name, archive) = (&sdk.name, sdk.archive.display());
    let with_sdk = format!("tar -xzf {archive} -C .. && cargo add --path ../{name}/crates/mechtron");
    println!();
    for (what, path, line) in [
        ("server and command line", &server, format!("install -m 755 {} ~/.local/bin/", server.display())),
        ("npm package", &tarball, format!("npm install {}", tarball.display())),
        (
            "guest SDK (run this in the folder of your mechtron's crate; it unpacks the SDK beside it)",
            &sdk.archive,
            with_sdk,
        ),
    ] {
        println!("{what}, {} KiB:\n    {line}", size(path));
    }
    println!("first steps:\n    {}", folder.join("TUTORIAL.md").display());
    Ok(ExitCode::SUCCESS)
}

/// Fills a folder for users: server, npm package, guest SDK, the demo's bundle, tutorial, systemd unit.
pub(crate) fn assemble(workshop: &Workshop, profile: Profile, folder: &Path) -> Result<Dist> {
    let server = server(workshop, profile, folder)?;
    build::ensure_all_built(workshop, &[Artifact::Tarball, Artifact::DemoGuests, Artifact::Page])?;
    let built = build::tarball(workshop)?;
    let tarball = folder.join(built.file_name().unwrap_or_default());
    if tarball != built {
        files::copy(&built, &tarball)?;
    }
    let sdk = report::step("guest SDK", || guest_sdk(workshop, folder))?;
    report::step("the demo's bundle, tutorial and systemd unit", || {
        let (from, to) = (workshop.path("www/bundle"), folder.join("profiles"));
        files::remove_folder(&to)?;
        for file in files::below(&from)? {
            let name = file.strip_prefix(&from)?;
            // Users get the modules of guests, and not their sources.
            if name.starts_with("guests") || name.starts_with("target") || name.starts_with("Cargo.toml") {
                continue;
            }
            files::copy(&file, &to.join(name))?;
            if name.extension().is_some_and(|extension| extension == "toml") {
                // The first line names the schema for editors. The schemas are copied below.
                let text = fs::read_to_string(&file)?;
                files::write(&to.join(name), text.replace("../crates/cli/schemas/", "schemas/"))?;
            }
        }
        files::mirror(&workshop.path("crates/cli/schemas"), &folder.join("schemas"))?;
        for name in ["TUTORIAL.md", "starlane.service"] {
            files::copy(&workshop.path("crates/cli").join(name), &folder.join(name))?;
        }
        files::mirror(&workshop.path("crates/cli/pictures"), &folder.join("pictures"))
    })?;
    Ok(Dist { server, tarball, sdk })
}

fn server(workshop: &Workshop, profile: Profile, folder: &Path) -> Result<PathBuf> {
    setup::ensure_all(workshop, &[Piece::C, Piece::Rust])?;
    let name = format!("starlane{}", std::env::consts::EXE_SUFFIX);
    let to = folder.join(&name);
    if profile == Profile::Dev {
        build::ensure_built(workshop, Artifact::Server)?;
        files::copy(&build::server_binary(workshop), &to)?;
        return Ok(to);
    }
    report::step("build the server for release", || {
        workshop.cargo(["build", "--release", "-p", "starlane-cli"]).run()?;
        files::copy(&workshop.path("target/release").join(&name), &to)
    })?;
    Ok(to)
}

struct Sdk {
    /// The name of the folder in the archive.
    name: String,
    archive: PathBuf,
}

/// Packs the guest SDK as a workspace of its own.
fn guest_sdk(workshop: &Workshop, dist: &Path) -> Result<Sdk> {
    let root = fs::read_to_string(workshop.path("Cargo.toml"))?;
    let version = version_of(&root).context("Cargo.toml has no version")?;
    let name = format!("starlane-guest-sdk-{version}");
    let work = workshop.path("target/sdk");
    files::remove_folder(&work)?;
    let folder = work.join(&name);
    for crate_name in SDK_CRATES {
        let from = workshop.path("crates").join(crate_name);
        for file in files::below(&from)? {
            files::copy(&file, &folder.join("crates").join(crate_name).join(file.strip_prefix(&from)?))?;
        }
    }
    // The crates inherit from the workspace, whose members are all folders in crates/.
    files::write(&folder.join("Cargo.toml"), root)?;
    for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
        files::copy(&workshop.path(licence), &folder.join(licence))?;
    }
    let archive = dist.join(format!("{name}.tar.gz"));
    let tar = workshop.program("tar").within(&work).arg("-czf").arg(&archive).arg(&name);
    tar.run()?;
    Ok(Sdk { name, archive })
}

/// Unpacks the archive and builds a crate that uses the SDK, as a user will.
fn try_sdk(workshop: &Workshop, Sdk { name, archive }: &Sdk) -> Result<()> {
    let user = workshop.path("target/sdk/user");
    files::remove_folder(&user)?;
    fs::create_dir_all(&user)?;
    workshop.program("tar").within(&user).arg("-xzf").arg(archive).run()?;
    // Beside the SDK, and not around it: cargo takes crates below a workspace for its members.
    let guest = user.join("guest");
    let manifest = format!(
        "[package]\nname = \"guest\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[lib]\ncrate-type = [\"cdylib\"]\n\n\
         [dependencies]\nmechtron = {{ package = \"starlane-mechtron\", path = \"../{name}/crates/mechtron\" }}\n\n[workspace]\n"
    );
    files::write(&guest.join("Cargo.toml"), manifest)?;
    files::write(&guest.join("src/lib.rs"), "pub use mechtron as sdk;\n")?;
    let build = ["build", "--quiet", "--target", "wasm32-unknown-unknown"];
    workshop.cargo(build).within(&guest).env("CARGO_TARGET_DIR", workshop.path("target/guests")).run()
}

fn version_of(manifest: &str) -> Option<&str> {
    manifest.lines().find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))
}

#[cfg(test)]
mod tests {
    use super::version_of;

    #[test]
    fn the_version_is_that_of_the_workspace() {
        let manifest = "[workspace]\nmembers = [\"crates/*\"]\n\n[workspace.package]\nversion = \"0.1.0\"\n";
        assert_eq!(version_of(manifest), Some("0.1.0"));
    }
}
