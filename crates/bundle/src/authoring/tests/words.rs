//! Checks that a test covers every error text in the code.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::*;

/// Texts that are not errors: words of serde that the code reads, and separators.
const READ: [&str; 13] = [
    ", expected ",
    ": {}. Hint: {}",
    "a boolean",
    "a map",
    "a sequence",
    "a string",
    "duplicate key",
    "invalid type",
    "invalid value",
    "missing field ",
    "unknown field ",
    "unknown variant ",
    "wanted string or table",
];

/// Returns the texts of several words in the sources that are not in `told`. A placeholder in braces matches anything.
pub(super) fn untold(told: &str) -> Vec<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let below = ["authoring", "rules"].map(|folder| fs::read_dir(source.join(folder)).unwrap());
    let below = below.into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut texts = Vec::new();
    for file in below.chain(["authoring.rs", "rules.rs"].map(|file| source.join(file))).filter(|path| path.is_file()) {
        // Patterns of JSON Schemas are not error texts of this crate.
        if !file.ends_with("tests.rs") && !file.ends_with("schema.rs") {
            collect(fs::read_to_string(&file).unwrap().parse().unwrap(), &mut texts);
        }
    }
    texts.retain(|text| text.contains(' ') && !READ.contains(&text.as_str()));
    texts.retain(|text| !told.lines().any(|line| has(line, text)));
    texts
}

/// Collects the string literals of code, except those in attributes.
fn collect(code: TokenStream, texts: &mut Vec<String>) {
    let mut tokens = code.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(sign) if sign.as_char() == '#' => {
                tokens.next_if(|next| matches!(next, TokenTree::Punct(sign) if sign.as_char() == '!'));
                let bracket = |group: &proc_macro2::Group| group.delimiter() == Delimiter::Bracket;
                tokens.next_if(|next| matches!(next, TokenTree::Group(group) if bracket(group)));
            }
            TokenTree::Group(group) => collect(group.stream(), texts),
            TokenTree::Literal(literal) => {
                texts.extend(syn::parse_str::<syn::LitStr>(&literal.to_string()).map(|text| text.value()));
            }
            _ => {}
        }
    }
}

/// Returns whether a line contains the pieces of a format string in order.
fn has(line: &str, format: &str) -> bool {
    let format = format.replace("{{", "\u{1}").replace("}}", "\u{2}");
    let mut rest = line;
    format.split('{').enumerate().all(|(at, piece)| {
        let literal = if at == 0 { piece } else { piece.split_once('}').map_or(piece, |(_, literal)| literal) };
        let literal = literal.replace('\u{1}', "{").replace('\u{2}', "}");
        rest.find(&literal).map(|found| rest = &rest[found + literal.len()..]).is_some()
    })
}
