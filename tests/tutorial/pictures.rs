//! Pictures for the documentation: what commands print on a terminal, as SVG.

use std::{fs, path::Path};

use anstyle_svg::Term;
use anyhow::{Result, ensure};

use crate::Tutorial;

/// The commands of each picture; the first of all runs on.
const PICTURES: [(&str, &[&str]); 3] = [
    (
        "publish",
        &[
            "starlane publish profiles acme:repo:profiles:0.1.0",
            "starlane app create acme:profiles --bundle acme:repo:profiles:0.1.0",
        ],
    ),
    ("status", &["starlane send acme:profiles:directory list --json '{}' > people.json; starlane status"]),
    (
        "error",
        &["starlane publish broken acme:repo:broken:0.1.0", "starlane send acme:profiles:directory delete --json '{}'"],
    ),
];
/// A bundle with a fault.
const BROKEN: &str = "[bundle]\nname = \"broken\"\nlicense = \"MIT\"\n";

/// Makes the pictures in a folder.
pub(crate) async fn make(to: &Path) -> Result<()> {
    let mut tutorial = Tutorial::start()?;
    tutorial.coloured = true;
    let at = tutorial.at.clone();
    std::os::unix::fs::symlink(tutorial.dist.join("profiles"), at.join("profiles"))?;
    fs::create_dir_all(at.join("broken"))?;
    fs::write(at.join("broken/bundle.toml"), BROKEN)?;
    fs::create_dir_all(to)?;
    let said = tutorial.background("starlane serve --data starlane-data").await?;
    draw(&to.join("serve.svg"), &format!("{}{said}", prompt("starlane serve")))?;
    for (name, lines) in PICTURES {
        let mut shown = String::new();
        for line in lines {
            let ran = tutorial.shell(&format!("{{ {line}; }} 2>&1")).output().await?;
            // What a reader has is in their home folder.
            let config = tutorial.folder.path().join("config");
            let out = tutorial
                .ports
                .as_written(&String::from_utf8_lossy(&ran.stdout))
                .replace(&*config.to_string_lossy(), "~/.config");
            ensure!(ran.status.success() != (name == "error"), "{line}: {out}");
            shown += &format!("{}{out}\n", prompt(line.rsplit("; ").next().unwrap_or(line)));
        }
        draw(&to.join(format!("{name}.svg")), shown.trim_end())?;
    }
    println!("4 pictures are in {}", to.display());
    Ok(())
}

fn prompt(line: &str) -> String {
    format!("\u{1b}[2m$\u{1b}[0m {line}\n")
}

fn draw(file: &Path, printed: &str) -> Result<()> {
    Ok(fs::write(file, Term::new().render_svg(printed))?)
}
