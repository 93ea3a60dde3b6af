//! The served demo in a browser: actions and observations of a person at the page.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use fantoccini::Locator;
use serde_json::{Value, json};
use starlane_testkit::{
    browser::Browser,
    engine::Engine,
    proxy::Proxy,
    server::{Server, from_environment},
    workspace,
};

pub(crate) const BUNDLE: &str = "acme:repo:profiles:0.1.0";
pub(crate) const APP: &str = "acme:profiles";

/// A server with the demo, a proxy in front of it, and a browser.
pub(crate) struct Demo {
    pub(crate) browser: Browser,
    pub(crate) server: Server,
    pub(crate) proxy: Proxy,
}

impl Demo {
    /// Publishes the demo on a new server, and starts a browser without a page.
    pub(crate) async fn start(engine: Engine) -> Result<Self> {
        let bundle = from_environment("STARLANE_BUNDLE")?;
        let server = Server::start().await?;
        server.publish(&bundle, BUNDLE, APP).await?;
        let proxy = Proxy::start(&server.address).await?;
        let browser = Browser::open(engine).await?;
        Ok(Self { browser, server, proxy })
    }

    /// Opens the page in the present window. Returns the milliseconds until a mechtron in it has answered.
    pub(crate) async fn open(&self) -> Result<f64> {
        self.open_at(&self.proxy.origin).await
    }

    /// Opens the page of another origin.
    pub(crate) async fn open_at(&self, origin: &str) -> Result<f64> {
        self.browser.goto(&format!("{origin}/")).await?;
        self.ready().await
    }

    /// Waits until a mechtron in the page has answered. Returns the milliseconds that it took.
    pub(crate) async fn ready(&self) -> Result<f64> {
        let answered = "return Number(document.querySelector('[data-testid=render-time]')?.dataset.count) > 0";
        if let Err(error) = self.browser.until("a mechtron in the page has answered", answered, Value::Null).await {
            return Err(error.context(self.what_went_wrong().await));
        }
        let ready = self.browser.run("return await window.starlaneDemo.ready", Value::Null).await?;
        ready.as_f64().context("`starlaneDemo.ready` is not a number")
    }

    /// Waits until the link is in a state.
    pub(crate) async fn link_is(&self, state: &str) -> Result<()> {
        let is = "return document.querySelector('[data-testid=link]')?.dataset.state === argument";
        self.browser.until(&format!("the link is {state}"), is, json!(state)).await?;
        Ok(())
    }

    /// Chooses a person, adding them if they are not listed, and waits until their page is in the editor.
    pub(crate) async fn choose(&self, name: &str) -> Result<()> {
        let testid = format!("person-{name}");
        let listed = self.browser.client.find(Locator::Css(&format!("[data-testid=\"{testid}\"]"))).await.is_ok();
        if listed {
            self.browser.click(&testid).await?;
        } else {
            self.browser.element("new-name").await?.send_keys(name).await?;
            self.browser.click("new-add").await?;
        }
        let chosen = "return document.querySelector(`[data-testid=\"person-${argument}\"]`)?.ariaCurrent === 'true'
            && !document.querySelector('[data-testid=editor]').disabled";
        self.browser.until(&format!("{name} is chosen"), chosen, json!(name)).await?;
        Ok(())
    }

    /// Empties the editor and types a text, key by key.
    pub(crate) async fn type_text(&self, text: &str) -> Result<()> {
        let editor = self.browser.element("editor").await?;
        self.browser
            .run("const e = document.querySelector('[data-testid=editor]'); e.focus(); e.select()", Value::Null)
            .await?;
        // Types the key Enter (U+E007). A line feed is not a key, and WebKit's driver ignores it.
        editor.send_keys(&text.replace('\n', "\u{E007}")).await?;
        Ok(())
    }

    /// Opens a file of this machine in the editor, like a person with the button.
    pub(crate) async fn open_file(&self, file: &Path) -> Result<()> {
        let file = file.canonicalize()?;
        Ok(self.browser.element("file").await?.send_keys(&file.to_string_lossy()).await?)
    }

    /// Waits until the preview shows this HTML, byte for byte.
    pub(crate) async fn preview_is(&self, html: &str) -> Result<()> {
        let shows = "return document.querySelector('[data-testid=preview]')?.srcdoc.includes('<article>' + argument + '</article>') ?? false";
        if self.browser.until("the preview shows the expected HTML", shows, json!(html)).await.is_err() {
            let is = "return document.querySelector('[data-testid=preview]')?.srcdoc.split('<article>')[1] ?? null";
            let is = self.browser.client.execute(is, vec![]).await?;
            bail!("the preview shows {is}, but {} was expected\n{}", json!(html), self.what_went_wrong().await);
        }
        Ok(())
    }

    /// Saves, and waits until the server has confirmed. Returns the revision.
    pub(crate) async fn save(&self) -> Result<u64> {
        self.browser.click("save").await?;
        let saved = "const { dirty, revision } = document.querySelector('[data-testid=state]').dataset;
            return dirty === 'false' && document.querySelector('[data-testid=save]').disabled && Number(revision) || null";
        let revision = self.browser.until("the page is saved", saved, Value::Null).await;
        match revision {
            Ok(revision) => revision.as_u64().context("the revision is not a number"),
            Err(error) => Err(error.context(self.what_went_wrong().await)),
        }
    }

    /// `host.inspect()` of the page.
    pub(crate) async fn inspect(&self) -> Result<Value> {
        self.browser.run("return window.starlaneDemo.host.inspect()", Value::Null).await
    }

    /// The number of blobs that the page has fetched, found in its cache, and found damaged there.
    pub(crate) async fn blobs(&self) -> Result<(u64, u64, u64)> {
        let blobs = self.inspect().await?;
        let count = |name: &str| blobs.pointer(&format!("/blobs/{name}")).and_then(Value::as_u64);
        let counts = || Some((count("fetched")?, count("cached")?, count("healed")?));
        counts().with_context(|| format!("inspect() has no counts of blobs: {blobs}"))
    }

    /// The messages of page, console and server, for a failed fact.
    pub(crate) async fn what_went_wrong(&self) -> String {
        let problems = self
            .browser
            .client
            .execute("return document.querySelector('[data-testid=problems]')?.textContent", vec![])
            .await;
        let problems = problems.unwrap_or_default();
        let console = self.browser.console().await;
        format!("the page shows the problems {problems}\nits console: {console}\n{}", self.server.log())
    }

    /// The folder of this engine's screenshots.
    pub(crate) fn picture(&self, name: &str) -> PathBuf {
        workspace().join("target/e2e").join(format!("{}-{name}.png", self.browser.engine()))
    }
}
