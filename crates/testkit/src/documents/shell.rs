//! The words of a shell command.

use std::{iter::Peekable, str::Chars};

/// The words of a line. Leaves out comments, redirections into files, parentheses around the line and a final `&`.
pub(super) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim().chars().peekable();
    while let Some(&next) = rest.peek() {
        match next {
            '#' => break,
            '(' | ')' => drop(rest.next()),
            '>' => {
                rest.next();
                skip_spaces(&mut rest);
                word(&mut rest);
            }
            _ if next.is_whitespace() => skip_spaces(&mut rest),
            _ => words.push(word(&mut rest)),
        }
    }
    if words.last().is_some_and(|last| last == "&") {
        words.pop();
    }
    words
}

fn skip_spaces(rest: &mut Peekable<Chars<'_>>) {
    while rest.next_if(|c| c.is_whitespace()).is_some() {}
}

/// The next word, without its quotes.
fn word(rest: &mut Peekable<Chars<'_>>) -> String {
    let (mut word, mut quote) = (String::new(), None);
    while let Some(c) = rest.next_if(|c| quote.is_some() || !(c.is_whitespace() || matches!(c, '(' | ')' | '>'))) {
        match quote {
            Some(open) if c == open => quote = None,
            None if matches!(c, '\'' | '"') => quote = Some(c),
            _ => word.push(c),
        }
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_a_shell_reads_them() {
        assert_eq!(words("a --b 'c d' \"e f\"  # g"), ["a", "--b", "c d", "e f"]);
        assert_eq!(words("a #b > c.token"), ["a"]);
        assert_eq!(words("a x#y > c.token"), ["a", "x#y"]);
        assert_eq!(words("serve &"), ["serve"]);
        assert_eq!(words("(cd ../npm && npm ci)"), ["cd", "../npm", "&&", "npm", "ci"]);
        assert_eq!(words("send '{ \"sql\": \"n >= ?\" }'"), ["send", "{ \"sql\": \"n >= ?\" }"]);
    }
}
