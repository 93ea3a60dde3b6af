//! Grants: the permissions of a principal or a mechtron, each as a verb and an address pattern.
//!
//! `request acme:profiles:** render save` · `subscribe acme:profiles:directory#*` · `notify ~*::acme:profiles:profile:*`

use std::fmt;

use minicbor::{
    Decode, Decoder, Encode, Encoder,
    decode::Error,
    encode::{self, Write},
};

use crate::address::{Address, Topic, check_segment};

/// The action that a grant allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// To send requests, and also one-way messages.
    Request,
    /// To send one-way messages.
    Notify,
    /// To get the events of a topic.
    Subscribe,
    /// To serve an address for everybody.
    Serve,
    /// To read an app's record and bundles.
    Launch,
    /// To replace a mechtron by one of another bundle.
    Override,
    /// To publish bundles, and to create apps and resources.
    Deploy,
    /// Everything, and to give grants and tokens.
    Admin,
}

/// The verbs and their words.
const VERBS: [(Verb, &str); 8] = [
    (Verb::Request, "request"),
    (Verb::Notify, "notify"),
    (Verb::Subscribe, "subscribe"),
    (Verb::Serve, "serve"),
    (Verb::Launch, "launch"),
    (Verb::Override, "override"),
    (Verb::Deploy, "deploy"),
    (Verb::Admin, "admin"),
];

impl Verb {
    /// Returns the word of the verb in a grant.
    pub fn word(self) -> &'static str {
        VERBS.iter().find(|(verb, _)| *verb == self).map_or("", |(_, word)| word)
    }
}

/// The error for a text that is not a grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a grant: expected {expected}")]
pub struct GrantError {
    /// The text.
    pub text: String,
    /// What was expected.
    pub expected: String,
}

/// A verb, a pattern and, for `request` and `notify`, operations. Without operations, all are allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    verb: Verb,
    pattern: Pattern,
    operations: Vec<String>,
}

/// A pattern of addresses or topics.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    /// Whether it begins with `~*::`, which stands for any host. Without it, only addresses without a host match.
    any_host: bool,
    /// The segments; `*` is any one segment.
    segments: Vec<String>,
    /// Whether it ends with `**`, which stands for the address itself and everything below.
    below: bool,
    /// The event of a topic; `*` is any.
    event: Option<String>,
}

impl Grant {
    /// Parses a grant. `.:` stands for `app`. Returns an error if the text is not a grant, or has `.:` without an
    /// `app`.
    pub fn parse(text: &str, app: Option<&Address>) -> Result<Self, GrantError> {
        let fail = |expected: String| GrantError { text: text.to_owned(), expected };
        let mut words = text.split_ascii_whitespace();
        let word = words.next().unwrap_or_default();
        let Some((verb, _)) = VERBS.iter().find(|(_, known)| *known == word) else {
            let known: Vec<&str> = VERBS.iter().map(|(_, word)| *word).collect();
            return Err(fail(format!("one of {}", known.join(", "))));
        };
        let pattern = words.next().ok_or_else(|| fail(format!("an address pattern after `{word}`")))?;
        let pattern = Pattern::parse(pattern, *verb, app).map_err(fail)?;
        let operations: Vec<String> = words.map(str::to_owned).collect();
        if !operations.is_empty() && !matches!(verb, Verb::Request | Verb::Notify) {
            return Err(fail(format!("nothing after the pattern of `{word}`")));
        }
        for operation in &operations {
            check_segment(operation).map_err(|(_, expected)| fail(format!("an operation: {expected}")))?;
        }
        Ok(Self { verb: *verb, pattern, operations })
    }

    /// The verb of the grant.
    pub fn verb(&self) -> Verb {
        self.verb
    }

    /// Returns whether it allows `verb` on an address. `operation` is the operation of a message, and "" for other
    /// verbs. A grant to `request` also allows to notify; `admin` allows everything.
    pub fn allows(&self, verb: Verb, address: &Address, operation: &str) -> bool {
        let verb_fits =
            self.verb == verb || self.verb == Verb::Admin || (self.verb, verb) == (Verb::Request, Verb::Notify);
        let all = self.operations.is_empty();
        verb_fits && (all || self.operations.iter().any(|known| known == operation)) && self.pattern.covers(address)
    }

    /// Returns whether this grant's pattern includes the pattern of `other`. Ignores the verbs.
    pub fn includes(&self, other: &Self) -> bool {
        self.pattern.includes(&other.pattern)
    }

    /// Returns whether this grant allows everything that `other` allows.
    pub fn covers(&self, other: &Self) -> bool {
        let verb_fits = self.verb == other.verb
            || self.verb == Verb::Admin
            || (self.verb, other.verb) == (Verb::Request, Verb::Notify);
        let operation_fits = self.operations.is_empty()
            || (!other.operations.is_empty() && other.operations.iter().all(|name| self.operations.contains(name)));
        // Without an event, only `admin` covers events.
        let event_fits = match (&self.pattern.event, &other.pattern.event) {
            (Some(own), Some(event)) => own == "*" || own == event,
            (None, Some(_)) => self.verb == Verb::Admin,
            (_, None) => true,
        };
        verb_fits && operation_fits && event_fits && self.includes(other)
    }

    /// Returns whether all addresses of this grant are below an app's address, on any host.
    pub fn is_within(&self, app: &Address) -> bool {
        let mut own = self.pattern.segments.iter();
        let within = app.segments().all(|segment| own.next().is_some_and(|part| part == segment));
        within && (own.next().is_some() || self.pattern.below)
    }

    /// The text of the pattern.
    pub fn pattern(&self) -> impl fmt::Display + '_ {
        &self.pattern
    }

    /// Returns whether it allows to subscribe to a topic.
    pub fn allows_topic(&self, topic: &Topic) -> bool {
        let event_fits = match &self.pattern.event {
            Some(event) => event == "*" || **event == *topic.event,
            None => self.verb == Verb::Admin,
        };
        matches!(self.verb, Verb::Subscribe | Verb::Admin) && event_fits && self.pattern.covers(&topic.address)
    }
}

/// The text form. Parsing has resolved relative addresses.
impl<C> Encode<C> for Grant {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.str(&self.to_string())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Grant {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, Error> {
        Self::parse(d.str()?, None).map_err(Error::custom)
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.verb.word(), self.pattern)?;
        self.operations.iter().try_for_each(|operation| write!(formatter, " {operation}"))
    }
}

impl Pattern {
    fn parse(text: &str, verb: Verb, app: Option<&Address>) -> Result<Self, String> {
        let (any_host, text) = match text.strip_prefix("~*::") {
            Some(bare) => (true, bare),
            None => (false, text),
        };
        let (address, event) = match text.split_once('#') {
            Some((address, event)) => (address, Some(event)),
            None => (text, None),
        };
        match (verb, event) {
            (Verb::Subscribe, None) => return Err("an address, `#` and an event to subscribe to".to_owned()),
            (Verb::Subscribe, _) | (_, None) => {}
            (_, Some(_)) => return Err("an address without `#`".to_owned()),
        }
        let whole = match (address.strip_prefix(".:"), app) {
            (Some(rest), Some(app)) => format!("{}:{rest}", app.without_host()),
            (Some(_), None) => return Err("an absolute address: `.:` has no meaning outside of an app".to_owned()),
            (None, _) => address.to_owned(),
        };
        let (above, below) = match whole.strip_suffix("**") {
            Some("") => ("", true),
            Some(above) => (above.strip_suffix(':').ok_or("`**` as a separate segment")?, true),
            None => (whole.as_str(), false),
        };
        let segments: Vec<String> = above.split(':').filter(|_| !above.is_empty()).map(str::to_owned).collect();
        let check = |part: &str| match (part, check_segment(part)) {
            ("*", _) | (_, Ok(())) => Ok(()),
            (_, Err((_, expected))) => Err(format!("`*` or, instead of `{part}`, {expected}")),
        };
        segments.iter().try_for_each(|segment| check(segment))?;
        if segments.is_empty() && !below {
            return Err("at least one segment".to_owned());
        }
        event.map_or(Ok(()), check)?;
        Ok(Self { any_host, segments, below, event: event.map(str::to_owned) })
    }

    /// Returns whether this covers every address that `other` covers.
    fn includes(&self, other: &Self) -> bool {
        let mut segments = other.segments.iter();
        let fit = self.segments.iter().all(|part| segments.next().is_some_and(|found| part == "*" || part == found));
        let no_more = segments.next().is_none() && !other.below;
        (self.any_host || !other.any_host) && fit && (self.below || no_more)
    }

    /// Returns whether this covers an address. The version and the path of an address are ignored.
    fn covers(&self, address: &Address) -> bool {
        if address.host().is_some() && !self.any_host {
            return false;
        }
        let mut segments = address.segments();
        let fit = self.segments.iter().all(|part| segments.next().is_some_and(|found| part == "*" || part == found));
        fit && (self.below || segments.next().is_none())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let below = self.below.then_some("**");
        let parts: Vec<&str> = self.segments.iter().map(String::as_str).chain(below).collect();
        formatter.write_str(if self.any_host { "~*::" } else { "" })?;
        formatter.write_str(&parts.join(":"))?;
        self.event.iter().try_for_each(|event| write!(formatter, "#{event}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(text: &str) -> Grant {
        Grant::parse(text, Some(&Address::parse("acme:profiles").unwrap())).unwrap()
    }

    fn may(text: &str, verb: Verb, address: &str, operation: &str) -> bool {
        grant(text).allows(verb, &Address::parse(address).unwrap(), operation)
    }

    #[test]
    fn a_pattern_covers_matching_addresses() {
        for (pattern, covered, not_covered) in [
            ("acme:a", &["acme:a"][..], &["acme", "acme:b", "acme:a:b", "acmes:a"][..]),
            ("acme:*", &["acme:a", "acme:b"], &["acme", "acme:a:b", "other:a"]),
            ("acme:*:x", &["acme:a:x"], &["acme:x", "acme:a:y", "acme:a:x:y"]),
            ("acme:**", &["acme", "acme:a", "acme:a:b"], &["other", "acmes"]),
            ("**", &["acme", "other:a:b"], &["~aaaaaaaaaaaaaaaaaaaaaaaaaa::acme"]),
            ("~*::acme:a", &["acme:a", "~aaaaaaaaaaaaaaaaaaaaaaaaaa::acme:a"], &["acme:b"]),
            (".:db", &["acme:profiles:db"], &["acme:other:db", "db"]),
            ("~*::.:profile:*", &["~aaaaaaaaaaaaaaaaaaaaaaaaaa::acme:profiles:profile:ada"], &["acme:profiles:db"]),
            ("acme:repo:a", &["acme:repo:a:1.0.0", "acme:repo:a:1.0.0:/x.txt"], &["acme:repo:b:1.0.0"]),
        ] {
            let text = format!("request {pattern}");
            for address in covered {
                assert!(may(&text, Verb::Request, address, "x"), "{pattern} covers {address}");
            }
            for address in not_covered {
                assert!(!may(&text, Verb::Request, address, "x"), "{pattern} does not cover {address}");
            }
        }
    }

    #[test]
    fn a_pattern_includes_narrower_patterns() {
        for (wide, narrow) in [
            ("**", "acme:**"),
            ("acme:**", "acme:*:x"),
            ("acme:*", "acme:a"),
            ("acme:*", "acme:*"),
            ("acme:**", "acme"),
            ("~*::acme:**", "acme:a"),
            ("acme:*:**", "acme:a:**"),
        ] {
            let (wide, narrow) = (format!("admin {wide}"), format!("request {narrow}"));
            assert!(grant(&wide).includes(&grant(&narrow)), "{wide} includes {narrow}");
        }
        for (narrow, wide) in [
            ("acme:**", "**"),
            ("acme:a", "acme:*"),
            ("acme:*", "acme:**"),
            ("acme:a", "acme:a:b"),
            ("acme:a:b", "acme:a"),
            ("acme:**", "~*::acme:a"),
            ("acme:*:x", "acme:**"),
        ] {
            let (narrow, wide) = (format!("admin {narrow}"), format!("request {wide}"));
            assert!(!grant(&narrow).includes(&grant(&wide)), "{narrow} does not include {wide}");
        }
    }

    #[test]
    fn a_grant_covers_narrower_grants() {
        for (wide, narrow) in [
            ("request bob:n:db", "request bob:n:db query"),
            ("request bob:n:db query execute", "notify bob:n:db query"),
            ("request bob:**", "request bob:*:db query"),
            ("subscribe bob:**#*", "subscribe bob:n#changes"),
            ("admin bob:**", "subscribe bob:n#changes"),
            ("admin ~*::**", "serve **"),
        ] {
            assert!(grant(wide).covers(&grant(narrow)), "{wide} covers {narrow}");
        }
        for (narrow, wide) in [
            ("request bob:n:db query", "request bob:n:db"),
            ("request bob:n:db query", "request bob:n:db execute"),
            ("notify bob:n:db", "request bob:n:db"),
            ("request bob:**", "request ~*::bob:n"),
            ("request bob:**", "subscribe bob:n#changes"),
            ("subscribe bob:**#changes", "subscribe bob:n#*"),
            ("deploy bob:**", "request bob:n"),
            ("admin bob:**", "request **"),
        ] {
            assert!(!grant(narrow).covers(&grant(wide)), "{narrow} does not cover {wide}");
        }
    }

    #[test]
    fn grants_within_an_app_are_below_its_whole_address() {
        let app = Address::parse("acme:profiles").unwrap();
        for text in ["request .:db", "request acme:profiles:**", "request ~*::.:profile:*", "subscribe .:a#*"] {
            assert!(grant(text).is_within(&app), "{text}");
        }
        for text in
            ["request acme:profiles", "request acme:*:db", "request acme:**", "request **", "request acme:other:db"]
        {
            assert!(!grant(text).is_within(&app), "{text}");
        }
    }

    #[test]
    fn verbs_and_operations_restrict_a_grant() {
        assert!(may("request acme:a get put", Verb::Request, "acme:a", "put"));
        assert!(!may("request acme:a get put", Verb::Request, "acme:a", "delete"));
        assert!(may("request acme:a", Verb::Notify, "acme:a", "tell"), "who may ask may tell");
        assert!(!may("notify acme:a", Verb::Request, "acme:a", "tell"));
        assert!(!may("launch acme:a", Verb::Request, "acme:a", "tell"));
        for (verb, _) in VERBS {
            assert!(may("admin acme:**", verb, "acme:a", "x"));
            assert!(!may("admin acme:**", verb, "other:a", "x"));
        }
        let topic = |text: &str| Topic::parse(text).unwrap();
        assert!(grant("subscribe .:directory#changes").allows_topic(&topic("acme:profiles:directory#changes")));
        assert!(!grant("subscribe .:directory#changes").allows_topic(&topic("acme:profiles:directory#others")));
        assert!(grant("subscribe acme:**#*").allows_topic(&topic("acme:a#x")));
        assert!(grant("admin acme:**").allows_topic(&topic("acme:a#x")));
        assert!(!grant("request acme:**").allows_topic(&topic("acme:a#x")));
    }

    #[test]
    fn errors_of_grants_say_what_was_expected() {
        for (text, expected) in [
            ("", "one of request, notify"),
            ("read acme:a", "one of request, notify"),
            ("request", "an address pattern after `request`"),
            ("request acme:a get:x y", "an operation"),
            ("serve acme:a get", "nothing after the pattern"),
            ("subscribe acme:a", "`#` and an event"),
            ("request acme:a#x", "without `#`"),
            ("subscribe acme:a#X", "instead of `X`, a-z"),
            ("request acme**", "`**` as a separate segment"),
            ("request **:acme", "instead of `**`"),
            ("request ac*me", "instead of `ac*me`"),
            ("request acme::a", "instead of ``"),
            ("request ~*::", "at least one segment"),
            ("request ACME", "instead of `ACME`"),
            ("request acme:repo:1.0.0", "instead of `1.0.0`"),
        ] {
            let error = Grant::parse(text, None).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(Grant::parse("request .:a", None).unwrap_err().to_string().contains("outside of an app"));
    }

    #[test]
    fn the_text_of_a_grant_reads_back() {
        for text in ["request acme:*:x get put", "subscribe ~*::acme:**#*", "admin **", "launch acme:profiles"] {
            assert_eq!(grant(text).to_string(), text);
            assert_eq!(grant(&grant(text).to_string()), grant(text));
        }
        assert_eq!(grant("notify  .:a  b").to_string(), "notify acme:profiles:a b");
    }
}
