//! The exported functions of a guest, with their types.

use starlane_abi::{layout, names};
use starlane_node::guest::{GuestCall, Kind};
use starlane_protocol::Message;
use wasmtime::{AsContextMut, Instance, Result, Store, TypedFunc, WasmParams, WasmResults};

use super::state::GuestState;

type Pair = (u32, u32);
/// Address, mechtron, settings; case, format and data of the saved state.
type StartParams = (u32, u32, u32, u32, u32, u32, u32, u32, u32, u32);
/// Id, kind; sender, caller, operation; the payload and its stream; remaining milliseconds.
type ReceiveParams = (u64, i32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u64, u32);
/// The request; case, value and stream of its outcome.
type SettleParams = (u64, i32, u32, u32, u32, u32, u32, u32, u64);
/// The stream; case and value of its error.
type EndedParams = (u64, i32, u32, u32, u32, u32, u32);

/// The exports that calls need.
pub(super) struct Exports {
    pub(super) realloc: TypedFunc<(u32, u32, u32, u32), u32>,
    pub(super) start: TypedFunc<StartParams, u32>,
    pub(super) receive: TypedFunc<ReceiveParams, i32>,
    pub(super) settle: TypedFunc<SettleParams, ()>,
    pub(super) wake: TypedFunc<u64, ()>,
    pub(super) save: TypedFunc<(), u32>,
    pub(super) post_start: Option<TypedFunc<u32, ()>>,
    pub(super) post_save: Option<TypedFunc<u32, ()>>,
    pub(super) streams: Option<StreamExports>,
}

/// The exports of a guest that reads or writes streams.
pub(super) struct StreamExports {
    pub(super) part: TypedFunc<(u64, u32, u32), ()>,
    pub(super) ended: TypedFunc<EndedParams, ()>,
    pub(super) ready: TypedFunc<(u64, u32), ()>,
}

impl Exports {
    /// Finds the exports of an instance, whose module has been checked.
    pub(super) fn of(instance: &Instance, store: &mut Store<GuestState>) -> Result<Self> {
        Ok(Self {
            realloc: instance.get_typed_func(&mut *store, names::REALLOC)?,
            start: instance.get_typed_func(&mut *store, names::START)?,
            receive: instance.get_typed_func(&mut *store, names::RECEIVE)?,
            settle: instance.get_typed_func(&mut *store, names::SETTLE)?,
            wake: instance.get_typed_func(&mut *store, names::WAKE)?,
            save: instance.get_typed_func(&mut *store, names::SAVE)?,
            post_start: optional(instance, &mut *store, names::POST_START)?,
            post_save: optional(instance, &mut *store, names::POST_SAVE)?,
            streams: match instance.get_func(&mut *store, names::PART) {
                Some(_) => Some(StreamExports {
                    part: instance.get_typed_func(&mut *store, names::PART)?,
                    ended: instance.get_typed_func(&mut *store, names::ENDED)?,
                    ready: instance.get_typed_func(store, names::READY)?,
                }),
                None => None,
            },
        })
    }
}

/// An exported function, if there is one of this name.
pub(super) fn optional<P: WasmParams, R: WasmResults>(
    instance: &Instance,
    mut store: impl AsContextMut,
    name: &str,
) -> Result<Option<TypedFunc<P, R>>> {
    instance.get_func(&mut store, name).map(|function| function.typed(&store)).transpose()
}

/// The parameters of `receive`.
pub(super) fn receive_params(
    id: u64,
    message: &Message,
    sender: Pair,
    caller: Pair,
    operation: Pair,
    payload: [u32; 6],
) -> ReceiveParams {
    let kind = match message.kind {
        Kind::Request => layout::kind::REQUEST,
        Kind::Notify => layout::kind::NOTIFY,
        Kind::Event => layout::kind::EVENT,
    };
    let [a, b, c, d, e, f] = payload;
    let ((from, from_length), (whose, whose_length), (what, what_length)) = (sender, caller, operation);
    let stream = message.payload.stream.as_ref().map_or(0, |stream| stream.id.0);
    (
        id,
        kind,
        from,
        from_length,
        whose,
        whose_length,
        what,
        what_length,
        a,
        b,
        c,
        d,
        e,
        f,
        stream,
        message.remaining_ms,
    )
}

/// The name of a call, for people.
pub(super) fn name_of(call: &GuestCall) -> &'static str {
    match call {
        GuestCall::Start(_) => "start",
        GuestCall::Receive { .. } => "receive",
        GuestCall::Settle { .. } => "settle",
        GuestCall::Wake { .. } => "wake",
        GuestCall::Save => "save",
        GuestCall::Part { .. } => "part",
        GuestCall::Ended { .. } => "ended",
        GuestCall::Ready { .. } => "ready",
    }
}
