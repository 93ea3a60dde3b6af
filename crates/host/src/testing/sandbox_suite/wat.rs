//! Guests that are written by hand, to do what no SDK does.

use bytes::Bytes;
use starlane_abi::names;

/// A valid guest, in which a case replaces parts.
///
/// All imports exist as `$request` … `$random`. The bytes at 16 are a valid result of `start`, those at 32 of `save`.
/// At 64 is the text `a:b`, at 72 invalid UTF-8, and at 80 a header of two valid texts.
pub(crate) struct Module<'a> {
    pub(crate) imports: &'a str,
    pub(crate) more: &'a str,
    pub(crate) memory: &'a str,
    pub(crate) initialize: Option<&'a str>,
    pub(crate) realloc: &'a str,
    pub(crate) start: &'a str,
    pub(crate) receive: &'a str,
    pub(crate) settle: &'a str,
    pub(crate) save: &'a str,
    /// `part`, `ended` and `ready`.
    pub(crate) streams: Option<[&'a str; 3]>,
    pub(crate) post_save: Option<&'a str>,
    /// The exports to omit.
    pub(crate) without: &'a [&'a str],
}

impl Default for Module<'_> {
    fn default() -> Self {
        Self {
            imports: "",
            more: "",
            memory: "1",
            initialize: None,
            realloc: BUMP,
            start: "(i32.const 16)",
            receive: "(i32.const 1)",
            settle: "",
            save: "(i32.const 32)",
            streams: None,
            post_save: None,
            without: &[],
        }
    }
}

/// An allocator with alignment that never frees.
pub(super) const BUMP: &str = "(global.set $top (i32.and (i32.add (global.get $top) (i32.sub (local.get 2) (i32.const 1))) \
    (i32.sub (i32.const 0) (local.get 2)))) \
    (global.get $top) (global.set $top (i32.add (global.get $top) (local.get 3)))";

impl Module<'_> {
    /// The module's text.
    fn text(&self) -> String {
        let mut text = String::from("(module\n");
        for (name, params, results) in names::IMPORTS {
            let (own, types) = (name.replace('-', "_"), types(params, results));
            text += &format!("(import \"{}\" \"{name}\" (func ${own} {types}))\n", names::MESH);
        }
        text += self.imports;
        if !self.without.contains(&names::MEMORY) {
            text += &format!("(memory (export \"memory\") {})\n", self.memory);
            text += r#"(data (i32.const 64) "a:b") (data (i32.const 72) "\ff\fe\fd")
                (data (i32.const 80) "\40\00\00\00\03\00\00\00\40\00\00\00\03\00\00\00")"#;
        }
        text += "(global $top (mut i32) (i32.const 4096))\n";
        let bodies = [self.start, self.receive, self.settle, "", self.save, self.realloc].map(Some);
        let optional = [self.initialize, None, self.post_save];
        let streams = self.streams.map_or([None; 3], |bodies| bodies.map(Some));
        let tables = (names::REQUIRED_FUNCTIONS.into_iter().zip(bodies))
            .chain(names::OPTIONAL_FUNCTIONS.into_iter().zip(optional))
            .chain(names::STREAM_FUNCTIONS.into_iter().zip(streams));
        for ((name, params, results), body) in tables {
            if let Some(body) = body.filter(|_| !self.without.contains(&name)) {
                text += &format!("(func (export \"{name}\") {} (local $i i32) {body})\n", types(params, results));
            }
        }
        text + self.more + ")"
    }

    /// The module.
    pub(crate) fn wasm(&self) -> Bytes {
        let text = self.text();
        Bytes::from(::wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}")))
    }
}

fn types(params: &str, results: &str) -> String {
    let named = |letters: &str| -> String {
        letters.chars().map(|letter| if letter == 'i' { " i32" } else { " i64" }).collect()
    };
    format!("(param{}) (result{})", named(params), named(results))
}

/// A call of `notify`: target, headers and body as pointer and length.
pub(super) fn notify(target: (i64, i64), headers: (i64, i64), body: (i64, i64)) -> String {
    let flat = [target.0, target.1, 64, 1, 64, 3, headers.0, headers.1, body.0, body.1];
    format!("(call $notify{} (i64.const 0))", flat.map(|value| format!(" (i32.const {value})")).concat())
}

/// Repeats code.
pub(super) fn repeat(times: u64, what: &str) -> String {
    format!(
        "(loop $again {what} (local.set $i (i32.add (local.get $i) (i32.const 1))) \
         (br_if $again (i32.lt_u (local.get $i) (i32.const {times}))))"
    )
}

/// A guest that holds a message `hold` until `release` comes, and answers all others.
pub(crate) fn holder() -> Bytes {
    let nothing = " (i32.const 0)".repeat(7) + " (i64.const 0)";
    let is = |operation: &str| format!("(if (i32.eq (local.get 7) (i32.const {}))", operation.len());
    let receive = format!(
        "{} (then (global.set $held (local.get 0)) (return (i32.const 0)))) \
         {} (then (call $reply (global.get $held){nothing}))) \
         (call $reply (local.get 0){nothing}) (i32.const 1)",
        is("hold"),
        is("release"),
    );
    let more = "(global $held (mut i64) (i64.const 0))";
    Module { receive: &receive, more, ..Module::default() }.wasm()
}
