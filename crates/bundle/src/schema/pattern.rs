//! `pattern`: regular expressions that JavaScript and the server's linear engine read alike, and that match every text
//! in a limited time.
//!
//! In the normal form, explicit classes replace the classes that the two languages define differently (`.`, `\d`, `\s`,
//! `\w`), and every character that is special in one of them is escaped. These patterns are refused:
//!
//! - a pattern that one of the languages does not have
//! - a pattern for which a backtracking engine may need more than [`MAX_WAYS`] tries on [`MAX_TEXT_CHARS`] characters
//! - a pattern for which the server's engine needs too much memory

mod shape;

use std::fmt::Write;

use regex_syntax::ast::{
    AssertionKind, Ast, ClassSet, ClassSetItem, ClassUnicodeKind, GroupKind, Repetition, RepetitionKind,
    RepetitionRange, parse::ParserBuilder,
};

use self::shape::Shape;
use super::{
    MAX_TEXT_CHARS,
    characters::{LINE_ENDS, Ranges, complement, perl_ranges, sorted},
};

/// The maximum number of ways to match that a browser may have to try. Each takes up to [`MAX_TEXT_CHARS`] steps.
const MAX_WAYS: u64 = 7_000;
/// The maximum size of a pattern with its repetitions expanded ([`Shape::size`]). A unit takes up to 100 bytes in the
/// server's engine, whose limit is 10 MiB.
const MAX_PATTERN_UNITS: u64 = 100_000;
/// The maximum length of a pattern, in bytes, both before and in normal form.
const MAX_PATTERN_BYTES: usize = 2_048;
/// The maximum depth of groups and classes.
const MAX_NESTING: u32 = 32;
/// The general categories of Unicode, by the names that both languages have.
const CATEGORIES: &str =
    " L Lu Ll Lt Lm Lo M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po S Sm Sc Sk So Z Zs Zl Zp C Cc Cf Co Cn ";

/// Returns the normal form of a pattern. The error says what is wrong with the pattern.
pub(super) fn normal_form(pattern: &str) -> Result<String, String> {
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(too_long());
    }
    let parsed = ParserBuilder::new().nest_limit(MAX_NESTING).build().parse(pattern);
    let ast = parsed.map_err(|error| format!("it can't be read: {}", error.kind()))?;
    let mut text = String::new();
    let shape = write(&ast, &mut text)?;
    if text.len() > MAX_PATTERN_BYTES {
        return Err(too_long());
    }
    if shape.size > MAX_PATTERN_UNITS {
        return Err(
            "it is too large when its repetitions are expanded; use `+` with `minLength` and `maxLength`".to_owned()
        );
    }
    let ways = if shape.anchored { shape.settled } else { shape.settled.saturating_mul(MAX_TEXT_CHARS) };
    if ways > MAX_WAYS {
        return Err(
            "it may backtrack too much; begin it with `^`, bound its repetitions, or follow each repetition with a \
                    character that it cannot match"
                .to_owned(),
        );
    }
    Ok(text)
}

fn too_long() -> String {
    format!("it has more than {MAX_PATTERN_BYTES} bytes in normal form; use `enum`, or split it with `anyOf`")
}

fn write(ast: &Ast, out: &mut String) -> Result<Shape, String> {
    match ast {
        Ast::Empty(_) => Ok(Shape::nothing(false)),
        Ast::Flags(_) => Err("JavaScript has no flags such as `(?i)` in a pattern".to_owned()),
        Ast::Literal(literal) => {
            if literal.c.is_ascii_punctuation() && r"^$\.*+?()[]{}|/".contains(literal.c) {
                out.push('\\');
                out.push(literal.c);
            } else if literal.c.is_ascii_graphic() || literal.c == ' ' {
                out.push(literal.c);
            } else {
                quoted(literal.c, out);
            }
            Ok(Shape::character(Some(vec![(literal.c, literal.c)])))
        }
        Ast::Dot(_) => Ok(class(&complement(LINE_ENDS), out)),
        Ast::ClassPerl(perl) => Ok(class(&perl_ranges(perl), out)),
        Ast::ClassUnicode(class) => {
            class_item(&ClassSetItem::Unicode((**class).clone()), out)?;
            Ok(Shape::character(None))
        }
        Ast::ClassBracketed(bracketed) => {
            let ClassSet::Item(item) = &bracketed.kind else {
                return Err("JavaScript has no `&&`, `--` and `~~` in a class".to_owned());
            };
            out.push_str(if bracketed.negated { "[^" } else { "[" });
            let known = class_item(item, out)?;
            out.push(']');
            let first = known.map(sorted);
            Ok(Shape::character(if bracketed.negated { first.map(|ranges| complement(&ranges)) } else { first }))
        }
        Ast::Assertion(assertion) => match assertion.kind {
            AssertionKind::StartLine => {
                out.push('^');
                Ok(Shape::nothing(true))
            }
            AssertionKind::EndLine => {
                out.push('$');
                Ok(Shape::nothing(false))
            }
            _ => Err("the only assertions that are allowed are `^` and `$`".to_owned()),
        },
        Ast::Repetition(repetition) => repeated(repetition, out),
        Ast::Group(group) => {
            if matches!(&group.kind, GroupKind::NonCapturing(flags) if !flags.items.is_empty()) {
                return Err("JavaScript has no flags such as `(?i:…)` in a pattern".to_owned());
            }
            out.push_str("(?:");
            let shape = write(&group.ast, out)?;
            out.push(')');
            Ok(shape)
        }
        Ast::Alternation(alternation) => {
            let mut branches = Vec::new();
            for (index, branch) in alternation.asts.iter().enumerate() {
                if index > 0 {
                    out.push('|');
                }
                branches.push(write(branch, out)?);
            }
            Ok(Shape::one_of(&branches))
        }
        Ast::Concat(concat) => {
            let mut parts = Vec::new();
            for part in &concat.asts {
                parts.push(write(part, out)?);
            }
            Ok(Shape::sequence(parts))
        }
    }
}

fn repeated(repetition: &Repetition, out: &mut String) -> Result<Shape, String> {
    let (least, most) = match &repetition.op.kind {
        RepetitionKind::ZeroOrOne => (0, Some(1)),
        RepetitionKind::ZeroOrMore => (0, None),
        RepetitionKind::OneOrMore => (1, None),
        RepetitionKind::Range(RepetitionRange::Exactly(count)) => (*count, Some(*count)),
        RepetitionKind::Range(RepetitionRange::AtLeast(least)) => (*least, None),
        RepetitionKind::Range(RepetitionRange::Bounded(least, most)) => (*least, Some(*most)),
    };
    if u64::from(most.unwrap_or(least)) > MAX_TEXT_CHARS {
        return Err(format!(
            "it has a repetition of more than {MAX_TEXT_CHARS} times; the maximum length of a text is {MAX_TEXT_CHARS} characters"
        ));
    }
    let inner = write(&repetition.ast, out)?;
    // JavaScript has no `a{2}{3}`.
    if matches!(&*repetition.ast, Ast::Repetition(_)) || inner.empty {
        return Err("it repeats a repetition, or what may match nothing".to_owned());
    }
    match (least, most) {
        (0, Some(1)) => out.push('?'),
        (0, None) => out.push('*'),
        (1, None) => out.push('+'),
        (least, None) => drop(write!(out, "{{{least},}}")),
        (least, Some(most)) if least == most => drop(write!(out, "{{{least}}}")),
        (least, Some(most)) => drop(write!(out, "{{{least},{most}}}")),
    }
    inner.repeated(least, most)
}

/// Writes a class of these characters.
fn class(ranges: &[(char, char)], out: &mut String) -> Shape {
    out.push('[');
    write_ranges(ranges, out);
    out.push(']');
    Shape::character(Some(ranges.to_vec()))
}

/// Writes the content of a class, and returns its characters, if they are known.
fn class_item(item: &ClassSetItem, out: &mut String) -> Result<Option<Ranges>, String> {
    let ranges = match item {
        ClassSetItem::Empty(_) => Vec::new(),
        ClassSetItem::Literal(literal) => vec![(literal.c, literal.c)],
        ClassSetItem::Range(range) => vec![(range.start.c, range.end.c)],
        ClassSetItem::Perl(perl) => perl_ranges(perl),
        ClassSetItem::Unicode(unicode) => {
            let name = match &unicode.kind {
                ClassUnicodeKind::OneLetter(letter) => letter.to_string(),
                ClassUnicodeKind::Named(name) => name.clone(),
                ClassUnicodeKind::NamedValue { .. } => String::new(),
            };
            if name.is_empty() || !CATEGORIES.contains(&format!(" {name} ")) {
                return Err(
                    r"the only Unicode classes that are allowed are general categories, such as `\p{Lu}`".to_owned()
                );
            }
            let p = if unicode.negated { 'P' } else { 'p' };
            let _ = write!(out, "\\{p}{{{name}}}");
            return Ok(None);
        }
        ClassSetItem::Union(union) => {
            let mut all = Some(Vec::new());
            for item in &union.items {
                let known = class_item(item, out)?;
                all = all.zip(known).map(|(mut all, known)| {
                    all.extend(known);
                    all
                });
            }
            return Ok(all);
        }
        ClassSetItem::Ascii(_) | ClassSetItem::Bracketed(_) => {
            return Err("JavaScript has no class within a class; escape the bracket as `\\[`".to_owned());
        }
    };
    write_ranges(&ranges, out);
    Ok(Some(ranges))
}

fn write_ranges(ranges: &[(char, char)], out: &mut String) {
    let one = |c: char, out: &mut String| if c.is_ascii_alphanumeric() { out.push(c) } else { quoted(c, out) };
    for (from, to) in ranges {
        one(*from, out);
        if to > from {
            out.push('-');
            one(*to, out);
        }
    }
}

fn quoted(c: char, out: &mut String) {
    let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syntax_that_the_languages_read_differently_is_written_out() {
        for (pattern, normal) in [
            (r"^[a-z]+$", r"^[a-z]+$"),
            (r"^\d{4}-\d\d$", r"^[0-9]{4}-[0-9][0-9]$"),
            (r"^\w+?x?", r"^[0-9A-Z\u{5f}a-z]+x?"),
            (r"^.", r"^[\u{0}-\u{9}\u{b}-\u{c}\u{e}-\u{2027}\u{202a}-\u{10ffff}]"),
            (r"^(?<year>\x41|é)/", r"^(?:A|\u{e9})\/"),
            (r"^[^\S\-&&]", r"^[^\u{0}-\u{8}\u{e}-\u{1f}!-\u{9f}]"),
            (r"^\p{Lu}\PL", r"^\p{Lu}\P{L}"),
        ] {
            let Ok(found) = normal_form(pattern) else {
                assert!(pattern.contains("&&"), "{pattern}: {:?}", normal_form(pattern));
                continue;
            };
            assert_eq!(found, normal, "{pattern}");
            assert_eq!(normal_form(&found).as_deref(), Ok(normal), "the normal form of a normal form is itself");
        }
    }

    #[test]
    fn usual_patterns_are_accepted() {
        for pattern in [
            "^[^@]+@[^@]+\\.[a-z]+$",
            "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
            r"^\d+\.\d+\.\d+(-[\w.]+)?$",
            "^(GET|POST|PUT) /[^ ]*$",
            "^#[0-9a-fA-F]{6}$",
            "^(foo|bar)+$",
            "^([0-9a-f]{4}-)*x$",
            "a+",
            "^.*foo[^b]*bar$",
            "^.{0,80}foo.{0,80}bar$",
            "^[a-z][a-z0-9_-]{0,62}$",
            r"^\p{Lu}[\p{L} '-]{0,99}$",
            "",
        ] {
            let normal = normal_form(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert_eq!(normal_form(&normal).as_ref(), Ok(&normal), "{pattern}");
        }
    }

    #[test]
    fn hostile_and_foreign_patterns_are_refused() {
        for pattern in [
            "^(a+)+$",
            "^(a*)*$",
            "^(a|a)*$",
            "^(a|ab)*$",
            "^(a?)+b",
            "^(.*a){20}$",
            "^(aa?)*$",
            "^(a{1,9}){1,9}$",
            "a*a*a*b",
            "^.*.*.*x",
            "^.*foo.*bar$",
            ".*a{0,255}b",
            r"^(a)\1",
            "^(?=a)",
            "^(?!a)",
            "(?<=a)b",
            "(?i)a",
            "(?i:a)",
            r"\bx",
            r"\Ax",
            "[[:alpha:]]",
            "[a&&b]",
            r"\p{Greek}",
            r"\p{Script=Greek}",
            "a{300}",
            "^((a{256}){256}){256}",
            r"^(\p{L}{16}){16}$",
            "a{2",
            "[z-a]",
            "(",
            "*",
            r"\q",
            "^**",
            "(^)*",
            "(|a)*",
        ] {
            assert!(normal_form(pattern).is_err(), "{pattern} became {:?}", normal_form(pattern));
        }
    }
}
