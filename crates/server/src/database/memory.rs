//! Limits the memory of one statement.
//!
//! SQLite's own limit applies to the whole process, so one large statement would make others fail. A statement runs on
//! one thread. The allocations of that thread are counted here, and an allocation above the budget fails for that
//! statement alone.

#![allow(unsafe_code, reason = "SQLite takes its allocator as C functions")]

use std::{
    alloc::{Layout, alloc, dealloc, realloc},
    cell::Cell,
    ffi::{c_int, c_void},
    path::Path,
    ptr,
    sync::Once,
};

use rusqlite::{Connection, OpenFlags, ffi};

/// The size of the header that holds an allocation's length. With 16 bytes, the allocation is aligned for every type.
const HEAD: usize = 16;

thread_local! {
    /// The remaining bytes that this thread can allocate for SQLite; none without a budget. Freed bytes are added
    /// again.
    static LEFT: Cell<Option<i64>> = const { Cell::new(None) };
}

/// Limits SQLite's allocations on this thread until it is dropped. Earlier allocations do not count.
pub(super) struct Budget(Option<i64>);

impl Budget {
    pub(super) fn of(bytes: u64) -> Self {
        Self(LEFT.replace(Some(i64::try_from(bytes).unwrap_or(i64::MAX))))
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        LEFT.set(self.0);
    }
}

/// Opens a database in a file. Every connection of a server is opened here or in [`open_in_memory`], because SQLite's
/// allocator can be set only before its first use in a process.
pub(crate) fn open_file(file: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    install();
    Connection::open_with_flags(file, flags)
}

/// Opens an empty database in memory.
pub(crate) fn open_in_memory() -> rusqlite::Result<Connection> {
    install();
    Connection::open_in_memory()
}

/// Sets SQLite's allocator to the counting one. Later calls do nothing.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let methods = ffi::sqlite3_mem_methods {
            xMalloc: Some(allocate),
            xFree: Some(free),
            xRealloc: Some(reallocate),
            xSize: Some(size),
            xRoundup: Some(round_up),
            xInit: Some(begin),
            xShutdown: Some(end),
            pAppData: ptr::null_mut(),
        };
        // SAFETY: SQLite copies the methods before this returns, and the functions live as long as the process.
        let result = unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, &raw const methods) };
        if result != ffi::SQLITE_OK {
            tracing::warn!(result, "SQLite was already in use: the memory of statements is not limited");
        }
    });
}

/// Takes bytes from the budget; a negative number returns them. Returns false if fewer bytes remain.
fn take(bytes: i64) -> bool {
    let Some(left) = LEFT.get() else { return true };
    if bytes > left {
        return false;
    }
    LEFT.set(Some(left - bytes));
    true
}

fn layout(bytes: usize) -> Option<Layout> {
    Layout::from_size_align(bytes.checked_add(HEAD)?, HEAD).ok()
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

unsafe extern "C" fn allocate(bytes: c_int) -> *mut c_void {
    let bytes = usize::try_from(bytes).unwrap_or_default();
    let Some(layout) = layout(bytes) else { return ptr::null_mut() };
    if !take(signed(bytes)) {
        return ptr::null_mut();
    }
    // SAFETY: the layout is not empty, and the header is large enough and aligned for the length.
    unsafe {
        let block = alloc(layout);
        if block.is_null() {
            take(-signed(bytes));
            return ptr::null_mut();
        }
        block.cast::<usize>().write(bytes);
        block.add(HEAD).cast()
    }
}

unsafe extern "C" fn free(pointer: *mut c_void) {
    if pointer.is_null() {
        return;
    }
    // SAFETY: SQLite frees only pointers from `allocate` and `reallocate`, which have a header in front.
    unsafe {
        let block = pointer.cast::<u8>().sub(HEAD);
        let bytes = block.cast::<usize>().read();
        if let Some(layout) = layout(bytes) {
            dealloc(block, layout);
        }
        take(-signed(bytes));
    }
}

unsafe extern "C" fn reallocate(pointer: *mut c_void, bytes: c_int) -> *mut c_void {
    // SAFETY: as in `free`; a failed `realloc` leaves the block unchanged.
    unsafe {
        let block = pointer.cast::<u8>().sub(HEAD);
        let (before, bytes) = (block.cast::<usize>().read(), usize::try_from(bytes).unwrap_or_default());
        let (Some(old), Some(new)) = (layout(before), layout(bytes)) else { return ptr::null_mut() };
        if !take(signed(bytes) - signed(before)) {
            return ptr::null_mut();
        }
        let block = realloc(block, old, new.size());
        if block.is_null() {
            take(signed(before) - signed(bytes));
            return ptr::null_mut();
        }
        block.cast::<usize>().write(bytes);
        block.add(HEAD).cast()
    }
}

unsafe extern "C" fn size(pointer: *mut c_void) -> c_int {
    if pointer.is_null() {
        return 0;
    }
    // SAFETY: as in `free`.
    let bytes = unsafe { pointer.cast::<u8>().sub(HEAD).cast::<usize>().read() };
    c_int::try_from(bytes).unwrap_or(c_int::MAX)
}

unsafe extern "C" fn round_up(bytes: c_int) -> c_int {
    bytes.checked_add(7).map_or(bytes, |more| more & !7)
}

unsafe extern "C" fn begin(_: *mut c_void) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn end(_: *mut c_void) {}
