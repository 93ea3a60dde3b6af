use std::collections::BTreeSet;

use clap::{CommandFactory, ValueEnum};
use starlane_bundle::authoring::FileKind;
use starlane_testkit::documents::{self, Runner};

use super::*;

#[test]
fn the_argument_definitions_are_consistent() {
    Arguments::command().debug_assert();
}

#[test]
fn the_readme_lists_all_commands() {
    let readme = include_str!("../../README.md");
    let list = readme.split("## Commands").nth(1).and_then(|rest| rest.split("```").nth(1)).unwrap();
    let mut listed: Vec<&str> =
        list.lines().filter_map(|line| line.strip_prefix("starlane ")?.split_whitespace().next()).collect();
    listed.sort_unstable();
    let command = Arguments::command();
    let mut known: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    known.sort_unstable();
    assert_eq!(listed, known);
    for parent in command.get_subcommands().filter(|command| command.has_subcommands()) {
        let known: BTreeSet<&str> = parent.get_subcommands().map(clap::Command::get_name).collect();
        let lines = list.lines().filter_map(|line| line.strip_prefix(&format!("starlane {} ", parent.get_name())));
        let alternatives = lines.flat_map(|line| line.split('|')).filter_map(|text| text.split_whitespace().next());
        let listed: BTreeSet<&str> = alternatives.map(|word| word.trim_end_matches(',')).collect();
        assert_eq!(listed, known, "{}", parent.get_name());
    }
}

#[test]
fn commands_in_the_documents_are_valid() {
    let commands = documents::of(Runner::CommandLine);
    for command in &commands {
        let words = command.words();
        // `cargo run --package starlane-cli -- send …` is `starlane send …`.
        let own = words.iter().position(|word| word == "--").map_or(1, |at| at + 1);
        let words = ["starlane".to_owned()].into_iter().chain(words.into_iter().skip(own));
        if let Err(error) = Arguments::try_parse_from(words) {
            panic!("{}: `{}`: {error}", command.place(), command.code);
        }
    }
    documents::ran(commands.len());
}

#[test]
fn every_kind_of_file_has_a_schema_to_print() {
    let kinds: Vec<&str> = SchemaKind::value_variants().iter().map(|kind| FileKind::from(*kind).name()).collect();
    assert_eq!(kinds, FileKind::ALL.map(FileKind::name));
    for kind in kinds {
        assert!(Arguments::try_parse_from(["starlane", "schema", kind]).is_ok(), "{kind}");
    }
}

#[test]
fn the_systemd_unit_starts_a_server() {
    let unit = include_str!("../../starlane.service");
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let arguments = Arguments::try_parse_from(line.split_whitespace()).unwrap();
    assert!(matches!(arguments.command, Command::Serve(_)));
}

#[test]
fn errors_of_arguments_say_what_is_expected() {
    let wrong = |words: &[&str]| Arguments::try_parse_from(words).err().map(|error| error.to_string());
    let told = wrong(&["starlane", "serve", "--listen", "localhost"]).unwrap();
    assert!(told.contains("127.0.0.1:7711"), "{told}");
    let told = wrong(&["starlane", "send", "acme:a:b", "go", "--json", "{name: ada}"]).unwrap();
    assert!(told.contains("single quotes"), "{told}");
    let told = wrong(&["starlane", "app", "create", "Acme", "--bundle", "acme:b:1.0.0"]).unwrap();
    assert!(told.contains("byte 0"), "{told}");
    assert!(wrong(&["starlane", "send", "acme:a:b", "go", "--json", "[1]"]).is_none());
    for words in [
        &["publish", "notes", "acme:repo:notes"][..],
        &["publish", "notes", "acme:repo:notes:1.0.0:/a"],
        &["bundle", "show", "acme:repo:notes"],
        &["app", "create", "acme:notes", "--bundle", "acme:repo:notes"],
    ] {
        let told = wrong(&[&["starlane"], words].concat()).unwrap();
        assert!(told.contains("ends with a version"), "{told}");
    }
    for (time, expected) in [("0s", "1s or longer"), ("soon", "90d")] {
        let told = wrong(&["starlane", "publish", "notes", "acme:b:1.0.0", "--expires", time]).unwrap();
        assert!(told.contains(expected), "{told}");
    }
    assert!(wrong(&["starlane", "publish", "notes", "acme:b:1.0.0", "--expires", "90d"]).is_none());
}
