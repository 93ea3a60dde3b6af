//! Mermaid diagrams: flowcharts whose lines are a declaration, an arrow, or the begin or end of a group.

use std::collections::BTreeSet;

use starlane_testkit::documents::{self, Runner};

/// The arrows between nodes.
const ARROWS: [&str; 2] = ["<-->", "-->"];

#[test]
fn diagrams_can_be_drawn() {
    let diagrams: Vec<_> =
        documents::of(Runner::Documents).into_iter().filter(|snippet| snippet.language == "mermaid").collect();
    for diagram in &diagrams {
        if let Err(fault) = check(&diagram.code) {
            panic!("{}: {fault}", diagram.place());
        }
    }
    documents::ran(diagrams.len());
}

/// Checks the subset of the language that the documents use.
fn check(diagram: &str) -> Result<(), String> {
    let mut lines = diagram.lines().map(str::trim).filter(|line| !line.is_empty());
    if !lines.next().is_some_and(|first| first.starts_with("flowchart ")) {
        return Err("the first line is not `flowchart` with a direction".to_owned());
    }
    let (mut declared, mut used, mut depth) = (BTreeSet::new(), BTreeSet::new(), 0_u32);
    for line in lines {
        if line == "end" {
            depth = depth.checked_sub(1).ok_or("an `end` without its `subgraph`")?;
        } else if let Some(group) = line.strip_prefix("subgraph ") {
            depth += 1;
            declared.insert(node(group)?.0);
        } else {
            let label = line.split("-- \"").nth(1).and_then(|rest| rest.split("\" --").next());
            let line = label.map_or(line.to_owned(), |label| line.replace(&format!("-- \"{label}\" "), ""));
            let arrow = ARROWS.iter().find(|arrow| line.contains(*arrow));
            let arrow = arrow.ok_or_else(|| format!("`{line}` has no arrow"))?;
            for (name, has_text) in line.split(arrow).map(node).collect::<Result<Vec<_>, _>>()? {
                used.insert(name.clone());
                if has_text {
                    declared.insert(name);
                }
            }
        }
    }
    match (depth, used.difference(&declared).next()) {
        (0, None) => Ok(()),
        (0, Some(name)) => Err(format!("the node `{name}` has no text anywhere")),
        _ => Err("a `subgraph` has no `end`".to_owned()),
    }
}

/// The name of `name["Text"]` or `name`, and whether it has a text.
fn node(text: &str) -> Result<(String, bool), String> {
    let text = text.trim();
    let (name, rest) = text.split_once('[').map_or((text, None), |(name, rest)| (name, Some(rest)));
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric());
    let is_text = rest.is_none_or(|rest| rest.len() > 3 && rest.starts_with('"') && rest.ends_with("\"]"));
    if is_name && is_text { Ok((name.to_owned(), rest.is_some())) } else { Err(format!("`{text}` is not a node")) }
}

#[test]
fn a_broken_diagram_is_found() {
    assert_eq!(check("flowchart LR\n a[\"A\"] -->b[\"B\"]\n a <-- \"x: y\" --> b\n"), Ok(()));
    for broken in
        ["a --> b", "flowchart LR\n a[\"A\"] --> b", "flowchart LR\n subgraph a[\"A\"]\n", "flowchart LR\n a[A] --> a"]
    {
        assert!(check(broken).is_err(), "{broken}");
    }
}
