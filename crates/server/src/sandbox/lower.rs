//! Writes values into a guest's memory. The guest allocates and owns each string and list.

use starlane_abi::layout::{BYTES_ALIGN, HEADER_ALIGN, HEADER_SIZE, option, outcome};
use starlane_protocol::{Failure, Outcome, Payload};
use wasmtime::{Memory, Result, Store, Trap, TypedFunc};

use super::{
    fault::{GuestFault, describe},
    state::GuestState,
};

/// Writes values into a guest.
pub(super) struct Lower<'a> {
    pub(super) store: &'a mut Store<GuestState>,
    pub(super) memory: Memory,
    pub(super) realloc: &'a TypedFunc<(u32, u32, u32, u32), u32>,
}

impl Lower<'_> {
    /// Allocates memory in the guest, and checks the bounds and the alignment of the result.
    async fn allocate(&mut self, align: u32, size: usize) -> Result<u32> {
        let size = u32::try_from(size)
            .map_err(|_| GuestFault::Broken("a value is 4 GiB or longer, which no guest can hold".to_owned()))?;
        let allocated = self.realloc.call_async(&mut *self.store, (0, 0, align, size)).await;
        let pointer = allocated.map_err(|error| match error.downcast_ref::<Trap>() {
            // Allocators without memory end with this trap.
            Some(Trap::UnreachableCodeReached) => {
                let what = format!("it has no memory for {size} bytes more: `cabi_realloc`: {}", describe(&error));
                GuestFault::NoMemory(what).into()
            }
            _ => error,
        })?;
        let end = u64::from(pointer) + u64::from(size);
        let held = self.memory.data_size(&*self.store) as u64;
        let gave =
            || format!("`cabi_realloc` gave {pointer} for {size} bytes aligned to {align}, and memory has {held}");
        if !pointer.is_multiple_of(align) {
            return Err(GuestFault::Broken(gave()).into());
        }
        if end > held {
            return Err(GuestFault::NoMemory(gave()).into());
        }
        Ok(pointer)
    }

    /// Writes a string or a list of bytes.
    pub(super) async fn bytes(&mut self, bytes: &[u8]) -> Result<(u32, u32)> {
        if bytes.is_empty() {
            return Ok((BYTES_ALIGN, 0));
        }
        let pointer = self.allocate(BYTES_ALIGN, bytes.len()).await?;
        self.memory.write(&mut *self.store, pointer as usize, bytes)?;
        Ok((pointer, bytes.len() as u32))
    }

    async fn headers(&mut self, headers: &[(String, String)]) -> Result<(u32, u32)> {
        if headers.is_empty() {
            return Ok((HEADER_ALIGN, 0));
        }
        let mut records = Vec::with_capacity(headers.len() * HEADER_SIZE as usize);
        let pointer = self.allocate(HEADER_ALIGN, records.capacity()).await?;
        for (name, value) in headers {
            for (at, length) in [self.bytes(name.as_bytes()).await?, self.bytes(value.as_bytes()).await?] {
                records.extend_from_slice(&at.to_le_bytes());
                records.extend_from_slice(&length.to_le_bytes());
            }
        }
        self.memory.write(&mut *self.store, pointer as usize, &records)?;
        Ok((pointer, headers.len() as u32))
    }

    /// Writes content type, headers and body, flattened. The body is usually longest and comes first: if there is no
    /// memory for it, nothing was allocated before.
    pub(super) async fn payload(&mut self, payload: &Payload) -> Result<[u32; 6]> {
        let (body_at, body_length) = self.bytes(&payload.body).await?;
        let (headers_at, headers_count) = self.headers(&payload.headers).await?;
        let (type_at, type_length) = self.bytes(payload.content_type.as_bytes()).await?;
        Ok([type_at, type_length, headers_at, headers_count, body_at, body_length])
    }

    /// Writes an outcome: its case, and a flattened payload or failure.
    pub(super) async fn outcome(&mut self, outcome: &Outcome) -> Result<(i32, [u32; 6])> {
        match outcome {
            Ok(payload) => Ok((outcome::SUCCESS, self.payload(payload).await?)),
            Err(failure) => {
                let [a, b, c, d, e] = self.failure(failure).await?;
                Ok((outcome::FAILURE, [a, b, c, d, e, 0]))
            }
        }
    }

    /// Writes the error of a stream: its case, and a flattened failure.
    pub(super) async fn error(&mut self, error: Option<&Failure>) -> Result<(i32, [u32; 5])> {
        match error {
            Some(failure) => Ok((option::SOME, self.failure(failure).await?)),
            None => Ok((option::NONE, [0; 5])),
        }
    }

    async fn failure(&mut self, failure: &Failure) -> Result<[u32; 5]> {
        let (message_at, message_length) = self.bytes(failure.message.as_bytes()).await?;
        let (code_at, code_length) = self.bytes(failure.code.as_bytes()).await?;
        Ok([u32::from(failure.status), code_at, code_length, message_at, message_length])
    }
}
