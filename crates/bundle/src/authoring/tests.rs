use std::fs;

use super::*;
use crate::Digest;

/// The smallest bundle with every kind of file.
const FILES: &[(&str, &str)] = &[
    ("bundle.toml", "[bundle]\nname = \"demo\"\npublic = true\ninclude = [\"site/**\", \"migrations/*.sql\"]\n"),
    (
        "binds/page.toml",
        "[bind]\nname = \"page\"\n[operations.render]\nrequest = { content-type = \"application/json\", schema = \"schemas/render.json\" }\nresponse = { content-type = \"text/html\" }\n[operations.touch]\n[events.changes]\npayload = {}\n",
    ),
    ("schemas/render.json", "{}"),
    (
        "mechtrons/page.toml",
        "[mechtron]\nwasm = \"wasm/page.wasm\"\nname = \"page\"\nbind = \"binds/page.toml\"\n[limits]\nmemory = \"2 MiB\"\ncall = \"1 s\"\n[settings]\ntheme = \"light\"\nsize = 1\n",
    ),
    ("wasm/page.wasm", "\0asm\x01\0\0\0"),
    ("site/index.html", "<!doctype html>"),
    ("site/assets/a.js", "export {};"),
    ("migrations/1.sql", "create table t (x)"),
    (
        "app.toml",
        "[app]\nname = \"demo\"\n[mechtrons.\"page:{key}\"]\nconfig = \"mechtrons/page.toml\"\nplacement = \"both\"\nallow = [\"request .:db query\", \"subscribe .:page:*#changes\"]\nsettings = { size = 2 }\n[resources.db]\nkind = \"database\"\nmigrations = \"migrations/\"\n[http]\n\"GET /\" = { file = \"site/index.html\" }\n\"GET /people/{name}\" = { to = \".:page:{name}\", operation = \"render\" }\n\"GET /assets/{*path}\" = { files = \"site/assets\" }\n",
    ),
];

/// A copy of the bundle with one text replaced by another.
fn bundle(file: &str, from: &str, to: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in FILES {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let replaced = if *name == file { text.replace(from, to) } else { (*text).to_owned() };
        assert!(*name != file || replaced != *text || from == to, "the text to replace is there");
        fs::write(path, replaced).unwrap();
    }
    folder
}

fn address() -> Address {
    Address::parse("acme:repo:demo:1.0.0").unwrap()
}

#[test]
fn a_folder_becomes_a_manifest() {
    let folder = bundle("", "", "");
    let draft = Draft::read(folder.path()).unwrap();
    let manifest = draft.contents(&address(), SecretKey::from_seed([1; 32]).public(), 1_700_000_000);
    let files: Vec<_> = manifest.files.keys().map(String::as_str).collect();
    assert_eq!(
        files,
        ["/migrations/1.sql", "/schemas/render.json", "/site/assets/a.js", "/site/index.html", "/wasm/page.wasm"]
    );
    assert_eq!(manifest.files.get("/wasm/page.wasm").unwrap().media_type, "application/wasm");
    let config = manifest.mechtrons.get("/mechtrons/page.toml").unwrap();
    assert_eq!((config.limits.memory, config.limits.call_ms, config.limits.mailbox), (2 << 20, 1000, 1024));
    let app = manifest.app.as_ref().unwrap();
    let settings = app.mechtrons.get("page:{key}").unwrap().settings_over(&config.settings);
    assert_eq!(settings, serde_json::json!({ "theme": "light", "size": 2 }));
    assert!(manifest.binds.get("/binds/page.toml").unwrap().operations.get("touch").unwrap().is_one_way());
}

#[test]
fn a_signed_draft_verifies() {
    let folder = bundle("", "", "");
    let key = SecretKey::from_seed([1; 32]);
    let draft = Draft::read(folder.path()).unwrap();
    let signed = draft.sign(&address(), &key, 1_700_000_000);
    let manifest = Manifest::verify(&signed, &address(), &signed.digest(), &[key.public()], 1_800_000_000).unwrap();
    assert_eq!(*manifest, draft.contents(&address(), key.public(), 1_700_000_000));
    for (name, entry, path) in draft.files() {
        assert_eq!(manifest.files.get(name), Some(entry));
        assert_eq!(Digest::of(&fs::read(path).unwrap()), entry.sha256, "{name}");
    }
}

mod builtin;
mod faults;
mod mutations;
mod schemas;
mod words;

#[cfg(unix)]
#[test]
fn links_are_not_followed_out_of_the_folder() {
    use std::os::unix::fs::symlink;
    let outside = bundle("", "", "");
    let told = |folder: &tempfile::TempDir| Draft::read(folder.path()).unwrap_err().to_string();

    let folder = bundle("", "", "");
    symlink("/etc/hostname", folder.path().join("site/link")).unwrap();
    assert!(told(&folder).contains("bundle.toml:4:12: the file site/link is a symbolic link, or inside one. Hint: "));

    for below in ["wasm", "schemas", "binds", "mechtrons", "mechtrons/page.toml"] {
        let folder = bundle("", "", "");
        let path = folder.path().join(below);
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap()
        } else {
            fs::remove_file(&path).unwrap()
        }
        symlink(outside.path().join(below), &path).unwrap();
        assert!(told(&folder).contains("is a symbolic link, or inside one"), "{below}");
    }

    // The bundle's folder itself may be a symbolic link.
    let elsewhere = tempfile::tempdir().unwrap();
    let linked = elsewhere.path().join("bundle");
    symlink(outside.path(), &linked).unwrap();
    assert!(Draft::read(&linked).is_ok());
}

#[test]
fn include_takes_files_folders_and_globs_and_hidden_files_only_by_name() {
    for (include, expected) in [
        ("site", "/site/assets/a.js /site/index.html"),
        ("site/", "/site/assets/a.js /site/index.html"),
        ("./site/*", "/site/index.html"),
        ("site/**", "/site/assets/a.js /site/index.html"),
        ("site/index.html", "/site/index.html"),
        ("**/*.{js,html}", "/site/assets/a.js /site/index.html"),
        ("none/**", ""),
        ("site/.secret", "/site/.secret"),
        ("site/.tool", "/site/.tool/shown"),
        ("./site/.tool/*", "/site/.tool/shown"),
        ("**", "/site/assets/a.js /site/index.html"),
        ("site/.*", "/site/.secret"),
    ] {
        let folder = bundle("bundle.toml", "site/**", include);
        fs::create_dir(folder.path().join("site/.tool")).unwrap();
        for hidden in ["site/.secret", "site/.tool/shown", "site/.tool/.token"] {
            fs::write(folder.path().join(hidden), "").unwrap();
        }
        fs::remove_file(folder.path().join("app.toml")).unwrap();
        let draft = Draft::read(folder.path()).unwrap();
        let site: Vec<_> = draft.files().map(|(name, ..)| name).filter(|name| name.starts_with("/site")).collect();
        assert_eq!(site.join(" "), expected, "{include}");
    }
}

#[test]
fn the_build_command_is_read_before_anything_is_built() {
    let built = "public = true\nbuild = 1";
    assert!(Build::read(bundle("bundle.toml", "public = true", built).path()).is_err());
    // A file of the bundle must not be a link to a file elsewhere on the machine.
    for name in ["wasm/page.wasm", "./wasm/page.wasm", "/wasm/page.wasm", ".//wasm/page.wasm"] {
        let output = format!("output = {{ \"{name}\" = \"target/page.wasm\" }}");
        let folder = bundle("bundle.toml", "[bundle]", &format!("[build]\ncommand = \"make\"\n{output}\n[bundle]"));
        fs::remove_dir_all(folder.path().join("wasm")).unwrap();
        let build = Build::read(folder.path()).unwrap().unwrap();
        assert_eq!((build.command.as_str(), build.output["wasm/page.wasm"].as_str()), ("make", "target/page.wasm"));
    }
    assert_eq!(Build::read(bundle("", "", "").path()).unwrap(), None);
}

#[test]
fn dates_in_settings_are_text_and_routes_keep_their_order() {
    let folder = bundle("mechtrons/page.toml", "size = 1", "since = 2026-01-02\nratio = 0.5\nlist = [1, \"a\"]");
    let draft = Draft::read(folder.path()).unwrap();
    let manifest = draft.contents(&address(), SecretKey::from_seed([1; 32]).public(), 0);
    let settings = &manifest.mechtrons.get("/mechtrons/page.toml").unwrap().settings;
    let expected = serde_json::json!({ "theme": "light", "since": "2026-01-02", "ratio": 0.5, "list": [1, "a"] });
    assert_eq!(*settings, expected);
    let paths: Vec<_> = manifest.app.unwrap().http.into_iter().map(|route| route.path).collect();
    assert_eq!(paths, ["/", "/people/{name}", "/assets/{*path}"]);
}
