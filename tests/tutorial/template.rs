//! The guide for agents in the folder that `starlane new` makes: its additions, and its commands.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use starlane_testkit::documents::{self, Runner, Snippet};

use crate::{Passed, Tutorial, commands::steps};

/// The guide.
pub(crate) const GUIDE: &str = "crates/cli/template/AGENTS.md";
/// The begin of the block that the guide's operation belongs into.
const ACTOR: &str = "impl Guestbook {\n";
/// How the guide tries its operation, and the reply of an empty guestbook.
const TRY: (&str, &str) = ("starlane send dev:guestbook:guestbook count --json '{}'", "0");

/// Makes a mechtron, adds what the guide adds, and runs its commands.
pub(crate) async fn follow(passed: &mut Passed) -> Result<()> {
    let mut author = Tutorial::start()?;
    author.command("starlane new mechtron guestbook").await?;
    author.at.push("guestbook");
    for piece in
        documents::of(Runner::Tutorial).iter().filter(|piece| piece.document == GUIDE && piece.language != "sh")
    {
        add(&author.at, piece).with_context(|| piece.place())?;
        passed.snippets += 1;
    }
    let guide = fs::read_to_string(author.at.join("AGENTS.md"))?;
    ensure!(guide.contains(TRY.0), "the guide does not have the command `{}`", TRY.0);
    author.follow(steps(&guide), passed).await?;
    author.printed.clear();
    author.command(TRY.0).await?;
    ensure!(author.printed.trim() == TRY.1, "`{}` printed {}", TRY.0, author.printed);
    Ok(())
}

/// Adds a piece of code where the guide says that it belongs.
fn add(folder: &Path, piece: &Snippet) -> Result<()> {
    let code = &piece.code;
    let change = |file: &str, change: &dyn Fn(&str) -> String| {
        let file = folder.join(file);
        let text = fs::read_to_string(&file)?;
        let changed = change(&text);
        ensure!(changed != text, "{} has no place for it", file.display());
        Ok(fs::write(file, changed)?)
    };
    match piece.language.as_str() {
        "toml" => change("binds/guestbook.toml", &|text| format!("{text}\n{code}")),
        // A mechtron of its own.
        "rust" if code.starts_with("use mechtron") => {
            let name = code.split("mechtron::export!").nth(1).and_then(|exported| exported.split('"').nth(1));
            let name = name.context("this mechtron is not exported")?;
            Ok(fs::write(folder.join(format!("tests/{name}.rs")), code)?)
        }
        "rust" if code.contains("#[test]") => change("tests/guestbook.rs", &|text| format!("{text}\n{code}")),
        "rust" if code.contains("#[operation]") => {
            change("src/lib.rs", &|text| text.replacen(ACTOR, &format!("{ACTOR}{code}\n"), 1))
        }
        other => bail!("this test does not know where `{other}` code belongs"),
    }
}
