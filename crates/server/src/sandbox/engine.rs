//! The engine that all guests of a server share: its compilation settings, the memory of its instances, and its ticks.

use std::{thread, time::Duration};

use wasmtime::{Config, Engine, EngineWeak, InstanceAllocationStrategy, PoolingAllocationConfig, Result};

use starlane_abi::limits::TABLES;

/// The time slice of a guest before other guests of its thread run.
pub(super) const TICK: Duration = Duration::from_millis(5);
/// The maximum number of instances at a time.
pub(super) const INSTANCES: u32 = 1_000;
/// Additional places in the pool for stopped instances that are not removed yet.
const GOING: u32 = 64;

/// A guest's own stack: the same size as in a browser.
const GUEST_STACK: usize = 512 * 1024;
/// The fiber's stack: the guest's stack, and space for the host's side of an import.
const FIBER_STACK: usize = 1024 * 1024;
/// The maximum memory of any instance; the instance's own limit is lower.
const MEMORY: usize = 4 << 30;
/// How far a memory can grow before it moves, where address space is scarce.
const GROWTH: u64 = 1 << 20;
/// The maximum size of the engine's own data for an instance: enough for 50,000 functions.
const INSTANCE_SIZE: usize = 4 << 20;

/// The allocation of instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Allocation {
    /// A pool that reserves the address space for all instances at once: 4 TiB.
    Pooled,
    /// Each instance allocates on demand. This is slower, but as safe, and works where address space is limited.
    Sparing,
}

/// An engine. Its ticks run until it is dropped.
pub(super) fn engine() -> Result<(Engine, Allocation)> {
    let mut pooled = config(Allocation::Pooled);
    pooled.allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
    let (engine, allocation) = match Engine::new(&pooled) {
        Ok(engine) => (engine, Allocation::Pooled),
        Err(_) => (compiling_engine(Allocation::Sparing)?, Allocation::Sparing),
    };
    let ticked = engine.weak();
    thread::Builder::new().name("starlane-ticks".into()).spawn(move || tick(&ticked))?;
    Ok((engine, allocation))
}

/// An engine that compiles for an engine with this allocation, but itself reserves almost no address space.
pub(super) fn compiling_engine(allocation: Allocation) -> Result<Engine> {
    Engine::new(config(allocation).allocation_strategy(InstanceAllocationStrategy::OnDemand))
}

fn config(allocation: Allocation) -> Config {
    let mut config = Config::new();
    // `check` refuses modules that use these features, so the engine need not support them.
    config.wasm_relaxed_simd(false).wasm_multi_memory(false).wasm_memory64(false).wasm_custom_page_sizes(false);
    config.epoch_interruption(true).wasm_backtrace_max_frames(None);
    config.max_wasm_stack(GUEST_STACK).async_stack_size(FIBER_STACK);
    if allocation == Allocation::Sparing {
        config.memory_reservation(0).memory_guard_size(0).memory_reservation_for_growth(GROWTH);
    }
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
