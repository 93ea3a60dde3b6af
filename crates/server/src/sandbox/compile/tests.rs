//! Tests of compilation in this process. `tests/attacks` tests other processes with the built binary.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use bytes::Bytes;
use futures_util::{FutureExt, future::join_all};
use starlane_testkit::guest;

use super::*;
use crate::{limits::ServerLimits, sandbox::engine};

const SECRET: HostSecret = HostSecret([7; 32]);

fn compiler(data: &Path, secret: HostSecret, limits: ServerLimits) -> Compiler {
    let (engine, allocation) = engine::engine().unwrap();
    let limiter = Limiter::new(limits);
    let config = CompileConfig { program: None, kept: Some((data.join(FOLDER), secret)), limiter };
    Compiler::open(engine, allocation, config).unwrap()
}

fn echo() -> Bytes {
    fs::read(guest("echo")).unwrap().into()
}

fn files(data: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(data.join(FOLDER)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn counts(compiler: &Compiler) -> [u64; 3] {
    let CompileCounts { compiled, loaded, failed, .. } = compiler.counts();
    [compiled, loaded, failed].map(|count| count.load(Relaxed))
}

#[tokio::test]
async fn a_module_is_compiled_once_and_read_from_disk_afterwards() {
    let (data, wasm) = (tempfile::tempdir().unwrap(), echo());
    let digest = Digest::of(&wasm);
    let first = compiler(data.path(), SECRET, ServerLimits::default());
    first.compile("acme", digest, wasm.clone()).await.unwrap();
    first.compile("bob", digest, wasm.clone()).await.unwrap();
    assert_eq!(counts(&first), [1, 1, 0]);
    drop(first);
    let restarted = compiler(data.path(), SECRET, ServerLimits::default());
    restarted.compile("acme", digest, wasm).await.unwrap();
    assert_eq!(counts(&restarted), [0, 1, 0]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data.path().join(FOLDER)), 0o700);
    assert_eq!(files(data.path()).iter().map(|file| mode(file)).collect::<Vec<_>>(), [0o600]);
}

/// Otherwise native code from another program would run in the server.
#[tokio::test]
async fn a_changed_file_is_refused_and_compiled_again() {
    let (data, wasm) = (tempfile::tempdir().unwrap(), echo());
    let digest = Digest::of(&wasm);
    compiler(data.path(), SECRET, ServerLimits::default()).compile("acme", digest, wasm.clone()).await.unwrap();
    let file = files(data.path()).remove(0);
    let genuine = fs::read(&file).unwrap();
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = genuine.clone();
        change(&mut bytes);
        bytes
    };
    let middle = genuine.len() / 2;
    let forged = [
        changed(&|bytes| bytes[middle] ^= 1),
        changed(&|bytes| bytes[0] ^= 1),
        changed(&|bytes| bytes.truncate(middle)),
        changed(&|bytes| bytes.truncate(7)),
        changed(&|bytes| bytes.clear()),
        changed(&|bytes| bytes.push(0)),
        changed(&|bytes| drop(bytes.drain(..32))),
    ];
    for bytes in forged {
        fs::write(&file, &bytes).unwrap();
        let again = compiler(data.path(), SECRET, ServerLimits::default());
        again.compile("acme", digest, wasm.clone()).await.unwrap();
        assert_eq!(counts(&again), [1, 0, 0], "{} bytes", bytes.len());
        assert_eq!(fs::read(&file).unwrap().len(), genuine.len());
    }
    // A file of another module under this name, and a file that another server wrote.
    let other = Bytes::from(wat::parse_str(MINIMAL).unwrap());
    let foreign = compiler(data.path(), HostSecret([8; 32]), ServerLimits::default());
    foreign.compile("acme", digest, wasm.clone()).await.unwrap();
    assert_eq!(counts(&foreign), [1, 0, 0]);
    let own = compiler(data.path(), SECRET, ServerLimits::default());
    own.compile("acme", Digest::of(&other), other.clone()).await.unwrap();
    let name =
        file.file_name().unwrap().to_string_lossy().replace(&digest.to_string(), &Digest::of(&other).to_string());
    fs::copy(file.with_file_name(name), &file).unwrap();
    own.compile("acme", digest, wasm).await.unwrap();
    assert_eq!(counts(&own), [2, 0, 0]);
}

#[tokio::test]
async fn the_least_recently_used_file_is_removed_when_there_is_no_room() {
    let data = tempfile::tempdir().unwrap();
    let module = |number: u32| Bytes::from(wat::parse_str(MINIMAL.replace("777", &number.to_string())).unwrap());
    let limits = ServerLimits::default();
    let compiler_of = |limits: ServerLimits| compiler(data.path(), SECRET, limits);
    let first = compiler_of(limits.clone());
    first.compile("acme", Digest::of(&module(0)), module(0)).await.unwrap();
    let size = fs::metadata(&files(data.path())[0]).unwrap().len();
    let mut limits = limits;
    limits.set(Limit::CompiledBytes, 3 * size + size / 2).unwrap();
    let bounded = compiler_of(limits);
    for number in 1..10 {
        bounded.compile("acme", Digest::of(&module(number)), module(number)).await.unwrap();
        // The timestamps of a file system can be coarse.
        for file in files(data.path()) {
            let is_first = file.to_string_lossy().contains(&Digest::of(&module(0)).to_string());
            let age = if is_first { 0 } else { 100 };
            let used = SystemTime::now() - Duration::from_secs(age);
            fs::File::options().append(true).open(&file).unwrap().set_modified(used).unwrap();
        }
        bounded.compile("acme", Digest::of(&module(0)), module(0)).await.unwrap();
    }
    assert_eq!(files(data.path()).len(), 3);
    assert_eq!(counts(&bounded), [9, 9, 0], "recently used files stayed");
}

#[tokio::test]
async fn a_failed_compilation_is_retried_only_after_a_pause() {
    let data = tempfile::tempdir().unwrap();
    let compiler = compiler(data.path(), SECRET, ServerLimits::default());
    let wasm = Bytes::from_static(b"no module");
    let error = compiler.compile("acme", Digest::of(&wasm), wasm.clone()).await.unwrap_err();
    assert!(matches!(error, CompileError::Module(_)), "{error:?}");
    assert_eq!(compiler.compile("bob", Digest::of(&wasm), wasm).await.unwrap_err(), error);
    assert_eq!(counts(&compiler), [0, 0, 1]);
}

#[tokio::test]
async fn module_is_checked_once_and_only_for_waiting_requests() {
    let data = tempfile::tempdir().unwrap();
    let compiler = compiler(data.path(), SECRET, ServerLimits::default());
    let checks = || compiler.counts().checked.load(Relaxed);
    let (wasm, reads) = (echo(), Arc::new(AtomicU64::new(0)));
    let digest = Digest::of(&wasm);
    let source = || {
        let (wasm, reads) = (wasm.clone(), Arc::clone(&reads));
        Source::new(move || {
            reads.fetch_add(1, Relaxed);
            Some(wasm)
        })
    };
    let waiting = join_all((0..32).map(|_| compiler.check("acme", digest, source()))).await;
    assert!(waiting.iter().all(|checked| checked == &waiting[0] && checked.is_ok()), "{waiting:?}");
    assert_eq!((checks(), reads.load(Relaxed)), (1, 1));
    // The result is remembered for other spaces and for the compiler.
    compiler.check("bob", digest, source()).await.unwrap();
    compiler.compile("bob", digest, wasm.clone()).await.unwrap();
    assert_eq!((checks(), reads.load(Relaxed)), (1, 1));
    let absent = compiler.check("bob", Digest::of(b"other"), Source::new(|| None)).await;
    assert_eq!(absent, Err(CompileError::Absent));
}

/// A program without output that never ends stands in for a long check.
#[tokio::test]
async fn check_ends_when_all_requests_are_cancelled() {
    let data = tempfile::tempdir().unwrap();
    let (program, started) = (data.path().join("program"), data.path().join("started"));
    let script = format!("#!/bin/sh\necho $$ > {}.new\n/bin/mv {0}.new {0}\nexec /bin/sleep 600\n", started.display());
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let (engine, allocation) = engine::engine().unwrap();
    let config = CompileConfig { program: Some(program), kept: None, limiter: Limiter::new(ServerLimits::default()) };
    let compiler = Compiler::open(engine, allocation, config).unwrap();
    let wasm = echo();
    let mut waiting = Box::pin(compiler.check("acme", Digest::of(&wasm), wasm.clone()));
    let pid = loop {
        assert!(waiting.as_mut().now_or_never().is_none());
        match fs::read_to_string(&started) {
            Ok(pid) => break pid,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    let running = || Path::new("/proc").join(pid.trim()).exists();
    assert!(running());
    drop(waiting);
    while running() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn refusals_of_the_process_name_their_limit() {
    for limit in child::FUNCTION_LIMITS {
        let fault = ChildFault::Function(limit, "it has 7 of them".to_owned());
        assert_eq!(ChildFault::heard(&fault.told()), fault);
    }
    let fault = ChildFault::Module("over-limit-9 of nothing".to_owned());
    assert_eq!(ChildFault::heard(&fault.told()), fault);
}

/// The process must compile for the same engine as the server's.
#[test]
fn the_compiling_engine_matches_the_running_one() {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let hash = |engine: &Engine| {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        hasher.finish()
    };
    let (running, allocation) = engine::engine().unwrap();
    assert_eq!(hash(&running), hash(&engine::compiling_engine(allocation).unwrap()));
}

/// A guest that does nothing.
const MINIMAL: &str = r#"(module
    (memory (export "memory") 1)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 777))
    (func (export "starlane:mechtron/actor@1.0.0#start")
        (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 16))
    (func (export "starlane:mechtron/actor@1.0.0#receive")
        (param i64 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32) (result i32) (i32.const 1))
    (func (export "starlane:mechtron/actor@1.0.0#settle") (param i64 i32 i32 i32 i32 i32 i32 i32 i64))
    (func (export "starlane:mechtron/actor@1.0.0#wake") (param i64))
    (func (export "starlane:mechtron/actor@1.0.0#save") (result i32) (i32.const 32)))"#;
