//! Runs a server for tests, with bundles to publish on it.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    sync::mpsc,
    thread::JoinHandle,
    time::Duration,
};

use serde_json::Value;
use starlane_bundle::{SecretKey, SignedManifest, authoring::Draft};
use starlane_protocol::Address;
use starlane_server::{ServeConfig, ServeError};
use starlane_testkit::guest;
use tempfile::TempDir;
use tokio::sync::oneshot;
use ureq::http::HeaderMap;

/// A timeout for every operation of these tests.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// A running server. Dropping it stops the server and removes its data.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) token: String,
    pub(crate) config: ServeConfig,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
    _folder: TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut ServeConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = ServeConfig {
            data: folder.path().join("data"),
            listen: "127.0.0.1:0".parse().unwrap(),
            ..ServeConfig::default()
        };
        change(&mut config);
        let mut server =
            Self { url: String::new(), token: String::new(), config, stop: None, thread: None, _folder: folder };
        server.start_again();
        server
    }

    /// Stops it gracefully, and starts another one on its data.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.start_again();
    }

    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }

    fn start_again(&mut self) {
        let (told, ready) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let config = self.config.clone();
        let thread = std::thread::spawn(move || {
            let stopped = async {
                let _ = stopped.await;
            };
            starlane_server::serve(&config, |ready| told.send(ready).unwrap(), stopped)
        });
        let Ok(ready) = ready.recv_timeout(LONG) else {
            panic!("the server did not start: {:?}", thread.join().unwrap());
        };
        self.token = fs::read_to_string(&ready.admin_token).unwrap().trim().to_owned();
        self.url = ready.url;
        (self.stop, self.thread) = (Some(stop), Some(thread));
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// A request without a token.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
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
            true => agent.run(request.body(()).unwrap()),
            false => agent.run(request.body(body).unwrap()),
        };
        let mut response = response.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let body = response.body_mut().with_config().limit(100 << 20).read_to_vec().unwrap();
        Answer { status: response.status().as_u16(), headers: response.headers().clone(), body }
    }

    /// A request of the admin.
    pub(crate) fn admin(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let headers: Vec<_> = headers.iter().copied().chain([("authorization", bearer.as_str())]).collect();
        self.send(method, path, &headers, body)
    }

    /// Sends JSON to a resource without a token.
    pub(crate) fn ask(&self, to: &str, operation: &str, body: &Value) -> Answer {
        let json = [("content-type", "application/json")];
        self.send("POST", &format!("/messages/{to}/{operation}"), &json, body.to_string().as_bytes())
    }

    /// The same with the admin token.
    pub(crate) fn command(&self, to: &str, operation: &str, body: &Value) -> Answer {
        let json = [("content-type", "application/json")];
        self.admin("POST", &format!("/messages/{to}/{operation}"), &json, body.to_string().as_bytes())
    }

    /// Publishes a folder, signed with [`key`].
    pub(crate) fn publish(&self, folder: &Path, bundle: &str) -> SignedManifest {
        self.publish_by(1, &Draft::read(folder).unwrap(), bundle)
    }

    /// Publishes a draft, signed with another key.
    pub(crate) fn publish_by(&self, seed: u8, draft: &Draft, bundle: &str) -> SignedManifest {
        self.upload(draft);
        let signed = draft.sign(&Address::parse(bundle).unwrap(), &key(seed), 1_700_000_000);
        let answer = self.publish_manifest(bundle, &signed);
        assert_eq!(answer.status, 204, "{}", answer.text());
        signed
    }

    /// Uploads all files of a bundle.
    pub(crate) fn upload(&self, draft: &Draft) {
        for (_, entry, path) in draft.files() {
            let answer = self.admin("PUT", &format!("/blobs/sha256/{}", entry.sha256), &[], &fs::read(path).unwrap());
            assert_eq!(answer.status, 204, "{}", answer.text());
        }
    }

    pub(crate) fn publish_manifest(&self, bundle: &str, signed: &SignedManifest) -> Answer {
        let signature = signed.signature.to_string();
        self.admin("PUT", &format!("/bundles/{bundle}"), &[("starlane-signature", &signature)], &signed.bytes)
    }

    pub(crate) fn create(&self, app: &str, bundle: &str) -> Answer {
        self.command("starlane:apps", "create", &serde_json::json!({ "app": app, "bundle": bundle }))
    }

    /// Publishes a folder, and creates an app from it.
    pub(crate) fn run_app(&self, folder: &Path, bundle: &str, app: &str) {
        self.publish(folder, bundle);
        let answer = self.create(app, bundle);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
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

    /// Checks that an answer is a failure with this status and code.
    #[track_caller]
    pub(crate) fn fails(&self, status: u16, code: &str) -> String {
        assert_eq!((self.status, self.json()["code"].as_str()), (status, Some(code)), "{}", self.text());
        self.json()["message"].as_str().unwrap().to_owned()
    }
}

/// Sends the text of a request, and returns the text of the whole answer.
pub(crate) fn raw(server: &Server, request: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// A publisher's key.
pub(crate) fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
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

/// The operations of the guest `echo` with streams.
const STREAMS: &str = r#"
[operations.upload]
request = { stream = true }
response = {}
[operations.download]
request = {}
response = { stream = true }
[operations.mirror]
request = { stream = true }
response = { stream = true }
[operations.lines]
request = { content-type = "application/x-ndjson", stream = true }
response = { content-type = "application/x-ndjson", stream = true }
"#;

/// A bundle with the guest `echo` as a mechtron of the server; `app` is added to its app.toml.
pub(crate) fn echo_bundle(app: &str) -> TempDir {
    let app = format!(
        "[app]\nname = \"echoes\"\n[mechtrons.echo]\nconfig = \"mechtrons/echo.toml\"\nplacement = \"server\"\n\
         allow = [\"request **\", \"request ~*::**\", \"notify ~*::**\", \"subscribe **#*\"]\n{app}"
    );
    let names = "echo page fail log trap spin call count emit subscribe last-event sleep about read";
    let operations: String =
        names.split(' ').map(|name| format!("[operations.{name}]\nrequest = {{}}\nresponse = {{}}\n")).collect();
    let bind = format!(
        "[bind]\nname = \"echo\"\n{operations}{STREAMS}[operations.tell]\nrequest = {{}}\n[events.said]\npayload = {{}}\n"
    );
    let folder = folder(&[
        (
            "bundle.toml",
            "[bundle]\nname = \"echoes\"\ndescription = \"What is said comes back.\"\nlicence = \"MIT\"\npublic = true\n\
             include = [\"site/**\", \"migrations/**\"]\n",
        ),
        ("app.toml", &app),
        ("binds/echo.toml", &bind),
        ("mechtrons/echo.toml", "[mechtron]\nwasm = \"wasm/echo.wasm\"\nname = \"echo\"\nbind = \"binds/echo.toml\"\n"),
        ("site/index.html", "<!doctype html><title>Echoes</title>\n"),
        ("site/assets/app-0a1b2c3d.js", "console.log(1);\n"),
        ("site/assets/plain.txt", "plain\n"),
    ]);
    fs::create_dir_all(folder.path().join("wasm")).unwrap();
    fs::copy(guest("echo"), folder.path().join("wasm/echo.wasm")).unwrap();
    folder
}
