#![doc = include_str!("../README.md")]

mod expand;
mod parse;
mod streams;

use proc_macro::TokenStream;

/// Makes a mechtron from the `impl` block of a type. The crate `mechtron` documents the methods.
#[proc_macro_attribute]
pub fn actor(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let item = proc_macro2::TokenStream::from(item);
    let expanded = match parse::Parsed::new(arguments.into(), item.clone()) {
        Ok(parsed) => expand::expand(&parsed),
        Err(error) => {
            // Keep the block without our attributes, so that one mistake gives only one error.
            let kept = parse::without_attributes(item);
            let error = error.to_compile_error();
            quote::quote!(#kept #error)
        }
    };
    expanded.into()
}

#[cfg(test)]
mod tests;
