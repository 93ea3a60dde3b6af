;; Modules for which every checker must give the same result. `starlane_host::testing::module_table` reads this file.
;;
;; A line `;;; NAME` begins a module. The module is a complete, valid guest, and the lines that follow are added to it.
;; Lines of the form `;;: KEY VALUE` are options:
;;   refused WORDS   it must be refused; the reason of `starlane-meter` contains these words, up to the end of the line
;;   accepted        it must be accepted
;;   memory TYPE     the type of its memory, instead of `1`
;;   without NAME    the export that is left out
;;   first           the lines that follow come first, which imports require
;;   repeat N TEXT   `{}` in the lines that follow stands for N times TEXT

;;; a plain guest
;;: accepted

;;; tail calls, extended constants, SIMD, sign extension, saturating conversion
;;: accepted
(func $f (result i32) (return_call $f))
(table 1 funcref)
(global i32 (i32.add (i32.const 1) (i32.const 2)))
(func (result v128) (i8x16.splat (i32.extend8_s (i32.trunc_sat_f32_s (f32.const 1)))))

;;; bulk memory, several results, references to functions
;;: accepted
(table $t 2 funcref)
(func $two (result i32 i32) (i32.const 1) (i32.const 2))
(elem declare func $two)
(func (table.set $t (i32.const 0) (ref.func $two)) (memory.fill (i32.const 0) (i32.const 0) (i32.const 9)))

;;; the longest table
;;: accepted
(table 10000 funcref)

;;; a table that grows up to the longest
;;: accepted
(table $t 1 10000 funcref)
(func (drop (table.grow $t (ref.null func) (i32.const 9999))))

;;; four tables
;;: accepted
(table 1 funcref) (table 1 funcref) (table 1 funcref) (table 1 funcref)

;;; a memory that begins with 16 MiB
;;: accepted
;;: memory 256

;;; other exports are ignored
;;: accepted
(func (export "main") (result i32) (i32.const 1))
(global (export "__heap_base") i32 (i32.const 1024))

;;; the functions of streams
;;: accepted
(func (export "starlane:mechtron/stream-actor@1.0.0#part") (param i64 i32 i32))
(func (export "starlane:mechtron/stream-actor@1.0.0#ended") (param i64 i32 i32 i32 i32 i32 i32))
(func (export "starlane:mechtron/stream-actor@1.0.0#ready") (param i64 i32))

;;; garbage collection: a struct
;;: refused gc
(type $s (struct (field i32)))
(func (drop (struct.new_default $s)))

;;; garbage collection: an array
;;: refused gc
(type $a (array i8))
(func (drop (array.new_default $a (i32.const 1000000000))))

;;; garbage collection: a small integer as a reference
;;: refused gc
(func (drop (ref.i31 (i32.const 1))))

;;; references to host values: a table
;;: refused gc types
(table 1 externref)

;;; references to host values: a parameter
;;: refused gc types
(func (param externref))

;;; typed references to functions
;;: refused
(type $f (func))
(func (param (ref null $f)) (call_ref $f (local.get 0)))

;;; exceptions: `throw`
;;: refused exceptions
(tag $t)
(func (throw $t))

;;; exceptions: `try_table`
;;: refused exceptions
(tag $t)
(func (block $caught (try_table (catch_all $caught) (unreachable))))

;;; exceptions, as an exported tag
;;: refused exceptions
(tag (export "t"))

;;; exceptions in their first form: `try` and `catch_all`
;;: refused exceptions
(func try unreachable catch_all end)

;;; exceptions in their first form: `delegate`
;;: refused exceptions
(func try try unreachable delegate 0 catch_all end)

;;; threads: an atomic load
;;: refused threads
(func (drop (i32.atomic.load (i32.const 0))))

;;; threads: `memory.atomic.wait32`
;;: refused threads
(func (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1))))

;;; threads: a fence
;;: refused threads
(func (atomic.fence))

;;; shared memory
;;: refused threads
;;: memory 1 1 shared

;;; memory64
;;: refused memory64
;;: memory i64 1

;;; a table with 64-bit indexes
;;: refused memory64
(table i64 1 funcref)

;;; a second memory
;;: refused multi
(memory $second 1)

;;; a custom page size
;;: refused custom
;;: memory 1 (pagesize 0x1)

;;; wide arithmetic
;;: refused wide arithmetic
(func (result i64 i64) (i64.mul_wide_u (i64.const 1) (i64.const 2)))

;;; relaxed SIMD
;;: refused relaxed
(func (drop (i32x4.relaxed_trunc_f32x4_s (v128.const i32x4 0 0 0 0))))

;;; relaxed SIMD: a fused multiplication
;;: refused relaxed
(func (param v128) (drop (f32x4.relaxed_madd (local.get 0) (local.get 0) (local.get 0))))

;;; a start section
;;: refused start section
(func $begin)
(start $begin)

;;; too many bytes
;;: refused the maximum is 8388608
;;: repeat 8388608 x
(@custom "fill" "{}")

;;; too many functions
;;: refused the maximum is 50000
;;: repeat 50001 (func)
{}

;;; too many tables
;;: refused the maximum is 4
(table 1 funcref) (table 1 funcref) (table 1 funcref) (table 1 funcref) (table 1 funcref)

;;; a table that is too long
;;: refused the maximum is 10000
(table 10001 funcref)

;;; a table that grows without a maximum
;;: refused table 1 grows; declare it with a maximum of at most 10000
(table 1 10000 funcref)
(table $t 1 funcref)
(func (drop (table.grow $t (ref.null func) (i32.const 1))))

;;; a table that grows beyond the longest
;;: refused table 0 grows; declare it with a maximum of at most 10000
(table $t 1 10001 funcref)
(func (drop (table.grow $t (ref.null func) (i32.const 1))))

;;; a memory that begins above its limit
;;: refused its limit is 16777216
;;: memory 257

;;; a memory beyond 4 GiB
;;: refused memory
;;: memory 65537

;;; a function with too many variables
;;: refused function-locals
;;: repeat 10001 i32
(func (local {}))

;;; a function that is too long
;;: refused function-bytes
;;: repeat 262144 nop
(func {})

;;; a function with too many blocks
;;: refused function-branches
;;: repeat 16385 (block)
(func {})

;;; loops that are too deep
;;: refused function-loop-depth
;;: repeat 65 loop
(func {} unreachable end end end end end end end end end end end end end end end end end end end end end end end end end end end end
  end end end end end end end end end end end end end end end end end end end end end end end end end end end end end end end end end
  end end end end)

;;; a function that moves too many values
;;: refused function-moves
;;: repeat 9000 (loop)
(func (local i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)
  (local i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)
  (local i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)
  (local i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)
  {})

;;; without its memory
;;: refused the export `memory` is missing
;;: without memory

;;; without its allocator
;;: refused the export `cabi_realloc` is missing
;;: without cabi_realloc

;;; without `start`
;;: refused the export `starlane:mechtron/actor@1.0.0#start` is missing
;;: without starlane:mechtron/actor@1.0.0#start

;;; without `receive`
;;: refused the export `starlane:mechtron/actor@1.0.0#receive` is missing
;;: without starlane:mechtron/actor@1.0.0#receive

;;; without `settle`
;;: refused the export `starlane:mechtron/actor@1.0.0#settle` is missing
;;: without starlane:mechtron/actor@1.0.0#settle

;;; without `wake`
;;: refused the export `starlane:mechtron/actor@1.0.0#wake` is missing
;;: without starlane:mechtron/actor@1.0.0#wake

;;; without `save`
;;: refused the export `starlane:mechtron/actor@1.0.0#save` is missing
;;: without starlane:mechtron/actor@1.0.0#save

;;; `memory` that is a global
;;: refused the export `memory` has another type
;;: without memory
(global (export "memory") i32 (i32.const 0))

;;; an allocator with too few parameters
;;: refused the export `cabi_realloc` has another type
;;: without cabi_realloc
(func (export "cabi_realloc") (param i32 i32 i32) (result i32) (i32.const 0))

;;; an allocator of 64-bit addresses
;;: refused the export `cabi_realloc` has another type
;;: without cabi_realloc
(func (export "cabi_realloc") (param i64 i64 i64 i64) (result i64) (i64.const 0))

;;; `start` without a result
;;: refused #start` has another type
;;: without starlane:mechtron/actor@1.0.0#start
(func (export "starlane:mechtron/actor@1.0.0#start") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32))

;;; `receive` of numbers with a fraction
;;: refused #receive` has another type
;;: without starlane:mechtron/actor@1.0.0#receive
(func (export "starlane:mechtron/actor@1.0.0#receive") (param f32))

;;; `settle` that is a global
;;: refused #settle` has another type
;;: without starlane:mechtron/actor@1.0.0#settle
(global (export "starlane:mechtron/actor@1.0.0#settle") i32 (i32.const 0))

;;; `wake` of a number of 32 bits
;;: refused #wake` has another type
;;: without starlane:mechtron/actor@1.0.0#wake
(func (export "starlane:mechtron/actor@1.0.0#wake") (param i32))

;;; `save` that is a table
;;: refused #save` has another type
;;: without starlane:mechtron/actor@1.0.0#save
(table (export "starlane:mechtron/actor@1.0.0#save") 1 funcref)

;;; `receive` without a stream
;;: refused #receive` has another type
;;: without starlane:mechtron/actor@1.0.0#receive
(func (export "starlane:mechtron/actor@1.0.0#receive")
  (param i64 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 1))

;;; `settle` without a stream
;;: refused #settle` has another type
;;: without starlane:mechtron/actor@1.0.0#settle
(func (export "starlane:mechtron/actor@1.0.0#settle") (param i64 i32 i32 i32 i32 i32 i32 i32))

;;; one function of streams
;;: refused has the export `starlane:mechtron/stream-actor@1.0.0#part` but not `starlane:mechtron/stream-actor@1.0.0#ended`
(func (export "starlane:mechtron/stream-actor@1.0.0#part") (param i64 i32 i32))

;;; two functions of streams
;;: refused has the export `starlane:mechtron/stream-actor@1.0.0#ended` but not `starlane:mechtron/stream-actor@1.0.0#part`
(func (export "starlane:mechtron/stream-actor@1.0.0#ended") (param i64 i32 i32 i32 i32 i32 i32))
(func (export "starlane:mechtron/stream-actor@1.0.0#ready") (param i64 i32))

;;; `part` with a result
;;: refused #part` has another type
(func (export "starlane:mechtron/stream-actor@1.0.0#part") (param i64 i32 i32) (result i32) (i32.const 0))
(func (export "starlane:mechtron/stream-actor@1.0.0#ended") (param i64 i32 i32 i32 i32 i32 i32))
(func (export "starlane:mechtron/stream-actor@1.0.0#ready") (param i64 i32))

;;; `ended` without an error
;;: refused #ended` has another type
(func (export "starlane:mechtron/stream-actor@1.0.0#part") (param i64 i32 i32))
(func (export "starlane:mechtron/stream-actor@1.0.0#ended") (param i64))
(func (export "starlane:mechtron/stream-actor@1.0.0#ready") (param i64 i32))

;;; `ready` that is a global
;;: refused #ready` has another type
(func (export "starlane:mechtron/stream-actor@1.0.0#part") (param i64 i32 i32))
(func (export "starlane:mechtron/stream-actor@1.0.0#ended") (param i64 i32 i32 i32 i32 i32 i32))
(global (export "starlane:mechtron/stream-actor@1.0.0#ready") i32 (i32.const 0))

;;; `_initialize` with a parameter
;;: refused the export `_initialize` has another type
(func (export "_initialize") (param i32))

;;; `cabi_post_…` with a result
;;: refused #start` has another type
(func (export "cabi_post_starlane:mechtron/actor@1.0.0#start") (param i32) (result i32) (i32.const 0))

;;; an import from WASI
;;: refused the import `fd_write` of `wasi_snapshot_preview1`
;;: first
(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))

;;; an import from a page
;;: refused the import `eval` of `env`
;;: first
(import "env" "eval" (func (param i32 i32)))

;;; an import that the interface does not have
;;: refused the import `steal` of `starlane:mechtron/mesh@1.0.0`
;;: first
(import "starlane:mechtron/mesh@1.0.0" "steal" (func))

;;; an import from another version of the interface
;;: refused the import `notify` of `starlane:mechtron/mesh@2.0.0`
;;: first
(import "starlane:mechtron/mesh@2.0.0" "notify" (func (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64)))

;;; an import with another signature
;;: refused the import `random` has another signature
;;: first
(import "starlane:mechtron/mesh@1.0.0" "random" (func (result i32)))

;;; a message that cannot carry a stream
;;: refused the import `notify` has another signature
;;: first
(import "starlane:mechtron/mesh@1.0.0" "notify" (func (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))

;;; an import of streams with another signature
;;: refused the import `write` has another signature
;;: first
(import "starlane:mechtron/mesh@1.0.0" "write" (func (param i64 i32 i32)))

;;; an import that is a global
;;: refused the import `random` has another signature
;;: first
(import "starlane:mechtron/mesh@1.0.0" "random" (global i64))

;;; memory that is imported
;;: refused the import `memory` of `env`
;;: without memory
;;: first
(import "env" "memory" (memory 1))

;;; a string that the engine would make
;;: refused the import `length` of `wasm:js-string`
;;: first
(import "wasm:js-string" "length" (func (param i32) (result i32)))

;;; memory that is imported and exported
;;: refused the import `memory` of `env`
;;: without memory
;;: first
(import "env" "memory" (memory $m 1))
(export "memory" (memory $m))

;;; an instruction that does not fit its types
;;: refused type mismatch
(func (result i32) (i64.const 1))
