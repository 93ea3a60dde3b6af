//! The engine that all guests of a server share: what it may compile, where instances lie, and the ticks.

use std::{
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use wasmtime::{
    Config, Engine, EngineWeak, InstanceAllocationStrategy, InstancePre, Linker, Module, PoolingAllocationConfig,
    Result,
};

use super::{
    check::{TABLES, check},
    fault::describe,
    state::GuestState,
};

/// How long a guest runs before others of its thread get their turn.
pub(super) const TICK: Duration = Duration::from_millis(5);
/// The most instances at a time.
pub(super) const INSTANCES: u32 = 1_000;
/// How many more may be in the pool: those that were stopped and are not gone yet.
const GOING: u32 = 64;

/// A guest's own stack: as much as a browser gives.
const GUEST_STACK: usize = 512 * 1024;
/// The fiber's stack: the guest's, and room for the host's side of an import.
const FIBER_STACK: usize = 1024 * 1024;
/// The most memory that an instance can have at all; its own limit is below.
const MEMORY: usize = 4 << 30;
/// How far a memory can grow before it moves, where address space is scarce.
const GROWTH: u64 = 1 << 20;
/// What the engine itself may need for an instance: 50,000 functions fit.
const INSTANCE_SIZE: usize = 4 << 20;

/// An engine, its ticks running until nothing uses it any more.
pub(super) fn engine() -> Result<Engine> {
    // The pool reserves address space for all instances at once, 4 TiB of it. A system that limits address space won't
    // give it: there each instance takes what it needs as it needs it, which is slower and no less safe.
    let engine = match Engine::new(&config(InstanceAllocationStrategy::Pooling(pool()))) {
        Ok(engine) => engine,
        Err(_) => sparing_engine()?,
    };
    let ticked = engine.weak();
    thread::Builder::new().name("starlane-ticks".into()).spawn(move || tick(&ticked))?;
    Ok(engine)
}

/// An engine that reserves next to no address space.
fn sparing_engine() -> Result<Engine> {
    let mut config = config(InstanceAllocationStrategy::OnDemand);
    config.memory_reservation(0).memory_guard_size(0).memory_reservation_for_growth(GROWTH);
    Engine::new(&config)
}

fn config(allocation: InstanceAllocationStrategy) -> Config {
    let mut config = Config::new();
    // `check` refuses such modules first; the engine needs no way to run them.
    config.wasm_relaxed_simd(false).wasm_multi_memory(false).wasm_memory64(false).wasm_custom_page_sizes(false);
    config.epoch_interruption(true).wasm_backtrace_max_frames(None);
    config.max_wasm_stack(GUEST_STACK).async_stack_size(FIBER_STACK);
    config.allocation_strategy(allocation);
    config
}

fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    let places = INSTANCES + GOING;
    pool.total_core_instances(places).total_memories(places).total_stacks(places).total_tables(places * TABLES);
    pool.max_memories_per_module(1).max_tables_per_module(TABLES);
    pool.max_memory_size(MEMORY).max_core_instance_size(INSTANCE_SIZE);
    pool.table_elements(starlane_abi::limits::TABLE_ENTRIES as usize);
    pool
}

fn tick(engine: &EngineWeak) {
    while let Some(engine) = engine.upgrade() {
        engine.increment_epoch();
        drop(engine);
        thread::sleep(TICK);
    }
}

/// Compiles modules, one at a time, so that however many there are they leave processors to the guests.
pub(super) struct Compiler {
    engine: Engine,
    linker: Linker<GuestState>,
    turn: Mutex<()>,
}

impl Compiler {
    pub(super) fn new(engine: Engine, linker: Linker<GuestState>) -> Self {
        Self { engine, linker, turn: Mutex::new(()) }
    }

    /// Checks and compiles a module. The error says what is wrong with it.
    pub(super) fn compile(&self, wasm: &[u8]) -> Result<InstancePre<GuestState>, String> {
        // It guards nothing that a panic could have left half done.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        check(wasm).map_err(|fault| fault.to_string())?;
        let module = Module::from_binary(&self.engine, wasm).map_err(|error| describe(&error))?;
        self.linker.instantiate_pre(&module).map_err(|error| describe(&error))
    }
}
