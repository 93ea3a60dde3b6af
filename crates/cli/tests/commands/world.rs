//! Runs a server on its own folder, and commands against it.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// A folder with a running server, and commands against it.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) server: Child,
    pub(crate) url: String,
    pub(crate) data: PathBuf,
}

impl World {
    pub(crate) fn start() -> Self {
        Self::start_with(tempfile::tempdir().unwrap(), &[])
    }

    /// A server on the data in a folder.
    pub(crate) fn start_in(data: &Path) -> Self {
        Self::start_with(tempfile::tempdir().unwrap(), &["--data", data.to_str().unwrap()])
    }

    pub(crate) fn start_with(folder: TempDir, flags: &[&str]) -> Self {
        let mut command = starlane(folder.path());
        command.args(["serve", "--listen", "127.0.0.1:0", "--output", "json"]).args(flags);
        Self::of(folder, command.stderr(Stdio::null()))
    }

    /// A server that a command starts; its JSON output reports that it is ready.
    pub(crate) fn of(folder: TempDir, command: &mut Command) -> Self {
        let mut server = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        let data = ready["data"].as_str().unwrap().into();
        Self { url: ready["url"].as_str().unwrap().to_owned(), data, folder, server }
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// A command that is not started yet.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = starlane(self.folder.path());
        command.env("STARLANE_SERVER", &self.url);
        if !words.contains(&"--data") {
            command.env("STARLANE_DATA", &self.data);
        }
        command.args(words);
        command
    }

    /// Runs a command that must succeed, and returns its JSON output.
    pub(crate) fn json(&self, words: &[&str]) -> Value {
        let output = self.run(&[words, &["--output", "json"]].concat());
        assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs a command that must fail with this exit code, and returns its output.
    pub(crate) fn fails(&self, code: i32, words: &[&str]) -> String {
        let output = self.run(words);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", text(&output.stderr));
        text(&output.stderr)
    }

    /// Publishes a small bundle as `acme:repo:notes:1.0.0`.
    pub(crate) fn publish_notes(&self) {
        self.write("notes/bundle.toml", BUNDLE);
        self.write("notes/app.toml", APP);
        self.write("notes/site/index.html", "<p>notes</p>");
        self.json(&["publish", "notes", "acme:repo:notes:1.0.0"]);
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        let file = self.folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The binary in its own folder, without the settings of the user who runs the tests.
pub(crate) fn starlane(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_starlane"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("STARLANE_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).env("XDG_CONFIG_HOME", folder.join("config"));
    command
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) const BUNDLE: &str =
    "[bundle]\nname = \"notes\"\ndescription = \"\"\nlicence = \"MIT\"\ninclude = [\"site/**\"]\n";
pub(crate) const APP: &str = "[app]\nname = \"notes\"\n[resources.db]\nkind = \"database\"\n[http]\n\"GET /\" = { file = \"site/index.html\" }\n";
