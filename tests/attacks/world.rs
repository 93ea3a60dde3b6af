//! Runs the built server as a process, and has helpers for attackers.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use serde_json::Value;
use starlane_bundle::{SecretKey, SignedManifest, authoring::Draft};
use starlane_protocol::Address;
use tempfile::TempDir;
use ureq::http::HeaderMap;

/// A timeout for every operation of these tests.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A running `starlane serve`. Dropping it kills the server and removes its data.
pub(crate) struct Server {
    /// `http://127.0.0.1:PORT`
    pub(crate) url: String,
    /// The admin token.
    pub(crate) token: String,
    pub(crate) data: PathBuf,
    process: Child,
    configuration: String,
    folder: TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// A server with a configuration file.
    pub(crate) fn start_with(configuration: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let (process, url) = spawn(folder.path(), &data, configuration);
        let token = fs::read_to_string(data.join("admin.token")).unwrap().trim().to_owned();
        Self { url, token, data, process, configuration: configuration.to_owned(), folder }
    }

    /// A server that a shell starts: `script` ends with `exec "$@"`, and can redirect the server's output.
    pub(crate) fn start_by(script: &str, configuration: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let (process, url) = spawn_by(Some(script), folder.path(), &data, configuration);
        let token = fs::read_to_string(data.join("admin.token")).unwrap().trim().to_owned();
        Self { url, token, data, process, configuration: configuration.to_owned(), folder }
    }

    /// Kills it as a crash would, with SIGKILL.
    pub(crate) fn kill(&mut self) {
        let _ = self.process.kill();
        self.process.wait().unwrap();
    }

    /// Restarts a killed server on its data, with another port.
    pub(crate) fn start_again(&mut self) {
        self.kill();
        (self.process, self.url) = spawn(self.folder.path(), &self.data, &self.configuration);
    }

    /// The same with another configuration file.
    pub(crate) fn start_again_with(&mut self, configuration: &str) {
        configuration.clone_into(&mut self.configuration);
        self.start_again();
    }

    /// The folder that the server and all commands run in.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// The log of the server.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default()
    }

    /// The id of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Its current memory, in MiB.
    pub(crate) fn rss_mib(&self) -> u64 {
        self.status("VmRSS:") / 1_024
    }

    /// Its peak memory, in MiB.
    pub(crate) fn peak_rss_mib(&self) -> u64 {
        self.status("VmHWM:") / 1_024
    }

    /// Its open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    fn status(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Runs a command against it, with the admin token of its data folder.
    pub(crate) fn starlane(&self, words: &[&str]) -> Output {
        let mut command = starlane(self.folder.path());
        command.env("STARLANE_SERVER", &self.url).env("STARLANE_DATA", &self.data);
        command.args(words).output().unwrap()
    }

    /// A GET without a token.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.try_send(method, path, headers, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// The same, or the reason why there is no answer.
    pub(crate) fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, String> {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .max_redirects(0)
            .proxy(None)
            .timeout_global(Some(LONG))
            .build()
            .new_agent();
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = match body.is_empty() {
            true => agent.run(request.body(()).map_err(|error| error.to_string())?),
            false => agent.run(request.body(body).map_err(|error| error.to_string())?),
        };
        let mut response = response.map_err(|error| error.to_string())?;
        let body =
            response.body_mut().with_config().limit(100 << 20).read_to_vec().map_err(|error| error.to_string())?;
        Ok(Answer { status: response.status().as_u16(), headers: response.headers().clone(), body })
    }

    /// A request with a token.
    pub(crate) fn with_token(&self, token: &str, method: &str, path: &str, body: &[u8]) -> Answer {
        let bearer = format!("Bearer {token}");
        self.send(method, path, &[("authorization", &bearer), ("content-type", "application/json")], body)
    }

    /// Sends a message with a JSON body and a token.
    pub(crate) fn ask(&self, token: &str, to: &str, operation: &str, body: &Value) -> Answer {
        self.with_token(token, "POST", &format!("/messages/{to}/{operation}"), body.to_string().as_bytes())
    }

    /// The same, or the reason why there is no answer.
    pub(crate) fn try_ask(&self, token: &str, to: &str, operation: &str, body: &Value) -> Result<Answer, String> {
        let headers = [("authorization", &*format!("Bearer {token}")), ("content-type", "application/json")];
        self.try_send("POST", &format!("/messages/{to}/{operation}"), &headers, body.to_string().as_bytes())
    }

    /// The same with the admin token.
    pub(crate) fn command(&self, to: &str, operation: &str, body: &Value) -> Answer {
        self.ask(&self.token, to, operation, body)
    }

    /// Creates a token as the admin.
    pub(crate) fn token_for(&self, subject: &str, grants: &[&str]) -> String {
        let about = serde_json::json!({ "subject": subject, "grants": grants, "ttlSeconds": 3_600 });
        let answer = self.command("starlane:tokens", "create", &about);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    /// Uploads all files of a bundle, with a token.
    pub(crate) fn upload(&self, token: &str, draft: &Draft) {
        for (_, entry, path) in draft.files() {
            let path_of_blob = format!("/blobs/sha256/{}", entry.sha256);
            let answer = self.with_token(token, "PUT", &path_of_blob, &fs::read(path).unwrap());
            assert_eq!(answer.status, 204, "{}", answer.text());
        }
    }

    /// Publishes a folder with a token, signed with its own key.
    pub(crate) fn publish(&self, token: &str, seed: u8, folder: &Path, bundle: &str) -> SignedManifest {
        let draft = Draft::read(folder).unwrap();
        self.upload(token, &draft);
        let signed = draft.sign(&Address::parse(bundle).unwrap(), &SecretKey::from_seed([seed; 32]), 1_700_000_000);
        let answer = self.publish_manifest(token, bundle, &signed);
        assert_eq!(answer.status, 204, "{}", answer.text());
        signed
    }

    /// Publishes a manifest unchanged.
    pub(crate) fn publish_manifest(&self, token: &str, bundle: &str, signed: &SignedManifest) -> Answer {
        let (bearer, signature) = (format!("Bearer {token}"), signed.signature.to_string());
        let headers = [("authorization", bearer.as_str()), ("starlane-signature", &signature)];
        self.send("PUT", &format!("/bundles/{bundle}"), &headers, &signed.bytes)
    }

    /// Creates an app, with a token.
    pub(crate) fn create(&self, token: &str, app: &str, bundle: &str) -> Answer {
        self.ask(token, "starlane:apps", "create", &serde_json::json!({ "app": app, "bundle": bundle }))
    }

    /// A connection for arbitrary bytes of an attacker.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    }

    /// Writes raw bytes, and returns everything that the server sends.
    pub(crate) fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(folder: &Path, data: &Path, configuration: &str) -> (Child, String) {
    spawn_by(None, folder, data, configuration)
}

fn spawn_by(script: Option<&str>, folder: &Path, data: &Path, configuration: &str) -> (Child, String) {
    let file = folder.join("starlane.toml");
    fs::write(&file, configuration).unwrap();
    let log = fs::File::options().create(true).append(true).open(folder.join("server.log")).unwrap();
    let mut command = starlane(folder);
    if let Some(script) = script {
        command = through_shell(&command, folder, script);
    }
    command.args(["serve", "--listen", "127.0.0.1:0", "--output", "json"]);
    command.arg("--data").arg(data).arg("--config").arg(&file);
    let mut process = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let Ok(ready) = serde_json::from_str::<Value>(&line) else {
        let _ = process.kill();
        panic!("the server did not start: {}", fs::read_to_string(folder.join("server.log")).unwrap_or_default());
    };
    (process, ready["url"].as_str().unwrap().to_owned())
}

/// A command that a shell starts with the given arguments.
pub(crate) fn through_shell(command: &Command, folder: &Path, script: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.current_dir(folder);
    shell
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

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Checks that an answer is a failure with this status and code, and returns its message.
    #[track_caller]
    pub(crate) fn fails(&self, status: u16, code: &str) -> String {
        assert_eq!((self.status, self.json()["code"].as_str()), (status, Some(code)), "{}", self.text());
        self.json()["message"].as_str().unwrap().to_owned()
    }
}

/// A folder of files.
pub(crate) fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    folder
}

/// A bundle with a database, a site, and the guest `echo` as a mechtron of the server; `app` is added to its app.toml.
pub(crate) fn echo_bundle(app: &str) -> TempDir {
    let app = format!(
        "[app]\nname = \"echoes\"\n[mechtrons.echo]\nconfig = \"mechtrons/echo.toml\"\nplacement = \"server\"\n{app}"
    );
    let names = "echo page fail trap spin call count emit subscribe last-event sleep about read";
    let operations: String =
        names.split(' ').map(|name| format!("[operations.{name}]\nrequest = {{}}\nresponse = {{}}\n")).collect();
    let bind = format!("[bind]\nname = \"echo\"\n{operations}[events.said]\npayload = {{}}\n");
    let bundle = "[bundle]\nname = \"echoes\"\ndescription = \"What is said comes back.\"\nlicence = \"MIT\"\npublic = true\n\
                  include = [\"site/**\", \"migrations/**\"]\n";
    let mechtron = "[mechtron]\nwasm = \"wasm/echo.wasm\"\nname = \"echo\"\nbind = \"binds/echo.toml\"\n";
    let folder = folder(&[
        ("bundle.toml", bundle),
        ("app.toml", &app),
        ("binds/echo.toml", &bind),
        ("mechtrons/echo.toml", mechtron),
        ("site/index.html", "<!doctype html><title>Echoes</title>\n"),
    ]);
    fs::create_dir_all(folder.path().join("wasm")).unwrap();
    fs::copy(starlane_testkit::guest("echo"), folder.path().join("wasm/echo.wasm")).unwrap();
    folder
}
