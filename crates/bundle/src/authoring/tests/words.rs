//! What the code could tell an author, against what it told: no words of an error are untried.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::*;

/// Words of serde, which are read and not told, and what stands between those that are.
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

/// The texts of several words in the sources which `told` has nowhere. What stands in braces may be anything.
pub(super) fn untold(told: &str) -> Vec<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let below = ["authoring", "rules"].map(|folder| fs::read_dir(source.join(folder)).unwrap());
    let below = below.into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut texts = Vec::new();
    for file in below.chain(["authoring.rs", "rules.rs"].map(|file| source.join(file))).filter(|path| path.is_file()) {
        // Patterns of JSON Schemas are told by editors.
        if !file.ends_with("tests.rs") && !file.ends_with("schema.rs") {
            collect(fs::read_to_string(&file).unwrap().parse().unwrap(), &mut texts);
        }
    }
    texts.retain(|text| text.contains(' ') && !READ.contains(&text.as_str()));
    texts.retain(|text| !told.lines().any(|line| has(line, text)));
    texts
}

/// The text literals of some code, those of attributes aside.
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

/// Whether the pieces of a format stand in a line one after the other.
fn has(line: &str, format: &str) -> bool {
    let format = format.replace("{{", "\u{1}").replace("}}", "\u{2}");
    let mut rest = line;
    format.split('{').enumerate().all(|(at, piece)| {
        let literal = if at == 0 { piece } else { piece.split_once('}').map_or(piece, |(_, literal)| literal) };
        let literal = literal.replace('\u{1}', "{").replace('\u{2}', "}");
        rest.find(&literal).map(|found| rest = &rest[found + literal.len()..]).is_some()
    })
}
