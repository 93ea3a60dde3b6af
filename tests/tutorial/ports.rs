//! The ports in the texts, and the ones that are used where another program has a port.

use std::net::TcpListener;

use anyhow::{Context, Result};
use starlane_testkit::server::free_address;

/// The port of `starlane serve`, and the one of `starlane dev` in the tutorial.
const WRITTEN: [u16; 2] = [7711, 7722];

/// The ports of one run.
pub(crate) struct Ports([u16; 2]);

impl Ports {
    /// The ports of the text, or free ones for those that are taken.
    pub(crate) fn choose() -> Result<Self> {
        let mut used = WRITTEN;
        for port in &mut used {
            if TcpListener::bind(("127.0.0.1", *port)).is_err() {
                let free = free_address()?.rsplit(':').next().and_then(|port| port.parse().ok());
                let free = free.context("an address ends with a port")?;
                println!("port {port} is taken: using {free} for it");
                *port = free;
            }
        }
        Ok(Self(used))
    }

    /// A command, with the ports that are used.
    pub(crate) fn as_run(&self, line: &str) -> String {
        replaced(line, WRITTEN, self.0)
    }

    /// Output, with the ports of the text.
    pub(crate) fn as_written(&self, output: &str) -> String {
        replaced(output, self.0, WRITTEN)
    }

    /// The environment of commands that mean the server of the text without naming it.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let [used, _] = self.0;
        if used == WRITTEN[0] {
            return Vec::new();
        }
        let address = format!("127.0.0.1:{used}");
        vec![("STARLANE_SERVER", format!("http://{address}")), ("STARLANE_LISTEN", address)]
    }
}

fn replaced(text: &str, from: [u16; 2], to: [u16; 2]) -> String {
    from.iter().zip(to).fold(text.to_owned(), |text, (from, to)| text.replace(&format!(":{from}"), &format!(":{to}")))
}
