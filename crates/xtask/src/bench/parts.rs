//! The parts of the benchmark, as `--only` names them, and their prerequisites.

use clap::ValueEnum;

use crate::build::Artifact;
use crate::setup::{Piece, browsers::Engine};

/// A part of the benchmark.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Part {
    /// P1 to P4: calls of a guest in a page.
    Calls,
    /// P5 to P7 and P11: a page, or a native client, and a mechtron on the server.
    Link,
    /// P8: launching a cached app.
    Launch,
    /// P12: sleeping and awake actors, in a page and on a server.
    Actors,
    /// Idle links.
    Idle,
    /// Files over HTTP. With `--baseline`: messages, routes and files beside another version of the server.
    Http,
    /// Writes to a database.
    Database,
    /// P10: the first load of a page.
    Size,
    /// The time of `cargo xtask run` in a clone of the checkout. Does not run by default.
    Cold,
}

impl Part {
    /// The parts that run without `--only`.
    pub(super) const ALL: [Part; 8] =
        [Part::Calls, Part::Link, Part::Launch, Part::Actors, Part::Idle, Part::Http, Part::Database, Part::Size];

    /// Its name in `--only`, and for the client.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether the client measures it.
    pub(super) fn is_of_client(self) -> bool {
        !matches!(self, Part::Size | Part::Cold)
    }

    /// Whether some of it runs in a page.
    pub(super) fn has_page(self) -> bool {
        matches!(self, Part::Calls | Part::Link | Part::Launch | Part::Actors)
    }

    /// Pieces that must be installed, besides those that its artifacts need.
    pub(super) fn pieces(self, engine: Engine) -> Vec<Piece> {
        let mut pieces = vec![Piece::C, Piece::Rust, Piece::OpenFiles];
        pieces.extend((self == Part::Cold).then_some(Piece::Git));
        pieces.extend(self.has_page().then(|| engine.piece()));
        pieces.extend((self == Part::Link).then_some(Piece::Nats));
        pieces.extend((self == Part::Http).then_some(Piece::Nginx));
        pieces
    }

    /// Artifacts that must be built first.
    pub(super) fn artifacts(self) -> Vec<Artifact> {
        match self {
            Part::Cold => vec![],
            Part::Size => vec![Artifact::Tarball, Artifact::BenchPage],
            _ if self.has_page() => vec![Artifact::BenchGuests, Artifact::BenchPage],
            _ => vec![Artifact::BenchGuests],
        }
    }
}
