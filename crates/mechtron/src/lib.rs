#![doc = include_str!("../README.md")]

mod actor;
mod context;
mod engine;
mod failure;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod guest;
mod key;
pub mod log;
mod mesh;
mod payload;
mod request;
mod stream;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use actor::{Actor, IntoOutcome, Saved};
pub use context::{Call, Context, Kind};
pub use failure::{Failure, Outcome};
pub use key::{KeyError, key, unkey};
pub use payload::{Body, Bytes, FromPayload, Header, Html, IntoPayload, Json, Payload, Text};
pub use request::{Request, Sleep, join, join_all};
pub use starlane_mechtron_macros::actor;
pub use stream::{Lines, LinesWriter, Stream, StreamWriter};

/// Items for the code that `#[actor]` and [`export!`] generate. They are not a public interface.
#[doc(hidden)]
pub mod macros {
    pub use crate::actor::{Starter, fresh, restore, snapshot, starter};

    /// The mechtrons of a module, by name.
    pub trait Module: 'static {
        /// Whether it exports what streams need.
        const STREAMS: bool;
        /// All names, for the error about an unknown name.
        const NAMES: &'static [&'static str];
        /// Returns the function that starts the mechtron with this name.
        fn starter(name: &str) -> Option<Starter>;
    }
}

/// Makes a module from the crate, which hosts can run, and names its mechtrons.
///
/// ```
/// # use mechtron::{actor, Text};
/// #[derive(Default)]
/// struct Greeter;
///
/// #[actor]
/// impl Greeter {
///     #[operation]
///     fn greet(&self, Text(name): Text) -> Text {
///         Text(format!("Hello, {name}!"))
///     }
/// }
///
/// mechtron::export! { "greeter" => Greeter }
/// ```
///
/// A module with [`Stream`]s says so first, because it then has more exports and code than others:
///
/// ```
/// # use mechtron::{actor, Stream};
/// # #[derive(Default)]
/// # struct Mirror;
/// # #[actor]
/// # impl Mirror {
/// #     #[operation]
/// #     fn mirror(&self, body: Stream) -> Stream {
/// #         body
/// #     }
/// # }
/// mechtron::export! { streams; "mirror" => Mirror }
/// ```
///
/// Without `streams;`, a module with such an operation does not compile:
///
/// ```compile_fail,E0080
/// # use mechtron::{actor, Stream};
/// # #[derive(Default)]
/// # struct Mirror;
/// # #[actor]
/// # impl Mirror {
/// #     #[operation]
/// #     fn mirror(&self, body: Stream) -> Stream {
/// #         body
/// #     }
/// # }
/// mechtron::export! { "mirror" => Mirror }
/// ```
#[macro_export]
macro_rules! export {
    (streams; $($name:literal => $actor:ty),+ $(,)?) => {
        const _: () = {
            $crate::export! { @module true, $($name => $actor),+ }
            #[cfg(target_arch = "wasm32")]
            $crate::guest::streams::export_streams!(Mechtrons with_types_in $crate::guest::streams);
        };
    };
    ($($name:literal => $actor:ty),+ $(,)?) => {
        const _: () = {
            $crate::export! { @module false, $($name => $actor),+ }
            $(
                ::core::assert!(
                    !<$actor as $crate::Actor>::STREAMS,
                    ::core::concat!("`", $name, "` has an operation with a stream: write `mechtron::export! {{ streams; … }}`"),
                );
            )+
        };
    };
    (@module $streams:literal, $($name:literal => $actor:ty),+) => {
        #[allow(dead_code)] // used by the exports, which exist only on wasm32
        struct Mechtrons;
        impl $crate::macros::Module for Mechtrons {
            const STREAMS: bool = $streams;
            const NAMES: &'static [&'static str] = &[$($name),+];
            fn starter(name: &str) -> ::core::option::Option<$crate::macros::Starter> {
                match name {
                    $($name => ::core::option::Option::Some($crate::macros::starter::<$actor>()),)+
                    _ => ::core::option::Option::None,
                }
            }
        }
        #[cfg(target_arch = "wasm32")]
        $crate::guest::export_module!(Mechtrons with_types_in $crate::guest);
    };
}
