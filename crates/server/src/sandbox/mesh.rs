//! The imports of guests. They read, check and queue the guest's calls into the mesh. No import waits, or calls the
//! guest.

use std::time::{SystemTime, UNIX_EPOCH};

use starlane_abi::names::MESH;
use starlane_node::guest::GuestEffect;
use wasmtime::{Caller, Engine, Error, Linker, Result};

use super::{fault::GuestFault, lift::Lift, state::GuestState, streams::Streams};

type Guest<'a> = Caller<'a, GuestState>;

/// A linker with only the functions of the mesh.
pub(super) fn linker(engine: &Engine) -> Result<Linker<GuestState>> {
    let mut linker = Linker::new(engine);
    linker.func_wrap(
        MESH,
        "request",
        |mut guest: Guest<'_>,
         t: u32,
         tn: u32,
         o: u32,
         on: u32,
         a: u32,
         an: u32,
         h: u32,
         hn: u32,
         b: u32,
         bn: u32,
         stream: u64,
         timeout_ms: u32| {
            let id = guest.data_mut().next_request();
            queue(&mut guest, "request", |lift, streams| {
                let (target, operation) = addressed(lift, (t, tn), (o, on))?;
                Ok(GuestEffect::Request {
                    id,
                    target,
                    operation,
                    payload: lift.payload([a, an, h, hn, b, bn], stream, streams)?,
                    timeout_ms,
                })
            })?;
            Ok(id)
        },
    )?;
    linker.func_wrap(
        MESH,
        "notify",
        |mut guest: Guest<'_>,
         t: u32,
         tn: u32,
         o: u32,
         on: u32,
         a: u32,
         an: u32,
         h: u32,
         hn: u32,
         b: u32,
         bn: u32,
         stream: u64| {
            queue(&mut guest, "notify", |lift, streams| {
                let (target, operation) = addressed(lift, (t, tn), (o, on))?;
                Ok(GuestEffect::Notify {
                    target,
                    operation,
                    payload: lift.payload([a, an, h, hn, b, bn], stream, streams)?,
                })
            })
        },
    )?;
    linker.func_wrap(
        MESH,
        "reply",
        |mut guest: Guest<'_>, id: u64, case: i32, a: u32, b: u32, c: u32, d: u32, e: u32, f: u32, stream: u64| {
            queue(&mut guest, "reply", |lift, streams| {
                Ok(GuestEffect::Reply { id, outcome: lift.outcome(case, [a, b, c, d, e, f], stream, streams)? })
            })
        },
    )?;
    linker.func_wrap(
        MESH,
        "emit",
        |mut guest: Guest<'_>, e: u32, en: u32, a: u32, an: u32, h: u32, hn: u32, b: u32, bn: u32, stream: u64| {
            queue(&mut guest, "emit", |lift, streams| {
                if stream != 0 {
                    return Err(GuestFault::Broken("an event cannot carry a stream".to_owned()));
                }
                let event = lift.text("the event", (e, en))?;
                Ok(GuestEffect::Emit { event, payload: lift.payload([a, an, h, hn, b, bn], stream, streams)? })
            })
        },
    )?;
    linker.func_wrap(MESH, "subscribe", |mut guest: Guest<'_>, t: u32, tn: u32| {
        queue(&mut guest, "subscribe", |lift, _| Ok(GuestEffect::Subscribe { topic: lift.text("the topic", (t, tn))? }))
    })?;
    linker.func_wrap(MESH, "unsubscribe", |mut guest: Guest<'_>, t: u32, tn: u32| {
        queue(&mut guest, "unsubscribe", |lift, _| {
            Ok(GuestEffect::Unsubscribe { topic: lift.text("the topic", (t, tn))? })
        })
    })?;
    linker.func_wrap(MESH, "wake-after", |mut guest: Guest<'_>, delay_ms: u32, token: u64| {
        queue(&mut guest, "wake-after", |_, _| Ok(GuestEffect::WakeAfter { delay_ms, token }))
    })?;
    linker.func_wrap(MESH, "wake-at", |mut guest: Guest<'_>, unix_ms: u64, token: u64| {
        queue(&mut guest, "wake-at", |_, _| Ok(GuestEffect::WakeAt { unix_ms, token }))
    })?;
    add_streams(&mut linker)?;
    linker.func_wrap(MESH, "log", |mut guest: Guest<'_>, level: i32, t: u32, tn: u32| {
        with_memory(&mut guest, "log", |state, memory| state.log(memory, level, (t, tn)))
    })?;
    linker.func_wrap(MESH, "now-ms", || -> u64 {
        // A clock before 1970 is an error of the machine, not of the guest.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    })?;
    linker.func_wrap(MESH, "random", || {
        getrandom::u64().map_err(|error| Error::msg(format!("the system gives no random numbers: {error}")))
    })?;
    Ok(linker)
}

/// Adds the functions of streams. Those that do nothing queue nothing.
fn add_streams(linker: &mut Linker<GuestState>) -> Result<()> {
    linker.func_wrap(MESH, "open-stream", |mut guest: Guest<'_>| {
        let mut stream = 0;
        queue(&mut guest, "open-stream", |_, streams| {
            stream = streams.open();
            Ok(GuestEffect::OpenStream { stream })
        })?;
        Ok(stream)
    })?;
    linker.func_wrap(MESH, "write", |mut guest: Guest<'_>, stream: u64, b: u32, bn: u32| {
        let mut left = 0;
        queue_some(&mut guest, "write", |lift, streams| {
            let Some(credit) = streams.spend(stream, bn)? else { return Ok(None) };
            left = credit;
            let bytes = lift.bytes("the bytes", (b, bn))?;
            Ok((!bytes.is_empty()).then_some(GuestEffect::Write { stream, bytes }))
        })?;
        Ok(left)
    })?;
    linker.func_wrap(
        MESH,
        "finish",
        |mut guest: Guest<'_>, stream: u64, case: i32, a: u32, b: u32, c: u32, d: u32, e: u32| {
            queue_some(&mut guest, "finish", |lift, streams| {
                if !streams.finish(stream)? {
                    return Ok(None);
                }
                Ok(Some(GuestEffect::Finish { stream, error: lift.error(case, [a, b, c, d, e])? }))
            })
        },
    )?;
    linker.func_wrap(MESH, "grant", |mut guest: Guest<'_>, stream: u64, bytes: u32| {
        queue_some(&mut guest, "grant", |_, streams| {
            Ok((bytes > 0 && streams.is_read(stream)).then_some(GuestEffect::Grant { stream, bytes }))
        })
    })?;
    linker.func_wrap(MESH, "cancel-stream", |mut guest: Guest<'_>, stream: u64| {
        queue_some(&mut guest, "cancel-stream", |_, streams| {
            Ok(streams.cancel(stream).then_some(GuestEffect::CancelStream { stream }))
        })
    })?;
    Ok(())
}

fn addressed(lift: &mut Lift<'_>, target: (u32, u32), operation: (u32, u32)) -> Result<(String, String), GuestFault> {
    Ok((lift.text("the target", target)?, lift.text("the operation", operation)?))
}

fn queue(
    guest: &mut Guest<'_>,
    import: &str,
    read: impl FnOnce(&mut Lift<'_>, &mut Streams) -> Result<GuestEffect, GuestFault>,
) -> Result<()> {
    queue_some(guest, import, |lift, streams| read(lift, streams).map(Some))
}

/// Queues an effect, if the call has one.
fn queue_some(
    guest: &mut Guest<'_>,
    import: &str,
    read: impl FnOnce(&mut Lift<'_>, &mut Streams) -> Result<Option<GuestEffect>, GuestFault>,
) -> Result<()> {
    with_memory(guest, import, |state, memory| state.queue(memory, read))
}

fn with_memory(
    guest: &mut Guest<'_>,
    import: &str,
    work: impl FnOnce(&mut GuestState, &[u8]) -> Result<(), GuestFault>,
) -> Result<()> {
    let memory = guest.data().memory;
    let done = match memory {
        Some(memory) => {
            let (bytes, state) = memory.data_and_store_mut(guest);
            work(state, bytes)
        }
        // Only a start section could call this now, and modules with a start section are refused.
        None => Err(GuestFault::Broken("called while the instance was being made".to_owned())),
    };
    done.map_err(|fault| Error::new(fault.of_import(import)))
}
