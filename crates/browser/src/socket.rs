//! WebSockets of the browser.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_channel::{mpsc, oneshot};
use futures_util::{Stream, StreamExt, future::LocalBoxFuture};
use js_sys::{ArrayBuffer, Uint8Array};
use starlane_host::ports::{Dialer, SOCKET_ROOM, Socket, SocketSink};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use web_sys::{BinaryType, CloseEvent, Event, MessageEvent, WebSocket};

use crate::{failure, time::wait};

/// The subprotocol of links.
const PROTOCOL: &str = "starlane.v1";
/// The maximum pause between two polls of a full socket.
const MAX_POLL_MS: u64 = 16;

/// Opens WebSockets with the browser's own API.
#[derive(Debug, Clone, Copy, Default)]
pub struct WebSocketDialer;

impl Dialer for WebSocketDialer {
    fn dial(&self, url: &str) -> LocalBoxFuture<'static, Result<Socket, String>> {
        let url = url.to_owned();
        Box::pin(async move {
            let (opened, is_open) = oneshot::channel();
            let (connection, messages) = Connection::open(&url, opened)?;
            // The sender is dropped only with the connection.
            is_open.await.unwrap_or_else(|_| Err("the WebSocket was dropped".into()))?;
            let connection = Rc::new(connection);
            let incoming = Incoming { messages, _connection: Rc::clone(&connection) };
            Ok(Socket { sink: Box::new(Sink(connection)), incoming: incoming.boxed_local() })
        })
    }
}

type Opened = oneshot::Sender<Result<(), String>>;

/// A WebSocket and its callbacks. Dropping it closes the socket and removes the callbacks.
struct Connection {
    socket: WebSocket,
    _on_open: Closure<dyn FnMut(Event)>,
    _on_message: Closure<dyn FnMut(MessageEvent)>,
    _on_close: Closure<dyn FnMut(CloseEvent)>,
}

impl Connection {
    fn open(url: &str, opened: Opened) -> Result<(Self, mpsc::UnboundedReceiver<Bytes>), String> {
        let socket = WebSocket::new_with_str(url, PROTOCOL).map_err(|error| failure::text(&error))?;
        socket.set_binary_type(BinaryType::Arraybuffer);
        let opened = Rc::new(Cell::new(Some(opened)));
        let (sender, messages) = mpsc::unbounded();
        let sender = Rc::new(RefCell::new(sender));

        let to_open = Rc::clone(&opened);
        let on_open = Closure::<dyn FnMut(Event)>::new(move |_| {
            if let Some(opened) = to_open.take() {
                let _ = opened.send(Ok(()));
            }
        });
        let (messages_in, own) = (Rc::clone(&sender), socket.clone());
        let on_message = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
            match event.data().dyn_into::<ArrayBuffer>() {
                Ok(buffer) => {
                    let bytes = Bytes::from(Uint8Array::new(&buffer).to_vec());
                    let _ = messages_in.borrow().unbounded_send(bytes);
                }
                // Links carry only binary messages.
                Err(_) => drop(own.close_with_code_and_reason(4000, "text on a binary link")),
            }
        });
        let called = url.to_owned();
        let on_close = Closure::<dyn FnMut(CloseEvent)>::new(move |event: CloseEvent| {
            sender.borrow().close_channel();
            if let Some(opened) = opened.take() {
                let _ = opened.send(Err(not_opened(&called, &event)));
            }
        });
        socket.set_onopen(Some(on_open.as_ref().unchecked_ref()));
        socket.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        socket.set_onclose(Some(on_close.as_ref().unchecked_ref()));
        Ok((Self { socket, _on_open: on_open, _on_message: on_message, _on_close: on_close }, messages))
    }
}

/// The error of a WebSocket that did not open. A browser hides the reason, so that a page cannot explore the network.
fn not_opened(url: &str, event: &CloseEvent) -> String {
    let (code, reason) = (event.code(), event.reason());
    let why = if reason.is_empty() { String::new() } else { [": ", &reason].concat() };
    format!("no WebSocket to {url} (close code {code}{why}): check that the server runs and allows this page's origin")
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.socket.set_onopen(None);
        self.socket.set_onmessage(None);
        self.socket.set_onclose(None);
        let _ = self.socket.close();
    }
}

struct Incoming {
    messages: mpsc::UnboundedReceiver<Bytes>,
    /// Its callbacks feed the channel.
    _connection: Rc<Connection>,
}

impl Stream for Incoming {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.messages.poll_next_unpin(context)
    }
}

struct Sink(Rc<Connection>);

impl SocketSink for Sink {
    fn send(&self, message: Vec<u8>) {
        // Fails only on a closing socket, and then `incoming` ends.
        let _: Result<(), JsValue> = self.0.socket.send_with_u8_array(&message);
    }

    fn buffered(&self) -> usize {
        self.0.socket.buffered_amount() as usize
    }

    /// Browsers have no event for a socket with room. Polls it in the next task, then after growing pauses.
    fn room(&self) -> LocalBoxFuture<'static, ()> {
        let socket = self.0.socket.clone();
        Box::pin(async move {
            let mut pause = 0;
            // A closed socket still counts its unsent bytes as buffered.
            while socket.buffered_amount() as usize > SOCKET_ROOM {
                wait(pause).await;
                pause = (2 * pause).clamp(1, MAX_POLL_MS);
            }
        })
    }

    fn close(&self, code: u16, reason: &str) {
        // Browsers let pages use only 1000 and 3000 to 4999. For other codes the reason must suffice.
        let code = if code == 1000 || (3000..5000).contains(&code) { code } else { 4000 };
        let end = reason.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= 123).last();
        let reason = reason.get(..end.unwrap_or(0)).unwrap_or_default();
        let _ = self.0.socket.close_with_code_and_reason(code, reason);
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.0.socket.close();
    }
}
