//! Writes the implementation of `mechtron::Actor`.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{Ident, spanned::Spanned};

use crate::parse::{Handler, Parsed};

pub(crate) fn expand(parsed: &Parsed) -> TokenStream {
    let block = &parsed.item;
    let actor = &block.self_ty;
    let (generics, _, bounds) = block.generics.split_for_impl();
    let topics =
        parsed.events.iter().filter_map(|(topic, _)| topic.as_ref()).filter(|topic| !topic.value().starts_with('#'));
    let has_streams = parsed.has_streams;
    let (start, save) = (start(parsed), save(parsed));
    let (operations, events, wake) = (operations(parsed), events(parsed), wake(parsed));
    quote! {
        #block

        #[automatically_derived]
        impl #generics ::mechtron::Actor for #actor #bounds {
            const TOPICS: &'static [&'static str] = &[#(#topics),*];
            const STREAMS: bool = #has_streams;

            fn start(
                context: &::mechtron::Context,
                saved: ::core::option::Option<::mechtron::Saved>,
            ) -> ::core::result::Result<Self, ::std::string::String> {
                #start
            }

            #[allow(unused_variables, clippy::unit_arg, clippy::let_unit_value)]
            async fn handle(&mut self, call: &::mechtron::Call, payload: ::mechtron::Payload) -> ::mechtron::Outcome {
                match call.kind() {
                    ::mechtron::Kind::Request | ::mechtron::Kind::Notify => { #operations }
                    ::mechtron::Kind::Event => { #events }
                    ::mechtron::Kind::Wake(token) => { #wake }
                }
            }

            fn save(&self) -> ::core::result::Result<::mechtron::Saved, ::std::string::String> {
                #save
            }
        }
    }
}

fn start(parsed: &Parsed) -> TokenStream {
    let actor = &parsed.item.self_ty;
    let anew = match &parsed.start {
        Some(start) => {
            let function = &start.function;
            let context = start.takes_context.then(|| quote!(context));
            quote_spanned!(function.span()=> <#actor>::#function(#context))
        }
        // Points to the type: "the trait bound `Counter: Default` is not satisfied".
        None => {
            quote_spanned!(actor.span()=> ::core::result::Result::Ok(<#actor as ::core::default::Default>::default()))
        }
    };
    let restored = match &parsed.format {
        Some(format) => {
            let migrate = match &parsed.migrate {
                Some(migrate) => quote!(::core::option::Option::Some(<#actor>::#migrate)),
                None => quote!(::core::option::Option::None),
            };
            quote_spanned!(actor.span()=> ::mechtron::macros::restore::<#actor>(saved, #format, #migrate))
        }
        None => quote! {
            ::core::result::Result::Err(::std::format!(
                "there is saved state of format {}, but this version saves no state: add `#[actor(format = …)]`",
                saved.format,
            ))
        },
    };
    quote! {
        match ::mechtron::macros::fresh(saved) {
            ::core::option::Option::None => #anew,
            ::core::option::Option::Some(saved) => #restored,
        }
    }
}

fn save(parsed: &Parsed) -> TokenStream {
    let actor = &parsed.item.self_ty;
    match &parsed.format {
        Some(format) => quote_spanned!(actor.span()=> ::mechtron::macros::snapshot::<#actor>(self, #format)),
        None => quote!(::core::result::Result::Ok(::core::default::Default::default())),
    }
}

fn operations(parsed: &Parsed) -> TokenStream {
    let names: Vec<_> = parsed.operations.iter().map(|(name, _)| name).collect();
    let arms = parsed.operations.iter().map(|(name, handler)| {
        let handled = with_payload(handler);
        quote!(#name => { #handled })
    });
    quote! {
        match call.operation() {
            #(#arms)*
            asked => ::core::result::Result::Err(::mechtron::Failure::no_operation(asked, &[#(#names),*])),
        }
    }
}

fn events(parsed: &Parsed) -> TokenStream {
    let named = parsed.events.iter().filter_map(|(topic, handler)| {
        let (topic, handled) = (topic.as_ref()?, with_payload(handler));
        Some(quote!(if call.is_of(#topic) { #handled } else))
    });
    let other = match parsed.events.iter().find(|(topic, _)| topic.is_none()) {
        Some((_, handler)) => with_payload(handler),
        None => quote! {
            ::core::result::Result::Err(::mechtron::Failure::new(404, "no-operation", "this mechtron does not handle that event"))
        },
    };
    quote!(#(#named)* { #other })
}

fn wake(parsed: &Parsed) -> TokenStream {
    match &parsed.wake {
        Some(handler) => match &handler.takes {
            Some(takes) => {
                let token = quote_spanned!(takes.span()=> ::core::convert::Into::<#takes>::into(token));
                invoke(handler, Some(token))
            }
            None => invoke(handler, None),
        },
        None => quote!(::core::result::Result::Ok(::core::default::Default::default())),
    }
}

/// Reads the payload as the type that the method takes, then calls it.
fn with_payload(handler: &Handler) -> TokenStream {
    let Some(takes) = &handler.takes else { return invoke(handler, None) };
    // Errors about the type point to its place in the author's code.
    let read = quote_spanned!(takes.span()=> ::mechtron::Call::read::<#takes>(payload));
    let body = Ident::new("body", Span::mixed_site());
    let call = invoke(handler, Some(quote!(#body)));
    quote! {
        match #read {
            ::core::result::Result::Ok(#body) => { #call }
            ::core::result::Result::Err(failure) => ::core::result::Result::Err(failure),
        }
    }
}

fn invoke(handler: &Handler, argument: Option<TokenStream>) -> TokenStream {
    let method = &handler.method;
    let call = handler.takes_call.then(|| quote!(call,));
    let wait = handler.is_async.then(|| quote!(.await));
    let returned = Ident::new("returned", handler.returns);
    let called = quote_spanned!(method.span()=> Self::#method(self, #call #argument) #wait);
    quote_spanned! {handler.returns=> {
        let #returned = #called;
        ::mechtron::IntoOutcome::into_outcome(#returned)
    }}
}
