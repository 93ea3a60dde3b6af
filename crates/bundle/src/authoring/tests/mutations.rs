//! Every host refuses everything that is refused when it is written in TOML. The test changes each string, number and
//! key of manifests, and makes the same change in the folder if TOML can express it.

use serde_json::{Map, Value};
use starlane_testkit::{
    figure::{Sizes, figure},
    mutate::mutations,
};

use super::*;

/// One of so many mutations is tried.
const STEP: Sizes = Sizes { ci: 5, full: 1 };

/// The TOML files that are written again for each manifest, by path.
type Written = BTreeMap<String, String>;

/// A bundle with every key of a manifest.
fn everything() -> tempfile::TempDir {
    let folder = bundle("", "", "");
    let app = "[app]\nname = \"demo\"\n\
        [mechtrons.\"page:{key}\"]\nconfig = \"mechtrons/page.toml\"\nplacement = \"both\"\noverride = true\n\
        allow = [\"request .:db query\", \"subscribe .:page:*#changes\", \"request bob:shop:cart put\", \"notify ~*::.:page:* touch\"]\n\
        settings = { size = 2, deep = { list = [1, \"a\"] } }\n\
        [mechtrons.front]\nconfig = \"mechtrons/page.toml\"\n\
        [mechtrons.view]\nconfig = \"mechtrons/page.toml\"\nplacement = \"browser\"\n\
        [resources.db]\nkind = \"database\"\nmigrations = \"migrations/\"\n\
        [resources.drafts]\nkind = \"keyvalue\"\nplacement = \"server\"\n\
        [resources.pictures]\nkind = \"filesystem\"\n\
        [resources.pricing]\nkind = \"service\"\nurl = \"http://127.0.0.1:9000/messages\"\n\
        [http]\n\
        \"GET /\" = { file = \"site/index.html\" }\n\
        \"GET /assets/{*path}\" = { files = \"site/assets/\" }\n\
        \"GET /people/{name}\" = { to = \".:page:{name}\", operation = \"render\" }\n\
        \"POST /people/{name}\" = { to = \".:page:{name}\", operation = \"touch\", access = \"token\" }\n\
        \"PUT /front\" = { to = \".:front\", operation = \"render\", access = \"public\" }\n\
        \"GET /q\" = { to = \".:db\", operation = \"query\" }\n";
    fs::write(folder.path().join("app.toml"), app).unwrap();
    let bind = fs::read_to_string(folder.path().join("binds/page.toml")).unwrap();
    let streams = "[operations.upload]\nrequest = { content-type = \"application/octet-stream\", stream = true }\n\
        response = { content-type = \"application/x-ndjson\", stream = true, schema = \"schemas/render.json\" }\n";
    fs::write(folder.path().join("binds/page.toml"), bind + streams).unwrap();
    let limits = "restart = { intensity = 2, within = \"5 s\" }\nconcurrency = 2\nmailbox = 8\n[settings]\n";
    let page = fs::read_to_string(folder.path().join("mechtrons/page.toml")).unwrap();
    fs::write(folder.path().join("mechtrons/page.toml"), page.replace("[settings]\n", limits)).unwrap();
    folder
}

/// The demo's bundle, with placeholders for built files.
fn demo() -> tempfile::TempDir {
    let (folder, source) =
        (tempfile::tempdir().unwrap(), Path::new(env!("CARGO_MANIFEST_DIR")).join("../../www/bundle"));
    for name in ["", "binds", "mechtrons", "schemas", "migrations", "templates"] {
        fs::create_dir_all(folder.path().join(name)).unwrap();
        for file in
            fs::read_dir(source.join(name)).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file())
        {
            fs::copy(&file, folder.path().join(name).join(file.file_name().unwrap())).unwrap();
        }
    }
    for name in [
        "site/index.html",
        "site/sw.js",
        "site/assets/a.js",
        "site/samples/a.md",
        "wasm/profile.wasm",
        "wasm/directory.wasm",
    ] {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "\0asm\x01\0\0\0").unwrap();
    }
    folder
}

/// Returns the TOML files that make a manifest, if TOML can express it. The entries of files come from the files
/// themselves.
fn toml_of(manifest: &Value, include: &Value) -> Option<Written> {
    let mut files = Written::new();
    let mut put = |path: String, value: Value| {
        files.insert(path, toml::to_string(&toml::Value::try_from(value).ok()?).ok()?);
        Some(())
    };
    let mut about = Map::from_iter([("include".to_owned(), include.clone())]);
    for name in ["name", "description", "licence", "public"] {
        about.insert(name.to_owned(), manifest.get(name)?.clone());
    }
    put("bundle.toml".to_owned(), serde_json::json!({ "bundle": about }))?;
    let object = |name: &str| manifest.get(name).and_then(Value::as_object);
    let file = |folder: &str, path: &str| {
        let name = path.strip_prefix('/')?.strip_prefix(folder)?.strip_prefix('/')?;
        let plain = !name.contains(['/', '\0']) && name.ends_with(".toml") && name.len() < 200;
        plain.then(|| format!("{folder}/{name}"))
    };
    for (path, bind) in object("binds")? {
        let mut written = bind.as_object()?.clone();
        let mut about = Map::new();
        for name in ["name", "description"] {
            about.extend(written.remove_entry(name));
        }
        // Other values stay, so that they are refused.
        written.insert("bind".to_owned(), about.into());
        if let Some(Value::Object(events)) = written.get_mut("events") {
            events.values_mut().for_each(|event| *event = serde_json::json!({ "payload": event.take() }));
        }
        relative(&mut written, &["schema"]);
        put(file("binds", path)?, written.into())?;
    }
    for (path, config) in object("mechtrons")? {
        let mut about = config.as_object()?.clone();
        let mut written = Map::new();
        written.extend(about.remove_entry("settings").filter(|(_, settings)| !settings.is_null()));
        if let Some((name, mut limits)) = about.remove_entry("limits") {
            let table = limits.as_object_mut()?;
            with_unit(table, "memory", "memory", "B");
            with_unit(table, "call-ms", "call", "ms");
            if let Some(Value::Object(restart)) = table.get_mut("restart") {
                with_unit(restart, "within-ms", "within", "ms");
            }
            written.insert(name, limits);
        }
        relative(&mut about, &["wasm", "bind"]);
        written.insert("mechtron".to_owned(), about.into());
        put(file("mechtrons", path)?, written.into())?;
    }
    if let Some(app) = manifest.get("app") {
        let mut written = app.as_object()?.clone();
        let mut http = Map::new();
        for route in written.remove("http").unwrap_or_default().as_array().map(Vec::as_slice).unwrap_or_default() {
            let mut route = route.as_object()?.clone();
            let (method, path) = (route.remove("method")?, route.remove("path")?);
            let key = format!("{} {}", method.as_str()?, path.as_str()?);
            // TOML allows each key once; a list can have two equal names.
            http.insert(key, route.into()).map_or(Some(()), |_| None)?;
        }
        written.insert("http".to_owned(), http.into());
        let name = Value::from_iter(written.remove_entry("name"));
        written.insert("app".to_owned(), name);
        relative(&mut written, &["config", "migrations", "file", "files"]);
        put("app.toml".to_owned(), written.into())?;
    }
    Some(files)
}

/// Adds the unit to a number, as authors write it.
fn with_unit(table: &mut Map<String, Value>, from: &str, to: &str, unit: &str) {
    let Some(value) = table.remove(from) else { return };
    let value = if value.is_number() { Value::from(format!("{value} {unit}")) } else { value };
    table.insert(to.to_owned(), value);
}

/// Makes paths relative, as authors write them.
fn relative(table: &mut Map<String, Value>, names: &[&str]) {
    for (name, value) in table.iter_mut().filter(|(name, _)| *name != "settings") {
        match value {
            Value::String(text) if names.contains(&name.as_str()) => {
                *text = text.strip_prefix('/').unwrap_or(text).to_owned();
            }
            Value::Object(table) => relative(table, names),
            _ => {}
        }
    }
}

/// Returns the number of changes, the number of changes that were also made in a folder, and the changes that are
/// refused only in a folder.
fn differences(folder: &tempfile::TempDir, step: usize) -> (usize, usize, Vec<String>) {
    // The generated files do not belong to the bundle.
    let about = fs::read_to_string(folder.path().join("bundle.toml")).unwrap();
    let about =
        about.replace("\"app.toml\",", "").replace("\"binds/*.toml\",", "").replace("\"mechtrons/*.toml\",", "");
    fs::write(folder.path().join("bundle.toml"), about).unwrap();
    let key = SecretKey::from_seed([1; 32]);
    let draft = Draft::read(folder.path()).unwrap();
    let mut manifest = serde_json::to_value(draft.contents(&address(), key.public(), 1_700_000_000)).unwrap();
    // Converts them into a TOML table.
    let key_of = |route: &Value| format!("{} {}", route["method"].as_str().unwrap(), route["path"].as_str().unwrap());
    manifest["app"]["http"].as_array_mut().unwrap().sort_by_key(key_of);
    let include: Value = draft.files().map(|(name, ..)| &name[1..]).collect::<Vec<_>>().into();
    let before = toml_of(&manifest, &include).unwrap();
    for (file, text) in &before {
        fs::write(folder.path().join(file), text).unwrap();
    }
    let same = Draft::read(folder.path()).unwrap().contents(&address(), key.public(), 1_700_000_000);
    assert_eq!(serde_json::to_value(&same).unwrap(), manifest, "the folder says what the manifest says");
    let (mut tried, mut written, mut differ) = (0, 0, Vec::new());
    for mutation in mutations(&manifest).into_iter().step_by(step) {
        tried += 1;
        let bytes = mutation.text.into_bytes();
        let opened = SignedManifest { signature: key.sign(&bytes), bytes }.open();
        // A repository accepts it only with valid settings.
        let opened = opened.and_then(|manifest| crate::settings::check_all(&manifest));
        // The TOML is unchanged if the manifest's change is about files.
        let Some(files) = toml_of(&mutation.document, &include).filter(|files| *files != before) else { continue };
        written += 1;
        for file in before.keys().filter(|file| !files.contains_key(*file)) {
            fs::remove_file(folder.path().join(file)).unwrap();
        }
        let changed: Vec<_> = files.iter().filter(|(file, text)| before.get(*file) != Some(text)).collect();
        for (file, text) in &changed {
            fs::write(folder.path().join(file), text).unwrap();
        }
        let read = Draft::read(folder.path());
        for (file, _) in changed {
            fs::remove_file(folder.path().join(file)).unwrap();
        }
        for (file, text) in &before {
            fs::write(folder.path().join(file), text).unwrap();
        }
        // A host decides whether a file is a module only when it has the bytes.
        let refused = read.err().filter(|error| !error.message.contains("expected a core module"));
        if let (Some(error), Ok(_)) = (refused, opened) {
            differ.push(format!("{} {}: {error}", mutation.pointer, mutation.what));
        }
    }
    (tried, written, differ)
}

#[test]
fn hosts_refuse_everything_that_authors_are_refused() {
    let (mut tried, mut written, mut differ) = (0, 0, Vec::new());
    let step = STEP.of_this_run();
    for (folder, step) in [(bundle("", "", ""), step), (everything(), step.min(2)), (demo(), step)] {
        let (all, as_folder, found) = differences(&folder, step);
        (tried, written) = (tried + all, written + as_folder);
        differ.extend(found);
    }
    figure("manifest.mutations", tried as f64, "manifests");
    figure("manifest.differences", differ.len() as f64, "manifests");
    assert!(written * 2 > tried, "only {written} of {tried} were written as a folder");
    println!("{differ:#?}");
    starlane_testkit::attack("A1", tried, differ.len());
}
