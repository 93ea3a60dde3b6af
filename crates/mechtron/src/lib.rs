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
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use actor::{Actor, IntoOutcome, Saved};
pub use context::{Call, Context, Kind};
pub use failure::{Failure, Outcome};
pub use key::{KeyError, key, unkey};
pub use payload::{Bytes, FromPayload, Header, Html, IntoPayload, Json, Payload, Text};
pub use request::{Request, Sleep, join, join_all};
pub use starlane_mechtron_macros::actor;

/// Items for the code that `#[actor]` and [`export!`] generate. They are not a public interface.
#[doc(hidden)]
pub mod macros {
    pub use crate::actor::{Starter, fresh, restore, snapshot, starter};

    /// The mechtrons of a module, by name.
    pub trait Module: 'static {
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
#[macro_export]
macro_rules! export {
    ($($name:literal => $actor:ty),+ $(,)?) => {
        const _: () = {
            #[allow(dead_code)] // used by the exports, which exist only on wasm32
            struct Mechtrons;
            impl $crate::macros::Module for Mechtrons {
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
    };
}
