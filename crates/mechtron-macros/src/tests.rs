//! Tests of the errors for blocks that can't be a mechtron.

use quote::quote;

use crate::{expand, parse::Parsed};

fn refused(arguments: proc_macro2::TokenStream, item: proc_macro2::TokenStream) -> String {
    match Parsed::new(arguments, item) {
        Ok(_) => panic!("this should be refused"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_mistake_has_an_error_with_a_correction() {
    let cases = [
        (
            quote!(),
            quote!(
                struct Counter;
            ),
            "goes on the `impl` block",
        ),
        (quote!(), quote!(impl Clone for Counter { }), "without a trait"),
        (quote!(), quote!(impl Counter { fn helper(&self) {} }), "mark a method `#[operation]`"),
        (quote!(version = 1), quote!(impl Counter {}), "takes only `format = 1`"),
        (quote!(format = 0), quote!(impl Counter {}), "begin with 1"),
        (quote!(), quote!(impl Counter { #[operation] fn add() {} }), "takes `&mut self` or `&self` first"),
        (quote!(), quote!(impl Counter { #[operation] fn add(self) {} }), "borrows the actor"),
        (quote!(), quote!(impl Counter { #[operation] fn add(&self, a: Json<u8>, b: Json<u8>) {} }), "one payload"),
        (quote!(), quote!(impl Counter { #[operation] fn add(&self, a: Json<u8>, c: &Call) {} }), "comes before"),
        (quote!(), quote!(impl Counter { #[operation] fn add<T>(&self, a: Json<T>) {} }), "can't be generic"),
        (quote!(), quote!(impl Counter { #[operation(name = "Add it")] fn add(&self) {} }), "can't name an operation"),
        (quote!(), quote!(impl Counter { #[operation(called = "add")] fn add(&self) {} }), "takes only `name"),
        (quote!(), quote!(impl Counter { #[operation] #[wake] fn add(&self) {} }), "one role"),
        (
            quote!(),
            quote!(impl Counter { #[operation] fn add(&self) {} #[operation(name = "add")] fn more(&self) {} }),
            "the operation `add` is already the method `add`",
        ),
        (quote!(), quote!(impl Counter { #[event("changes")] fn changed(&self) {} }), "a topic is an address, `#`"),
        (quote!(), quote!(impl Counter { #[event(7)] fn changed(&self) {} }), "takes a topic as text"),
        (quote!(), quote!(impl Counter { #[wake] fn a(&self) {} #[wake] fn b(&self) {} }), "by their token"),
        (quote!(), quote!(impl Counter { #[start] async fn start() -> Self {} }), "can't wait"),
        (quote!(), quote!(impl Counter { #[start] fn start(&self) {} }), "there is no actor yet"),
        (quote!(), quote!(impl Counter { #[migrate] fn old(f: u32, d: &[u8]) {} }), "needs a format"),
        (quote!(), quote!(impl A { #[operation] fn a(&self, a: Stream, b: Stream) {} }), "`Stream` is all of it"),
        (quote!(), quote!(impl A { #[operation] fn a(&self, a: Json<u8>, b: Lines<u8>) {} }), "`Lines` is all of it"),
        (quote!(), quote!(impl A { #[operation] fn a(&self, call: &Call, a: &mut Stream) {} }), "taken by value"),
        (quote!(), quote!(impl A { #[operation] fn a(&self, a: Stream<Bytes>) {} }), "takes no type"),
        (quote!(), quote!(impl A { #[operation] fn a(&self) -> impl Stream { } }), "write it without `impl`"),
        (quote!(), quote!(impl A { #[operation] fn a(&self, a: impl Stream) { } }), "write it without `impl`"),
        (
            quote!(),
            quote!(impl A { #[operation] fn a(&self) -> Result<(Stream, Json<u8>), Failure> { } }),
            "return the stream alone",
        ),
        (quote!(), quote!(impl A { #[event("#c")] fn a(&self, a: Lines<u8>) {} }), "an event has no stream"),
        (quote!(), quote!(impl A { #[wake] fn a(&self, a: Stream) {} }), "takes the token"),
        (
            quote!(format = 1),
            quote!(impl Counter { #[migrate] fn old(d: &[u8]) {} }),
            "takes the saved format and bytes",
        ),
    ];
    for (arguments, item, says) in cases {
        let shown = item.to_string();
        let message = refused(arguments, item);
        assert!(message.contains(says), "{shown}\nsaid: {message}\nnot:  {says}");
    }
}

#[test]
fn an_operation_has_the_name_of_its_method_with_hyphens() {
    let item = quote!(impl Counter { #[operation] fn add_one(&mut self) {} #[operation(name = "minus")] fn sub(&mut self) {} });
    let parsed = Parsed::new(quote!(format = 3), item).unwrap();
    let names: Vec<_> = parsed.operations.iter().map(|(name, _)| name.value()).collect();
    assert_eq!(names, ["add-one", "minus"]);
    syn::parse2::<syn::File>(expand::expand(&parsed)).unwrap();
}

#[test]
fn only_topics_with_an_address_are_subscribed_to_at_start() {
    let item = quote!(impl A { #[event(".:b#c")] fn one(&self) {} #[event("#d")] fn two(&self) {} #[event] fn rest(&self) {} });
    let text = expand::expand(&Parsed::new(quote!(), item).unwrap()).to_string();
    assert!(text.contains("[\".:b#c\"]"), "{text}");
}

#[test]
fn an_actor_has_streams_if_an_operation_takes_or_returns_one() {
    let has_streams = |method: proc_macro2::TokenStream| {
        Parsed::new(quote!(), quote!(impl A { #[operation] #method })).unwrap().has_streams
    };
    assert!(has_streams(quote!(
        fn a(&self, call: &Call, a: Stream) {}
    )));
    assert!(has_streams(quote!(
        fn a(&self, a: Option<mechtron::Lines<u8>>) {}
    )));
    assert!(has_streams(quote!(
        fn a(&self) -> Result<Stream, Failure> {}
    )));
    assert!(has_streams(quote!(
        async fn a(&self) -> Lines<u8> {}
    )));
    assert!(!has_streams(quote!(
        fn a(&self, a: Json<Stream>) -> Result<Json<Stream>, Failure> {}
    )));
}
