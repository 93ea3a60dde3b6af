//! Every kind of fault, and the exact line that tells it.

use super::*;

/// A file, what is replaced in it by what, and the report behind the folder's name.
const FAULTS: &[(&str, &str, &str, &str)] = &[
    (
        "bundle.toml",
        "public = true",
        "pubic = true",
        "bundle.toml:3:1: unknown key `pubic`; expected one of `name`, `description`, `licence`, `public`, `include`. Hint: did you mean `public`?",
    ),
    (
        "bundle.toml",
        "name = \"demo\"",
        "name = demo",
        "bundle.toml:2:8: string values must be quoted; expected literal string. Hint: the files are TOML, see https://toml.io; text stands in quotes",
    ),
    ("bundle.toml", "name = \"demo\"\n", "", "bundle.toml:1:1: missing key `name`. Hint: add it: name = …"),
    (
        "bundle.toml",
        "public = true",
        "public = \"yes\"",
        "bundle.toml:3:10: invalid type: string \"yes\"; expected a boolean. Hint: true or false, without quotes",
    ),
    (
        "bundle.toml",
        "public = true",
        "public = true\npublic = false",
        "bundle.toml:4:1: duplicate key. Hint: it stands in this table twice: remove one",
    ),
    (
        "bundle.toml",
        "\"site/**\"",
        "\"site/none.html\"",
        "bundle.toml:4:12: the file site/none.html is missing. Hint: paths are relative to the folder of bundle.toml",
    ),
    (
        "bundle.toml",
        "\"site/**\"",
        "\"../site/**\"",
        "bundle.toml:4:12: the file ../site/** is outside of the bundle's folder. Hint: name a path below it, without `..`",
    ),
    (
        "bundle.toml",
        "\"site/**\"",
        "\"site/[\"",
        "bundle.toml:4:12: `site/[` is no glob: unclosed character class; missing ']'; expected a file, a folder or a glob. Hint: such as \"site/**\" or \"*.html\"",
    ),
    (
        "bundle.toml",
        "[bundle]",
        "[build]\ncommand = \"\"\n[bundle]",
        "bundle.toml:2:11: the command is empty; expected what makes the files of `output`. Hint: without anything to build, remove `[build]`",
    ),
    (
        "bundle.toml",
        "[bundle]",
        "[build]\ncommand = \"make\"\noutput = { \"../x\" = \"y\" }\n[bundle]",
        "bundle.toml:3:12: /../x is no path of a bundle: at byte 1; expected a name other than `.` and `..` in a path. Hint: left stands the file of the bundle, such as \"wasm/profile.wasm\", right what the command makes",
    ),
    (
        "binds/page.toml",
        "[bind]\n",
        "",
        "binds/page.toml:1:1: unknown key `name`; expected one of `bind`, `operations`, `events`. Hint: remove it, or move it into the table that it belongs to",
    ),
    (
        "binds/page.toml",
        "operations.render",
        "operations.Render",
        "binds/page.toml:3:13: `Render` can't be part of an address; expected a-z, 0-9, - or _ in a segment (use `key` for any other text). Hint: a name such as `render`",
    ),
    (
        "binds/page.toml",
        "[operations.touch]",
        "[operation.touch]",
        "binds/page.toml:6:2: unknown key `operation`; expected one of `bind`, `operations`, `events`. Hint: did you mean `operations`?",
    ),
    (
        "binds/page.toml",
        "events.changes",
        "events.\"a b\"",
        "binds/page.toml:7:9: `a b` can't be part of an address; expected a-z, 0-9, - or _ in a segment (use `key` for any other text). Hint: a name such as `render`",
    ),
    (
        "binds/page.toml",
        "text/html",
        "html",
        "binds/page.toml:5:29: `html` is no content type; expected a type and a subtype. Hint: such as \"application/json\"; without `content-type` anything goes",
    ),
    (
        "binds/page.toml",
        "content-type = \"application/json\", schema",
        "content-type = \"text/html\", schema",
        "binds/page.toml:4:50: a schema for `text/html`; expected a JSON content type beside it. Hint: add content-type = \"application/json\", or remove the schema",
    ),
    (
        "binds/page.toml",
        "schemas/render.json",
        "schemas/x.json",
        "binds/page.toml:4:57: the schema schemas/x.json is missing. Hint: paths are relative to the folder of bundle.toml",
    ),
    (
        "binds/page.toml",
        "schemas/render.json",
        "../x.json",
        "binds/page.toml:4:57: the schema ../x.json is outside of the bundle's folder. Hint: name a path below it, without `..`",
    ),
    (
        "schemas/render.json",
        "{}",
        "{",
        "binds/page.toml:4:57: the schema schemas/render.json is no JSON Schema: EOF while parsing an object at line 1 column 1. Hint: a schema is a JSON Schema 2020-12 in a JSON file",
    ),
    (
        "schemas/render.json",
        "{}",
        "[]",
        "binds/page.toml:4:57: the schema schemas/render.json is no JSON Schema: expected an object. Hint: a schema is a JSON Schema 2020-12, such as { \"type\": \"object\" }",
    ),
    (
        "mechtrons/page.toml",
        "wasm/page.wasm",
        "wasm/other.wasm",
        "mechtrons/page.toml:2:8: the module wasm/other.wasm is missing. Hint: build it first: the `[build]` command of bundle.toml makes it",
    ),
    (
        "wasm/page.wasm",
        "\0asm\x01",
        "\0asm\r",
        "mechtrons/page.toml:2:8: wasm/page.wasm is no WebAssembly module; expected a core module. Hint: build it with --target wasm32-unknown-unknown",
    ),
    (
        "wasm/page.wasm",
        "\0asm\x01\0\0\0",
        "\0asm\r\0\x01\0",
        "mechtrons/page.toml:2:8: wasm/page.wasm is a component; expected a core module. Hint: build it with --target wasm32-unknown-unknown",
    ),
    (
        "mechtrons/page.toml",
        "binds/page.toml",
        "binds/x.toml",
        "mechtrons/page.toml:4:8: there is no bind binds/x.toml; expected a file binds/NAME.toml. Hint: every bind is a TOML file in binds/ beside bundle.toml",
    ),
    (
        "mechtrons/page.toml",
        "binds/page.toml",
        "acme:repo:contracts:1.0.0:/binds/page.toml",
        "mechtrons/page.toml:4:8: acme:repo:contracts:1.0.0:/binds/page.toml is a bind of another bundle; expected one of this bundle. Hint: copy it into binds/ and name it there",
    ),
    (
        "mechtrons/page.toml",
        "2 MiB",
        "2 cows",
        "mechtrons/page.toml:6:10: `2 cows` is no size; expected a number and a unit. Hint: such as \"16 MiB\"",
    ),
    (
        "mechtrons/page.toml",
        "2 MiB",
        "8 GiB",
        "mechtrons/page.toml:6:10: `8 GiB` is no memory of a Wasm module; expected 64 KiB to 4 GiB. Hint: such as \"16 MiB\"",
    ),
    (
        "mechtrons/page.toml",
        "1 s",
        "1 parsec",
        "mechtrons/page.toml:7:8: `1 parsec` is no time; expected a number and a unit, at least 1 ms. Hint: such as \"250 ms\" or \"10 s\"",
    ),
    (
        "mechtrons/page.toml",
        "call = \"1 s\"",
        "call = 250",
        "mechtrons/page.toml:7:8: invalid type: integer `250`; expected a string. Hint: write it in quotes",
    ),
    (
        "mechtrons/page.toml",
        "call = \"1 s\"",
        "mailbox = 0",
        "mechtrons/page.toml:7:11: 0 would let nothing in; expected at least 1. Hint: remove it for the default",
    ),
    (
        "mechtrons/page.toml",
        "call = \"1 s\"",
        "restart = { intensity = 3 }",
        "mechtrons/page.toml:7:11: missing key `within`. Hint: add it: within = …",
    ),
    (
        "mechtrons/page.toml",
        "size = 1",
        "size = inf",
        "mechtrons/page.toml:8:1: the settings hold `inf` or `nan`; expected what JSON can say. Hint: take a very large number, or a text",
    ),
    (
        "app.toml",
        "placement =",
        "placment =",
        "app.toml:5:1: unknown key `placment`; expected one of `config`, `settings`, `placement`, `override`, `allow`. Hint: did you mean `placement`?",
    ),
    (
        "app.toml",
        "\"both\"",
        "\"moon\"",
        "app.toml:5:13: unknown value `moon`; expected one of `browser`, `server`, `both`. Hint: take one of these",
    ),
    (
        "app.toml",
        "\"page:{key}\"",
        "\"Page:{key}\"",
        "app.toml:3:12: `Page:{key}` can't be part of an address; expected a-z, 0-9, - or _ in a segment (use `key` for any other text). Hint: a name, or for one actor a key `NAME:{key}`",
    ),
    (
        "app.toml",
        "mechtrons/page.toml",
        "mechtrons/x.toml",
        "app.toml:4:10: there is no mechtron config mechtrons/x.toml; expected a file mechtrons/NAME.toml. Hint: every mechtron config is a TOML file in mechtrons/ beside bundle.toml",
    ),
    (
        "app.toml",
        "mechtrons/page.toml",
        "bob:repo:widgets:1.2.0:/mechtrons/card.toml",
        "app.toml:4:10: bob:repo:widgets:1.2.0:/mechtrons/card.toml is a mechtron config of another bundle; expected one of this bundle. Hint: copy it into mechtrons/ and name it there",
    ),
    (
        "app.toml",
        "request .:db",
        "ask .:db",
        "app.toml:6:10: `ask .:db query` is no grant: expected one of request, notify, subscribe, serve, launch, override, deploy, admin. Hint: such as \"request .:db query\" or \"subscribe .:directory#changes\"",
    ),
    (
        "app.toml",
        "request .:db",
        "request .:bd",
        "app.toml:6:10: the app has no `bd`; expected one of `page:{key}`, `db`. Hint: addresses of the app are named as in [mechtrons] and [resources]",
    ),
    (
        "app.toml",
        "request .:db",
        "subscribe .:db",
        "app.toml:6:10: `subscribe .:db query` is no grant: expected an address, `#` and an event to subscribe to. Hint: such as \"request .:db query\" or \"subscribe .:directory#changes\"",
    ),
    (
        "app.toml",
        "request .:db query",
        "request .:page:* paint",
        "app.toml:6:10: the bind of `page:{key}` has no operation `paint`. Hint: add it to the bind",
    ),
    (
        "app.toml",
        "#changes",
        "#change",
        "app.toml:6:32: the bind of `page:{key}` has no event `change`. Hint: add it to the bind",
    ),
    (
        "app.toml",
        "request .:db",
        "request acme:Db",
        "app.toml:6:10: `request acme:Db query` is no grant: expected `*` or, instead of `Db`, a-z, 0-9, - or _ in a segment (use `key` for any other text). Hint: such as \"request .:db query\" or \"subscribe .:directory#changes\"",
    ),
    (
        "app.toml",
        "\"database\"",
        "\"data\"",
        "app.toml:9:8: unknown value `data`; expected one of `filesystem`, `database`, `queue`, `keyvalue`, `service`. Hint: did you mean `database`?",
    ),
    (
        "app.toml",
        "\"database\"",
        "\"keyvalue\"",
        "app.toml:10:14: only a database has `migrations`. Hint: remove it, or set kind = \"database\"",
    ),
    (
        "app.toml",
        "migrations/",
        "sql/",
        "app.toml:10:14: the bundle has no files in sql/. Hint: name them in `include` of bundle.toml",
    ),
    (
        "app.toml",
        "[resources.db]\nkind = \"database\"\nmigrations = \"migrations/\"",
        "[resources.db]\nkind = \"service\"",
        "app.toml:9:8: a service needs a `url`. Hint: such as url = \"http://127.0.0.1:9000/messages\"",
    ),
    (
        "app.toml",
        "[resources.db]\nkind = \"database\"\nmigrations = \"migrations/\"",
        "[resources.db]\nkind = \"service\"\nurl = \"ftp://x\"",
        "app.toml:10:7: `ftp://x` is no URL of a service; expected http:// or https://. Hint: such as \"http://127.0.0.1:9000/messages\"",
    ),
    (
        "app.toml",
        "GET /people",
        "people",
        "app.toml:13:1: `people/{name}` is no route; expected a method and a path. Hint: such as \"GET /people/{name}\"",
    ),
    (
        "app.toml",
        "GET /\"",
        "POST /\"",
        "app.toml:12:1: POST to a file; expected GET or HEAD. Hint: what takes a body is a resource: { to = \".:name\", operation = \"…\" }",
    ),
    (
        "app.toml",
        "/{name}\"",
        "/{name\"",
        "app.toml:13:30: `/people/{name` has no `{name}`; expected a capture of the path. Hint: captures of the target are filled from the path, one part each",
    ),
    (
        "app.toml",
        "GET /\"",
        "GET /{\"",
        "app.toml:12:1: `/{` is no path with captures: Parameters must be registered with a valid name. Hint: captures are {name} for one part and {*rest} for all that follow",
    ),
    (
        "app.toml",
        "GET /\"",
        "GET /people/{who}\"",
        "app.toml:13:1: `GET /people/{name}` takes the same requests as `GET /people/{who}`. Hint: captures are {name} for one part and {*rest} for all that follow",
    ),
    (
        "app.toml",
        "mechtrons.\"page:{key}\"]",
        "mechtrons.db]",
        "app.toml:8:12: `db` is a mechtron of this app too; expected a name of its own. Hint: rename one of the two",
    ),
    (
        "app.toml",
        "GET /assets/{*path}",
        "GET /people/{who}",
        "app.toml:14:1: `/people/{who}` names no file of site/assets; expected {*path} at its end. Hint: such as \"GET /static/{*path}\"",
    ),
    (
        "app.toml",
        "GET /assets/{*path}",
        "GET /assets",
        "app.toml:14:1: `/assets` names no file of site/assets; expected {*path} at its end. Hint: such as \"GET /static/{*path}\"",
    ),
    (
        "app.toml",
        "operation = \"render\" }",
        "}",
        "app.toml:13:1: `GET /people/{name}` leads nowhere; expected `file`, or `files`, or `to` and `operation`. Hint: such as { file = \"site/index.html\" }",
    ),
    (
        "app.toml",
        "site/index.html",
        "site/x.html",
        "app.toml:12:20: the bundle has no file site/x.html. Hint: name it in `include` of bundle.toml, and build the page first",
    ),
    (
        "app.toml",
        "site/assets",
        "site/none",
        "app.toml:14:35: the bundle has no files in site/none. Hint: name them in `include` of bundle.toml, and build the page first",
    ),
    (
        "app.toml",
        ".:page:{name}",
        ".:book:{name}",
        "app.toml:13:31: the app has no `book:{key}`; expected one of `page:{key}`, `db`. Hint: targets are named as in [mechtrons] and [resources]",
    ),
    (
        "app.toml",
        ".:page:{name}",
        ".:page:{who}",
        "app.toml:13:31: `/people/{name}` has no `{who}`; expected a capture of the path. Hint: captures of the target are filled from the path, one part each",
    ),
    (
        "app.toml",
        ".:page:{name}",
        ".:page:a:{name}",
        "app.toml:13:31: `.:page:a:{name}` is no resource of this app; expected a name, and at most one key. Hint: such as \".:profile:{name}\"",
    ),
    (
        "app.toml",
        ".:page:{name}",
        "acme:page",
        "app.toml:13:31: `acme:page` is no address of this app; expected `.:` at its start. Hint: such as \".:profile:{name}\"",
    ),
    (
        "app.toml",
        "operation = \"render\"",
        "operation = \"x\"",
        "app.toml:13:60: the bind of `page:{key}` has no operation `x`; expected one of `render`, `touch`. Hint: add it to the bind, or name another",
    ),
];

#[test]
fn faults_are_told_with_file_line_column_expectation_and_hint() {
    let mut wrong = Vec::new();
    for (file, from, to, expected) in FAULTS {
        let folder = bundle(file, from, to);
        let error = Draft::read(folder.path()).unwrap_err();
        assert!(error.line > 0 && error.column > 0 && !error.hint.is_empty(), "{error}");
        let told = error.to_string();
        let told = told.strip_prefix(&format!("{}/", folder.path().display())).unwrap_or(&told);
        if told != *expected {
            wrong.push(format!("{file}: {to}\n{told}\n{expected}\n"));
        }
    }
    assert!(wrong.is_empty(), "told, and expected:\n{}", wrong.join("\n"));
}
