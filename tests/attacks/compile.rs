//! Modules that are made to keep a compiler busy, their cost, and who bears it.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use starlane_bundle::{SecretKey, authoring::Draft};
use starlane_protocol::Address;
use starlane_testkit::attack;
use tempfile::TempDir;

use crate::{
    hostile_modules::{module, out_of_bounds, within_bounds},
    world::{Answer, LONG, Server, echo_bundle, folder},
};

/// Without limits of functions, so that only the limits of the process bound the cost of compilation.
const NO_BOUNDS: &str = "[limits]\nfunction-bytes = 8388608\nfunction-locals = 50000\nfunction-branches = 10000000\n\
                         function-moves = 1000000000\nfunction-loop-depth = 50000\ncompile-memory = 268435456\ncompile-time = 4000\n";
const CHILD_MIB: u64 = 256;

/// A bundle with one module.
fn bundle_of(wasm: &[u8]) -> TempDir {
    let folder = folder(&[
        ("bundle.toml", "[bundle]\nname = \"m\"\ndescription = \"One module.\"\nlicence = \"MIT\"\n"),
        ("app.toml", "[app]\nname = \"m\"\n[mechtrons.m]\nconfig = \"mechtrons/m.toml\"\nplacement = \"server\"\n"),
        ("binds/m.toml", "[bind]\nname = \"m\"\n[operations.go]\nrequest = {}\nresponse = {}\n"),
        ("mechtrons/m.toml", "[mechtron]\nwasm = \"wasm/m.wasm\"\nname = \"m\"\nbind = \"binds/m.toml\"\n"),
    ]);
    fs::create_dir_all(folder.path().join("wasm")).unwrap();
    fs::write(folder.path().join("wasm/m.wasm"), wasm).unwrap();
    folder
}

/// Publishes without our command line, which would refuse the module.
fn publish(server: &Server, token: &str, folder: &Path, bundle: &str) -> Answer {
    let draft = Draft::read(folder).unwrap();
    server.upload(token, &draft);
    let signed = draft.sign(&Address::parse(bundle).unwrap(), &SecretKey::from_seed([9; 32]), 1_700_000_000);
    server.publish_manifest(token, bundle, &signed)
}

fn metric(server: &Server, name: &str) -> f64 {
    let text = server.with_token(&server.token, "GET", "/metrics", b"").text();
    let line = text.lines().find(|line| line.split(' ').next() == Some(name));
    line.unwrap_or_else(|| panic!("{name} is not in {text}")).rsplit(' ').next().unwrap().parse().unwrap()
}

/// The processes that the server has started.
fn children(server: &Server) -> Vec<u32> {
    let of = |pid: u32| fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parent = |pid: u32| -> Option<u32> { of(pid)?.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok() };
    pids.filter(|pid| parent(*pid) == Some(server.pid())).collect()
}

/// The process that compiles a module. Another process checks the module before.
fn compiling(server: &Server) -> Option<u32> {
    // Before it starts its program, it is a copy of the server's process.
    children(server).into_iter().find(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.starts_with(b"starlane\0compile-module") && !line.windows(7).any(|part| part == b"--check")
    })
}

/// A number of kibibytes in a process's status, while it runs.
fn status(pid: u32, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find(|line| line.starts_with(field))?.split_whitespace().nth(1)?.parse().ok()
}

/// The targets of a process's descriptors.
fn open_files(pid: &str) -> Vec<String> {
    let files: Vec<_> = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten().collect();
    let targets = files.iter().filter_map(|file| fs::read_link(file.path()).ok());
    targets.map(|target| target.display().to_string()).collect()
}

/// Waits until a condition is true.
fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LONG;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < end, "{what} within {} s", LONG.as_secs());
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn functions_that_cost_too_much_are_refused_when_published() {
    let server = Server::start();
    let mallory = server.token_for("mallory", &["deploy mallory:**", "deploy mallory"]);
    let (mut tried, mut through) = (0, 0);
    for (name, limit, wasm) in out_of_bounds() {
        tried += 1;
        let answer = publish(&server, &mallory, bundle_of(&wasm).path(), &format!("mallory:repo:{name}:1.0.0"));
        if answer.status != 413 || !answer.text().contains(limit) {
            through += 1;
            println!("{name} ({} bytes): {} {}", wasm.len(), answer.status, answer.text());
        }
    }
    assert_eq!(metric(&server, "starlane_modules_compiled_total"), 0.0);
    attack("B7", tried, through);
    assert_eq!(through, 0);
}

#[test]
fn the_costliest_allowed_modules_do_not_delay_other_spaces() {
    neighbours_go_on("", 1_024, within_bounds());
}

#[test]
fn without_function_limits_the_process_limits_protect_other_spaces() {
    let hostile = out_of_bounds().into_iter().map(|(name, _, wasm)| (name, wasm)).collect();
    neighbours_go_on(NO_BOUNDS, CHILD_MIB, hostile);
}

/// One space publishes hostile modules one after the other. Meanwhile another space publishes and sends messages.
fn neighbours_go_on(configuration: &str, child_mib: u64, hostile: Vec<(&'static str, Vec<u8>)>) {
    let server = Server::start_with(configuration);
    let mallory = server.token_for("mallory", &["deploy mallory:**", "deploy mallory"]);
    server.publish(&server.token, 1, echo_bundle("").path(), "acme:repo:echoes:1.0.0");
    assert_eq!(server.create(&server.token, "acme:echoes", "acme:repo:echoes:1.0.0").status, 200);
    let say = || server.command("acme:echoes:echo", "echo", &json!("hi")).status;
    assert_eq!(say(), 200);
    let before = server.rss_mib();
    let (over, count) = (AtomicBool::new(false), hostile.len());
    let (peak, answered, compiled, slowest) = thread::scope(|scope| {
        let attacker = scope.spawn(|| {
            for (name, wasm) in &hostile {
                let begun = Instant::now();
                let answer = publish(&server, &mallory, bundle_of(wasm).path(), &format!("mallory:repo:{name}:1.0.0"));
                println!("{name} ({} bytes): {} in {:.1} s", wasm.len(), answer.status, begun.elapsed().as_secs_f64());
            }
            over.store(true, Relaxed);
        });
        let watcher = scope.spawn(|| {
            let mut peak = 0;
            while !over.load(Relaxed) {
                let children = children(&server);
                peak = children.iter().filter_map(|pid| status(*pid, "VmHWM:")).max().unwrap_or(0).max(peak);
                thread::sleep(Duration::from_millis(2));
            }
            peak / 1_024
        });
        let (mut answered, mut compiled, mut slowest) = (0, 0, Duration::ZERO);
        while !over.load(Relaxed) {
            let begun = Instant::now();
            assert_eq!(say(), 200);
            answered += 1;
            let fresh = module(&format!("(func (result i32) (i32.const {compiled}))"));
            let bundle = format!("acme:repo:fresh{compiled}:1.0.0");
            let answer = publish(&server, &server.token, bundle_of(&fresh).path(), &bundle);
            assert_eq!(answer.status, 204, "{}", answer.text());
            compiled += 1;
            slowest = slowest.max(begun.elapsed());
        }
        attacker.join().unwrap();
        (watcher.join().unwrap(), answered, compiled, slowest)
    });
    println!("{answered} messages and {compiled} modules meanwhile, the slowest pair in {slowest:?}; child {peak} MiB");
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
    let server_grew = server.peak_rss_mib() - before;
    let through = [peak > child_mib, server_grew > 256].into_iter().filter(|through| *through).count();
    attack("B7", count, through);
    assert_eq!(through, 0, "the processes had up to {peak} MiB, the server grew by {server_grew} MiB");
}

#[test]
fn a_module_is_compiled_once_and_leaves_memory_with_its_last_app() {
    let mut server = Server::start();
    let token = server.token.clone();
    server.publish(&token, 1, echo_bundle("").path(), "acme:repo:echoes:1.0.0");
    assert_eq!(metric(&server, "starlane_modules"), 0.0);
    for app in ["acme:one", "acme:two"] {
        assert_eq!(server.create(&token, app, "acme:repo:echoes:1.0.0").status, 200);
        assert_eq!(server.command(&format!("{app}:echo"), "echo", &json!("hi")).status, 200);
    }
    assert_eq!(metric(&server, "starlane_modules"), 1.0);
    assert_eq!(metric(&server, "starlane_modules_compiled_total"), 1.0);
    server.start_again();
    assert_eq!(server.command("acme:one:echo", "echo", &json!("hi")).status, 200);
    assert_eq!(metric(&server, "starlane_modules_compiled_total"), 0.0);
    for (app, modules) in [("acme:one", 1.0), ("acme:two", 0.0)] {
        if app == "acme:two" {
            assert_eq!(server.command("acme:two:echo", "echo", &json!("hi")).status, 200);
        }
        let deleted = server.command("starlane:apps", "delete", &json!({ "app": app }));
        assert_eq!(deleted.status, 204, "{}", deleted.text());
        let kept = metric(&server, "starlane_modules");
        assert_eq!(kept, if app == "acme:one" { kept.min(1.0) } else { modules });
    }
    attack("B7", 2, usize::from(metric(&server, "starlane_modules") != 0.0));
}

#[test]
fn the_process_has_no_data_of_the_server_and_ends_with_it() {
    let mut server = Server::start_with(NO_BOUNDS);
    let token = server.token.clone();
    let (_, _, slow) = out_of_bounds().into_iter().find(|(name, ..)| *name == "loops").unwrap();
    let bundle = bundle_of(&slow);
    let mut through = 0;
    // After a kill, the publisher gets an error and the server continues.
    thread::scope(|scope| {
        let publishing = scope.spawn(|| publish(&server, &token, bundle.path(), "acme:repo:slow:1.0.0"));
        let child = until("a process that compiles", || compiling(&server));
        until("its module is read", || status(child, "VmRSS:").filter(|kib| *kib > 40 * 1_024));
        let environment = fs::read(format!("/proc/{child}/environ")).unwrap();
        // The server inherits some descriptors from the process that started these tests.
        let inherited = open_files("self");
        let mut opened = open_files(&child.to_string());
        opened.retain(|target| !inherited.contains(target));
        // Its environment contains only a setting of its allocator.
        through += usize::from(environment != b"MIMALLOC_ARENA_RESERVE=65536\0");
        through += opened.iter().filter(|target| !target.starts_with("pipe:")).count();
        through += usize::from(fs::read_link(format!("/proc/{child}/cwd")).unwrap() != Path::new("/"));
        assert_eq!(through, 0, "{opened:?}");
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(child as i32).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
        let answer = publishing.join().unwrap();
        assert_eq!(answer.status, 503, "{}", answer.text());
    });
    assert_eq!(server.get("/healthz").status, 200);
    // When the server is killed, the process ends with it.
    let child = thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let signed = Draft::read(bundle.path()).unwrap().sign(
                &Address::parse("acme:repo:slow:1.0.1").unwrap(),
                &SecretKey::from_seed([9; 32]),
                1_700_000_000,
            );
            let bearer = format!("Bearer {token}");
            let signature = signed.signature.to_string();
            let headers = [("authorization", bearer.as_str()), ("starlane-signature", signature.as_str())];
            server.try_send("PUT", "/bundles/acme:repo:slow:1.0.1", &headers, &signed.bytes)
        });
        let child = until("a process that compiles", || compiling(&server));
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(server.pid() as i32).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
        assert!(asked.join().unwrap().is_err());
        child
    });
    until("the process ends", || {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).ok();
        stat.is_none_or(|stat| stat.contains(") Z ")).then_some(())
    });
    server.start_again();
    assert_eq!(server.get("/healthz").status, 200);
    attack("B7", 3, through);
}

/// Many manifests that name the same module cause one check of it.
#[test]
fn module_is_checked_once_for_many_publishers() {
    let server = Server::start();
    let mallory = server.token_for("mallory", &["deploy mallory:**"]);
    let (_, wasm) = within_bounds().swap_remove(0);
    let draft = bundle_of(&wasm);
    let draft = Draft::read(draft.path()).unwrap();
    server.upload(&mallory, &draft);
    let statuses: Vec<u16> = thread::scope(|scope| {
        let publishing: Vec<_> = (0..16)
            .map(|number| {
                let (server, mallory, draft) = (&server, &mallory, &draft);
                scope.spawn(move || {
                    let bundle = format!("mallory:repo:m{number}:1.0.0");
                    let address = Address::parse(&bundle).unwrap();
                    let signed = draft.sign(&address, &SecretKey::from_seed([9; 32]), 1_700_000_000);
                    server.publish_manifest(mallory, &bundle, &signed).status
                })
            })
            .collect();
        publishing.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(statuses.iter().all(|status| *status == statuses[0]), "{statuses:?}");
    assert_eq!(metric(&server, "starlane_modules_checked_total"), 1.0);
}
