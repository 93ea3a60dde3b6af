//! Modules that are not allowed as guests.

use std::rc::Rc;

use bytes::Bytes;
use starlane_abi::{limits, names};
use starlane_bundle::Digest;

use super::{
    fixture::{Guest, LIMITS},
    wat::Module,
};
use crate::ports::{Sandbox, SandboxError};

/// Compiles an invalid module, and checks that the error contains a text.
async fn refused(sandbox: &Rc<dyn Sandbox>, wasm: Bytes, names: &str) {
    let digest = Digest::of(&wasm);
    let refused = sandbox.compile("acme", digest, LIMITS.memory, wasm).await;
    let Err(SandboxError::Module { digest: named, reason }) = refused else { panic!("{names}: {refused:?}") };
    assert_eq!(named, digest);
    assert!(reason.contains(names), "`{names}` is not named by {reason:?}");
    assert!(!sandbox.has_module(&digest, LIMITS.memory), "a refused module is not kept");
}

/// The allow-list has no wildcard.
pub async fn modules_with_foreign_imports_are_refused(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let mesh = names::MESH;
    let imports = [
        (
            "fd_write",
            r#"(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))"#.to_owned(),
        ),
        ("steal", format!(r#"(import "{mesh}" "steal" (func))"#)),
        ("notify", r#"(import "starlane:mechtron/mesh@2.0.0" "notify" (func))"#.to_owned()),
        ("g", format!(r#"(import "{mesh}" "g" (global i32))"#)),
        ("t", format!(r#"(import "{mesh}" "t" (table 1 funcref))"#)),
    ];
    for (name, imports) in &imports {
        refused(&sandbox, Module { imports, ..Module::default() }.wasm(), name).await;
    }
    let imports = r#"(import "env" "memory" (memory 1))"#;
    refused(&sandbox, Module { imports, without: &[names::MEMORY], ..Module::default() }.wasm(), "memory").await;
}

/// Every required export is required.
pub async fn modules_without_the_exports_are_refused(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    for name in names::REQUIRED_EXPORTS {
        let initialize = Some("(call $log (i32.const 2) (i32.const 0) (i32.const 0))");
        let wasm = Module { initialize, without: &[name], ..Module::default() }.wasm();
        refused(&sandbox, wasm, name).await;
    }
}

/// Random bytes, a component, and half of a module.
pub async fn what_is_no_module_is_refused(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let whole = Module::default().wasm();
    refused(&sandbox, Bytes::new(), "").await;
    refused(&sandbox, Bytes::from_static(b"(module)"), "").await;
    refused(&sandbox, Bytes::from_static(b"\0asm\x0d\0\x01\0"), "").await;
    refused(&sandbox, whole.slice(..whole.len() / 2), "").await;
    // The sandbox still works after a refusal.
    drop(Guest::start(&sandbox, &whole, LIMITS).await);
}

/// An import or export must also have the right type.
pub async fn modules_with_wrong_signatures_are_refused(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let imports = format!(r#"(import "{}" "random" (func (result i32)))"#, names::MESH);
    refused(&sandbox, Module { imports: &imports, ..Module::default() }.wasm(), "random").await;
    for name in names::REQUIRED_EXPORTS.into_iter().filter(|name| *name != names::MEMORY) {
        let more = format!(r#"(func (export "{name}") (param f32))"#);
        refused(&sandbox, Module { more: &more, without: &[name], ..Module::default() }.wasm(), name).await;
        let more = format!(r#"(global (export "{name}") i32 (i32.const 0))"#);
        refused(&sandbox, Module { more: &more, without: &[name], ..Module::default() }.wasm(), name).await;
    }
    let more = r#"(global (export "memory") i32 (i32.const 0))"#;
    refused(&sandbox, Module { more, without: &[names::MEMORY], ..Module::default() }.wasm(), "memory").await;
    for name in [names::INITIALIZE, names::POST_START] {
        let more = format!(r#"(func (export "{name}") (param i32 i32))"#);
        refused(&sandbox, Module { more: &more, ..Module::default() }.wasm(), name).await;
    }
}

/// A start function would run before the host is ready.
pub async fn modules_with_a_start_section_are_refused(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let more = "(func $begin) (start $begin)";
    refused(&sandbox, Module { more, ..Module::default() }.wasm(), "start section").await;
}

/// Threads, garbage collection, exceptions, 64-bit and several memories, and relaxed SIMD are refused. Tail calls and
/// SIMD are allowed.
pub async fn modules_with_features_that_guests_may_not_have_are_refused(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let features = [
        "(memory $shared 1 1 shared)",
        "(memory $second 1)",
        "(func (result i32) (i32.atomic.load (i32.const 0)))",
        "(type $s (struct (field i32)))",
        "(type $a (array i8)) (func (drop (array.new_default $a (i32.const 9))))",
        "(tag $t) (func (throw $t))",
        "(func (drop (i32x4.relaxed_trunc_f32x4_s (v128.const i32x4 0 0 0 0))))",
        "(table 1 externref)",
        "(func (param (ref null func)) (drop (ref.as_non_null (local.get 0))))",
    ];
    for more in features {
        refused(&sandbox, Module { more, ..Module::default() }.wasm(), "").await;
    }
    refused(&sandbox, Module { memory: "i64 1", ..Module::default() }.wasm(), "").await;
    let more = "(func $f (result i32) (return_call $f)) (table 1 funcref) (global i32 (i32.add (i32.const 1) (i32.const 2))) \
                (func (result v128) (i8x16.splat (i32.extend8_s (i32.trunc_sat_f32_s (f32.const 1)))))";
    drop(Guest::start(&sandbox, &Module { more, ..Module::default() }.wasm(), LIMITS).await);
}

/// Bytes, functions, tables.
pub async fn modules_that_are_too_large_are_refused(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let section = "x".repeat(limits::MODULE_BYTES);
    let more = format!("(@custom \"fill\" \"{section}\")");
    refused(&sandbox, Module { more: &more, ..Module::default() }.wasm(), &limits::MODULE_BYTES.to_string()).await;
    let more = "(func)".repeat(50_001);
    refused(&sandbox, Module { more: &more, ..Module::default() }.wasm(), "50000").await;
    refused(&sandbox, Module { more: "(table 10001 funcref)", ..Module::default() }.wasm(), "10000").await;
    drop(Guest::start(&sandbox, &Module { more: "(table 10000 funcref)", ..Module::default() }.wasm(), LIMITS).await);
}
