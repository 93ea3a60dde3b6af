//! Every kind of fault with the exact lines of its error. `faults/*.txt` has a file for each kind of TOML file.
//!
//! ```text
//! # the kind of fault
//!
//! in app.toml                       the change of the bundle, here in a file; other changes:
//! - "both"                            file PATH = TEXT, link PATH -> TARGET, without PATH, at FOLDER
//! + "moon"
//! app.toml:5:13: unknown value …    the error
//! Hint: use one of these values
//! ```
//!
//! After a change of error texts, `BLESS=1 cargo test -p starlane-bundle faults` writes the errors to the files. Read
//! the `git diff`.

use std::collections::BTreeSet;

use serde_json::json;

use super::{words::untold, *};

const SNAPSHOTS: [&str; 4] = ["bundle", "bind", "mechtron", "app"];

/// Returns the error for a bundle with the changes in the lines.
fn told(block: &[&str]) -> String {
    let folder = bundle("", "", "");
    let path = |name: &str| folder.path().join(name);
    let mut at = folder.path().to_owned();
    let mut lines = block.iter().copied().peekable();
    while let Some(line) = lines.next() {
        let (what, rest) = line.split_once(' ').unwrap();
        match what {
            "in" => {
                let mut taken = |sign: &str| {
                    let mut text = Vec::new();
                    while let Some(line) = lines.peek().and_then(|line| line.strip_prefix(sign)) {
                        text.push(line);
                        lines.next();
                    }
                    text.join("\n")
                };
                let (mut from, to) = (taken("- "), taken("+ "));
                from.push_str(if to.is_empty() { "\n" } else { "" });
                let old = fs::read(path(rest)).unwrap();
                let old: String = old.into_iter().map(char::from).collect();
                let new = old.replace(&unescaped(&from), &unescaped(&to));
                assert!(old != new, "{rest} has `{from}`");
                fs::write(path(rest), bytes(&new)).unwrap();
            }
            "file" => {
                let (name, text) = rest.split_once(" = ").unwrap();
                fs::create_dir_all(path(name).parent().unwrap()).unwrap();
                fs::write(path(name), bytes(&unescaped(text))).unwrap();
            }
            "link" => {
                let (name, target) = rest.split_once(" -> ").unwrap();
                #[cfg(unix)]
                std::os::unix::fs::symlink(target, path(name)).unwrap();
            }
            "without" if path(rest).is_dir() => fs::remove_dir_all(path(rest)).unwrap(),
            "without" => fs::remove_file(path(rest)).unwrap(),
            "at" => at = path(rest),
            _ => panic!("`{line}` is not a known change of a bundle"),
        }
    }
    let refuses = |wasm: &[u8], _: u64| match wasm.ends_with(b"start") {
        true => Err("it has a start section; export `_initialize` instead".to_owned()),
        false => Ok(()),
    };
    let Err(error) = Draft::read_with(&at, &others(), &refuses) else {
        panic!("this is not a fault:\n{}", block.join("\n"))
    };
    lines_of(&error, folder.path())
}

/// A bundle of another author: `bob:repo:widgets:1.2.0`.
fn others() -> Others {
    let folder = bundle("", "", "");
    let (key, address) = (SecretKey::from_seed([2; 32]), Address::parse("bob:repo:widgets:1.2.0").unwrap());
    let signed = Draft::read(folder.path()).unwrap().sign(&address, &key, 0);
    let mut others = Others::default();
    others.add(signed.digest(), signed.open().unwrap());
    others
}

/// The bytes of characters up to U+00FF, because a file can contain any bytes.
fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}

/// `\x00` is a byte.
fn unescaped(text: &str) -> String {
    let mut pieces = text.split("\\x");
    let mut whole = pieces.next().unwrap().to_owned();
    for piece in pieces {
        whole.push(char::from(u8::from_str_radix(&piece[..2], 16).unwrap()));
        whole.push_str(&piece[2..]);
    }
    whole
}

/// An error in two lines, with the file's name as it is in the bundle.
fn lines_of(error: &AuthoringError, folder: &Path) -> String {
    assert!(!error.hint.is_empty() && (error.line > 0) == (error.column > 0), "{error}");
    error.to_string().replace(&format!("{}/", folder.display()), "").replacen(". Hint: ", "\nHint: ", 1)
}

/// A fault that needs more than a folder.
struct Made {
    kind: &'static str,
    make: fn() -> String,
    told: &'static str,
}

const MADE: [Made; 7] = [
    Made {
        kind: "a bind that the program does not have",
        make: || lines_of(&built_in("binds/none.toml", |_| None).unwrap_err(), Path::new("/")),
        told: "binds/none.toml: there is no such file\nHint: add the file to the build of the program",
    },
    Made {
        kind: "a bind in another folder",
        make: || {
            let folder = bundle("", "", "");
            lines_of(&read_bind(&folder.path().join("app.toml")).unwrap_err(), folder.path())
        },
        told: "app.toml: the file is not in a folder `binds`\nHint: give the path of a bind, such as binds/profile.toml in a bundle's folder",
    },
    Made { kind: "a file that can't be read", make: unreadable, told: UNREADABLE },
    Made {
        kind: "more files than the limit",
        make: || {
            of_bounds(|draft, entry| {
                (0..=MAX_FILES).for_each(|at| drop(draft.files.insert(format!("/{at}"), entry.clone())));
            })
        },
        told: "bundle.toml:1:1: the bundle has 20006 files; the maximum is 20000\nHint: include fewer files: narrow `include` in bundle.toml",
    },
    Made {
        kind: "more bytes than the limit",
        make: || {
            of_bounds(|draft, entry| {
                let entry = (FileEntry { size: MAX_BUNDLE_BYTES, ..entry.0.clone() }, entry.1.clone());
                draft.files.insert("/large".to_owned(), entry);
            })
        },
        told: "bundle.toml:1:1: the bundle has 1073741877 bytes; the maximum is 1073741824\nHint: include fewer files: narrow `include` in bundle.toml",
    },
    Made {
        kind: "a manifest longer than the limit",
        make: || of_bounds(|draft, _| draft.description = "x".repeat(MAX_MANIFEST)),
        told: "bundle.toml:1:1: the manifest is too long; the maximum is 4194304 bytes\nHint: include fewer files: narrow `include` in bundle.toml",
    },
    Made {
        kind: "a file longer than the limit",
        make: || {
            let folder = bundle("", "", "");
            // It has no bytes on the disk.
            fs::File::create(folder.path().join("site/large")).unwrap().set_len(MAX_FILE_BYTES + 1).unwrap();
            lines_of(&Draft::read(folder.path()).unwrap_err(), folder.path())
        },
        told: "bundle.toml:4:12: /site/large is 67108865 bytes; the maximum for one file is 67108864 bytes\nHint: split it into several files, or leave it out",
    },
];

const UNREADABLE: &str =
    "bundle.toml:1:1: /mem can't be read: Input/output error (os error 5)\nHint: check the permissions of the file";

/// Root can read every file, but nobody can read the first page of memory.
fn unreadable() -> String {
    if cfg!(not(target_os = "linux")) {
        return UNREADABLE.to_owned();
    }
    let folder = bundle("", "", "");
    let mut draft = Draft::read(folder.path()).unwrap();
    let source = Source::read(&Folder::open(folder.path()).unwrap(), "bundle.toml").unwrap();
    let process = Folder::open(Path::new("/proc/self")).unwrap();
    lines_of(&draft.add(&source, 0..0, &process, "mem").unwrap_err(), folder.path())
}

/// Returns the error for a bundle with files that do not exist on the disk.
fn of_bounds(add: fn(&mut Draft, &(FileEntry, PathBuf))) -> String {
    let folder = bundle("", "", "");
    let mut draft = Draft::read(folder.path()).unwrap();
    let entry = draft.files.get("/site/index.html").unwrap().clone();
    add(&mut draft, &entry);
    let source = Source::read(&Folder::open(folder.path()).unwrap(), "bundle.toml").unwrap();
    lines_of(&draft.check_bounds(&source).unwrap_err(), folder.path())
}

#[test]
fn faults_are_reported_with_file_line_column_expectation_and_hint() {
    let (mut kinds, mut wrong, mut all) = (BTreeSet::new(), Vec::new(), String::new());
    for name in SNAPSHOTS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/authoring/tests/faults/{name}.txt"));
        let text = fs::read_to_string(&path).unwrap();
        let (mut blessed, mut kind) = (Vec::new(), None);
        for block in text.trim_end().split("\n\n") {
            if let Some(heading) = block.strip_prefix("# ") {
                kind = Some(heading.to_owned());
                blessed.push(block.to_owned());
                continue;
            }
            // A heading without a block is ignored.
            kinds.extend(kind.take());
            let lines: Vec<&str> = block.lines().collect();
            let (done, expected) = lines.split_at(lines.len() - 2);
            let told = told(done);
            if told != expected.join("\n") {
                wrong.push(format!("{}\ntold:\n{told}\nexpected:\n{}\n", done.join("\n"), expected.join("\n")));
            }
            blessed.push(format!("{}\n{told}", done.join("\n")));
            all.push_str(&told);
            all.push('\n');
        }
        if std::env::var_os("BLESS").is_some() {
            fs::write(&path, blessed.join("\n\n") + "\n").unwrap();
        }
    }
    for Made { kind, make, told } in MADE {
        kinds.insert(kind.to_owned());
        assert_eq!(make(), told, "{kind}");
        all.push_str(told);
        all.push('\n');
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(untold(&all), Vec::<String>::new(), "no test covers these error texts");
    let test = std::thread::current();
    let count = json!({ "name": "authoring.error-kinds", "value": kinds.len(), "unit": "kinds", "test": test.name() });
    println!("figure {count}");
}
