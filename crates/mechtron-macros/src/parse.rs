//! Parses an `impl` block into handlers.

use std::collections::BTreeMap;

use proc_macro2::{Span, TokenStream};
use syn::{
    Attribute, Error, FnArg, Ident, ImplItem, ImplItemFn, ItemImpl, LitInt, LitStr, Meta, Result, ReturnType, Token,
    Type,
    parse::{Parse, ParseStream, Parser},
    spanned::Spanned,
};

use crate::streams;

/// The attributes that have a meaning only in `#[actor]`.
const ROLES: [&str; 5] = ["operation", "event", "wake", "start", "migrate"];

/// A parsed `impl` block.
pub(crate) struct Parsed {
    /// The block without our attributes.
    pub(crate) item: ItemImpl,
    /// `format = N`: the state is saved.
    pub(crate) format: Option<LitInt>,
    pub(crate) operations: Vec<(LitStr, Handler)>,
    /// The handlers of events. Without a topic, a handler gets all other events.
    pub(crate) events: Vec<(Option<LitStr>, Handler)>,
    pub(crate) wake: Option<Handler>,
    pub(crate) start: Option<Start>,
    pub(crate) migrate: Option<Ident>,
    /// An operation takes or returns a stream.
    pub(crate) has_streams: bool,
}

/// A method that handles messages.
pub(crate) struct Handler {
    pub(crate) method: Ident,
    pub(crate) is_async: bool,
    pub(crate) takes_call: bool,
    /// The type of its payload, if it takes one.
    pub(crate) takes: Option<Type>,
    /// The place of its return type, for errors about it.
    pub(crate) returns: Span,
}

/// The `#[start]` function.
pub(crate) struct Start {
    pub(crate) function: Ident,
    pub(crate) takes_context: bool,
}

impl Parsed {
    pub(crate) fn new(arguments: TokenStream, item: TokenStream) -> Result<Self> {
        let format = Arguments::parse.parse2(arguments)?.format;
        let mut item: ItemImpl = syn::parse2(item.clone()).map_err(|_| {
            let place = item.into_iter().next();
            let message = "`#[actor]` goes on the `impl` block with the operations, not on the type: `#[actor] impl Counter { … }`";
            place.map_or_else(|| Error::new(Span::call_site(), message), |token| Error::new(token.span(), message))
        })?;
        if let Some((_, path, _)) = &item.trait_ {
            return Err(Error::new_spanned(path, "`#[actor]` goes on the type's own `impl` block, without a trait"));
        }
        let mut parsed = Parsed {
            format,
            operations: Vec::new(),
            events: Vec::new(),
            wake: None,
            start: None,
            migrate: None,
            has_streams: false,
            item: item.clone(),
        };
        for member in &mut item.items {
            if let ImplItem::Fn(function) = member {
                parsed.read(function)?;
            }
        }
        parsed.item = item;
        parsed.check()?;
        Ok(parsed)
    }

    fn read(&mut self, function: &mut ImplItemFn) -> Result<()> {
        let (ours, others) =
            std::mem::take(&mut function.attrs).into_iter().partition(|attribute| role(attribute).is_some());
        function.attrs = others;
        let ours: Vec<Attribute> = ours;
        let Some(attribute) = ours.first() else { return Ok(()) };
        if let Some(second) = ours.get(1) {
            return Err(Error::new_spanned(second, "a method has one role: move this attribute to another method"));
        }
        match role(attribute).unwrap_or_default() {
            "operation" => {
                let name = operation_name(attribute, function)?;
                self.has_streams |= streams::of(&function.sig)?;
                let handler = Handler::read(function, "an operation")?;
                self.operations.push((name, handler));
            }
            "event" => {
                without_streams(function, "an event has no stream, because it goes to many readers")?;
                self.events.push((topic(attribute)?, Handler::read(function, "an event handler")?));
            }
            "wake" => {
                no_arguments(attribute)?;
                without_streams(function, "a wake has no stream: `#[wake]` takes the token, a `u32`")?;
                let handler = Handler::read(function, "a `#[wake]` method")?;
                if self.wake.replace(handler).is_some() {
                    return Err(Error::new_spanned(
                        attribute,
                        "there is one `#[wake]` method already: distinguish timers by their token",
                    ));
                }
            }
            "start" => {
                no_arguments(attribute)?;
                let start = Start::read(function)?;
                if self.start.replace(start).is_some() {
                    return Err(Error::new_spanned(attribute, "there is one `#[start]` function already"));
                }
            }
            _ => {
                no_arguments(attribute)?;
                plain_function(function, "migrate", "fn migrate(format: u32, data: &[u8]) -> Result<Self, String>")?;
                if function.sig.inputs.len() != 2 {
                    return Err(Error::new(
                        function.sig.paren_token.span.join(),
                        "`#[migrate]` takes the saved format and bytes: `fn migrate(format: u32, data: &[u8]) -> Result<Self, String>`",
                    ));
                }
                if self.format.is_none() {
                    return Err(Error::new_spanned(
                        attribute,
                        "`#[migrate]` needs a format to migrate to: write `#[actor(format = 2)]`",
                    ));
                }
                if self.migrate.replace(function.sig.ident.clone()).is_some() {
                    return Err(Error::new_spanned(attribute, "there is one `#[migrate]` function already"));
                }
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        if self.operations.is_empty() && self.events.is_empty() && self.wake.is_none() {
            return Err(Error::new_spanned(
                &self.item.self_ty,
                "this mechtron handles nothing: mark a method `#[operation]`, `#[event(\"address#name\")]` or `#[wake]`",
            ));
        }
        let mut names = BTreeMap::new();
        for (name, handler) in &self.operations {
            if let Some(other) = names.insert(name.value(), &handler.method) {
                let message =
                    format!("the operation `{}` is already the method `{other}`: choose another name", name.value());
                return Err(Error::new_spanned(&handler.method, message));
            }
        }
        let mut topics = BTreeMap::new();
        for (topic, handler) in &self.events {
            if let Some(other) = topics.insert(topic.as_ref().map(LitStr::value), &handler.method) {
                return Err(Error::new_spanned(&handler.method, format!("`{other}` handles this event already")));
            }
        }
        Ok(())
    }
}

impl Handler {
    fn read(function: &ImplItemFn, what: &str) -> Result<Self> {
        let signature = &function.sig;
        if !signature.generics.params.is_empty() {
            return Err(Error::new_spanned(
                &signature.generics,
                format!("{what} can't be generic, because a host calls it by name"),
            ));
        }
        let mut inputs = signature.inputs.iter();
        match inputs.next() {
            Some(FnArg::Receiver(receiver)) if receiver.reference.is_some() => {}
            Some(FnArg::Receiver(receiver)) => {
                return Err(Error::new_spanned(
                    receiver,
                    format!("{what} borrows the actor: write `&mut self` or `&self`"),
                ));
            }
            Some(other) => {
                return Err(Error::new_spanned(other, format!("{what} takes `&mut self` or `&self` first")));
            }
            None => {
                let place = signature.paren_token.span.join();
                return Err(Error::new(place, format!("{what} takes `&mut self` or `&self` first")));
            }
        }
        let mut handler = Handler {
            method: signature.ident.clone(),
            is_async: signature.asyncness.is_some(),
            takes_call: false,
            takes: None,
            returns: match &signature.output {
                ReturnType::Type(_, returns) => returns.span(),
                ReturnType::Default => signature.ident.span(),
            },
        };
        for input in inputs {
            let FnArg::Typed(input) = input else { continue };
            match &*input.ty {
                Type::Reference(_) if handler.takes.is_some() => {
                    return Err(Error::new_spanned(input, "`&Call` comes before the payload"));
                }
                Type::Reference(_) if !handler.takes_call => handler.takes_call = true,
                Type::Reference(other) => {
                    return Err(Error::new_spanned(
                        other,
                        "a reference stands for `&Call`, and there is one already: use `Json<T>`, `Text`, `Bytes` or `Payload`",
                    ));
                }
                _ if handler.takes.is_some() => {
                    return Err(Error::new_spanned(
                        input,
                        "a message has one payload: use one `Json<T>` of a struct or tuple with all fields",
                    ));
                }
                other => handler.takes = Some(other.clone()),
            }
        }
        Ok(handler)
    }
}

fn without_streams(function: &ImplItemFn, why: &str) -> Result<()> {
    if streams::of(&function.sig)? { Err(Error::new_spanned(&function.sig, why)) } else { Ok(()) }
}

impl Start {
    fn read(function: &ImplItemFn) -> Result<Self> {
        plain_function(function, "start", "fn start(context: &Context) -> Result<Self, String>")?;
        match function.sig.inputs.len() {
            inputs @ (0 | 1) => Ok(Start { function: function.sig.ident.clone(), takes_context: inputs == 1 }),
            _ => Err(Error::new(
                function.sig.paren_token.span.join(),
                "`#[start]` takes only the context: `fn start(context: &Context) -> Result<Self, String>`",
            )),
        }
    }
}

fn plain_function(function: &ImplItemFn, role: &str, shape: &str) -> Result<()> {
    if let Some(word) = &function.sig.asyncness {
        return Err(Error::new_spanned(word, format!("`#[{role}]` can't wait: write `{shape}`")));
    }
    if let Some(receiver) = function.sig.receiver() {
        return Err(Error::new_spanned(receiver, format!("there is no actor yet at this time: write `{shape}`")));
    }
    Ok(())
}

#[derive(Default)]
struct Arguments {
    format: Option<LitInt>,
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut arguments = Arguments::default();
        while !input.is_empty() {
            let name: Ident = input.parse()?;
            if name != "format" {
                return Err(Error::new(
                    name.span(),
                    "`#[actor]` takes only `format = 1`, which saves the struct as state",
                ));
            }
            input.parse::<Token![=]>()?;
            let number: LitInt = input.parse()?;
            if number.base10_parse::<u32>()? == 0 {
                return Err(Error::new(number.span(), "format 0 means \"no state\": begin with 1"));
            }
            arguments.format = Some(number);
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(arguments)
    }
}

fn role(attribute: &Attribute) -> Option<&'static str> {
    ROLES.into_iter().find(|role| attribute.path().is_ident(role))
}

fn no_arguments(attribute: &Attribute) -> Result<()> {
    match &attribute.meta {
        Meta::Path(_) => Ok(()),
        other => Err(Error::new_spanned(
            other,
            format!("write `#[{}]` without arguments", role(attribute).unwrap_or_default()),
        )),
    }
}

fn operation_name(attribute: &Attribute, function: &ImplItemFn) -> Result<LitStr> {
    let method = &function.sig.ident;
    let mut name = LitStr::new(&method.to_string().trim_start_matches("r#").replace('_', "-"), method.span());
    if !matches!(attribute.meta, Meta::Path(_)) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("name") {
                return Err(meta.error("`#[operation]` takes only `name = \"…\"`"));
            }
            name = meta.value()?.parse()?;
            Ok(())
        })?;
    }
    let text = name.value();
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.starts_with(|first: char| first.is_ascii_lowercase()) && text.bytes().all(allowed) {
        return Ok(name);
    }
    Err(Error::new(name.span(), format!("`{text}` can't name an operation: use a-z, 0-9 and `-`, with a letter first")))
}

fn topic(attribute: &Attribute) -> Result<Option<LitStr>> {
    if matches!(attribute.meta, Meta::Path(_)) {
        return Ok(None);
    }
    let topic: LitStr = attribute.parse_args().map_err(|error| {
        Error::new(
            error.span(),
            "`#[event]` takes a topic as text: `\".:pictures#changes\"`, or `\"#changes\"` of any sender",
        )
    })?;
    match topic.value().split_once('#') {
        Some((_, event)) if !event.is_empty() => Ok(Some(topic)),
        _ => Err(Error::new(
            topic.span(),
            "a topic is an address, `#` and the event's name: `\"acme:app:pictures#changes\"`",
        )),
    }
}

/// Returns the block without our attributes.
pub(crate) fn without_attributes(item: TokenStream) -> TokenStream {
    let Ok(mut block) = syn::parse2::<ItemImpl>(item.clone()) else { return item };
    for member in &mut block.items {
        if let ImplItem::Fn(function) = member {
            function.attrs.retain(|attribute| role(attribute).is_none());
        }
    }
    quote::quote!(#block)
}
