//! The benchmark's mechtron: it echoes messages, and serves the benchmark's page.

use mechtron::{Call, Failure, Header, Payload, actor};

/// The page must reach the peers' servers, which have other ports.
const POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; \
                      connect-src 'self' data: http://127.0.0.1:* ws://127.0.0.1:*";

/// It has no state.
#[derive(Debug, Default)]
pub struct Speaker;

#[actor]
impl Speaker {
    /// Returns the payload.
    #[operation]
    fn echo(&self, payload: Payload) -> Payload {
        payload
    }

    /// Emits the payload to the subscribers of `said`.
    #[operation]
    fn shout(&self, call: &Call, payload: Payload) -> Result<(), Failure> {
        call.emit("said", payload)
    }

    /// The benchmark's page.
    #[operation]
    async fn page(&self, call: &Call) -> Result<Payload, Failure> {
        let mut page = call.bundle("/site/index.html").await?;
        page.content_type = "text/html".to_owned();
        page.headers = vec![Header { name: "content-security-policy".to_owned(), value: POLICY.to_owned() }];
        Ok(page)
    }
}

mechtron::export! { "speaker" => Speaker }
