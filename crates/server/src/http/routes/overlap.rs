//! Whether two routes match the same request. In one space, the more literal route wins. Routes of two spaces must not match
//! the same request.

/// Whether a path exists that matches both patterns. A pattern has captures `{name}` in a part and `{*rest}` at the end.
pub(super) fn overlaps(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (parts(one), parts(other));
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some(PatternPart::Rest), theirs) => return theirs.is_some_and(|part| part.is_filled()),
            (own, Some(PatternPart::Rest)) => return own.is_some_and(|part| part.is_filled()),
            (Some(own), Some(theirs)) if own.meets(&theirs) => {}
            _ => return false,
        }
    }
}

enum PatternPart<'a> {
    Literal(&'a str),
    /// The texts before and after a capture, which is not empty.
    Capture(&'a str, &'a str),
    Rest,
}

fn parts(pattern: &str) -> impl Iterator<Item = PatternPart<'_>> {
    pattern.split('/').skip(1).map(|part| match (part.find('{'), part.rfind('}')) {
        (Some(0), Some(_)) if part.starts_with("{*") => PatternPart::Rest,
        (Some(from), Some(to)) if from < to => {
            PatternPart::Capture(part.get(..from).unwrap_or_default(), part.get(to + 1..).unwrap_or_default())
        }
        _ => PatternPart::Literal(part),
    })
}

impl PatternPart<'_> {
    /// Whether it matches at least one character, as `{*rest}` does.
    fn is_filled(&self) -> bool {
        !matches!(self, Self::Literal(""))
    }

    fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Literal(one), Self::Literal(other)) => one == other,
            (Self::Literal(text), Self::Capture(before, behind))
            | (Self::Capture(before, behind), Self::Literal(text)) => {
                text.len() > before.len() + behind.len() && text.starts_with(before) && text.ends_with(behind)
            }
            (Self::Capture(before, behind), Self::Capture(others_before, others_behind)) => {
                (before.starts_with(others_before) || others_before.starts_with(before))
                    && (behind.ends_with(others_behind) || others_behind.ends_with(behind))
            }
            (Self::Rest, _) | (_, Self::Rest) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each pattern is tried against the others with the router that servers use, on paths made of both.
    #[test]
    fn two_patterns_overlap_if_a_path_matches_both() {
        let patterns = [
            "/",
            "/a",
            "/a/",
            "/a/b",
            "/{x}",
            "/{x}/",
            "/a/{x}",
            "/{x}/b",
            "/{x}/{y}",
            "/{*rest}",
            "/a/{*rest}",
            "/a/b/{*rest}",
            "/{x}/b/{*rest}",
            "/p-{x}",
            "/p-{x}/b",
            "/{x}.js",
            "/p.js",
            "/p-1.js",
            "/a/p-{x}",
        ];
        let paths = [
            "/", "/a", "/a/", "/a/b", "/b", "/b/", "/b/b", "/a/b/c", "/x/b/c", "/a/b/c/d", "/p-1", "/p-1/b", "/p.js",
            "/p-1.js", "/p-1/", "/a/p-1", "/a/p-", "/x/y/z", "//", "/a//", "/p-/b", "/a/c",
        ];
        let fits = |pattern: &str, path: &str| {
            let mut router = matchit::Router::new();
            router.insert(pattern, ()).unwrap();
            router.at(path).is_ok()
        };
        let (mut tried, mut missed) = (0, Vec::new());
        for one in patterns {
            for other in patterns {
                tried += 1;
                assert_eq!(overlaps(one, other), overlaps(other, one), "{one} {other}");
                let both = paths.iter().find(|path| fits(one, path) && fits(other, path));
                if let Some(path) = both
                    && !overlaps(one, other)
                {
                    missed.push(format!("{one} and {other} both take {path}"));
                }
                if both.is_none() && overlaps(one, other) {
                    missed.push(format!("{one} and {other} take none of the paths together"));
                }
            }
        }
        assert!(missed.is_empty(), "{} of {tried}: {missed:#?}", missed.len());
    }
}
