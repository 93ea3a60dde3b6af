//! Streams in the signatures of methods.

use syn::{
    Error, FnArg, GenericArgument, Ident, PathArguments, Result, ReturnType, Signature, Type, TypeParamBound,
    spanned::Spanned,
};

/// The types of the SDK that are streams.
const STREAMS: [&str; 2] = ["Stream", "Lines"];

/// Returns whether the method takes or returns a stream. Refuses what no message can carry.
pub(crate) fn of(signature: &Signature) -> Result<bool> {
    let mut taken = None;
    let payloads = signature.inputs.iter().filter_map(|input| match input {
        FnArg::Typed(input) => Some(&*input.ty),
        FnArg::Receiver(_) => None,
    });
    let mut others = 0;
    for ty in payloads {
        if let Type::Reference(reference) = ty {
            if stream(&reference.elem)?.is_some() {
                return Err(Error::new_spanned(ty, "a stream is taken by value: write `mut body: Stream`"));
            }
            continue;
        }
        others += 1;
        taken = stream(ty)?.or(taken);
    }
    if let Some(taken) = &taken
        && others > 1
    {
        return Err(Error::new_spanned(
            &signature.inputs,
            format!(
                "a message has one body, and `{taken}` is all of it: send the other value as a header, or as the first line of `Lines<T>`"
            ),
        ));
    }
    let returned = match &signature.output {
        ReturnType::Type(_, ty) => returned(ty)?,
        ReturnType::Default => None,
    };
    Ok(taken.is_some() || returned.is_some())
}

/// The stream that a return type is, also as the success of a `Result` or in a tuple, which is refused.
fn returned(ty: &Type) -> Result<Option<Ident>> {
    if let Type::Tuple(tuple) = ty {
        for member in &tuple.elems {
            if stream(member)?.is_some() {
                return Err(Error::new_spanned(
                    tuple,
                    "a reply has one body, and a stream is all of it: return the stream alone",
                ));
            }
        }
        return Ok(None);
    }
    match argument_of(ty, "Result") {
        Some(success) => returned(success),
        None => stream(ty),
    }
}

/// The stream that a type is, also in an `Option`.
fn stream(ty: &Type) -> Result<Option<Ident>> {
    match ty {
        Type::ImplTrait(bounds) => {
            for bound in &bounds.bounds {
                if let TypeParamBound::Trait(bound) = bound
                    && let Some(name) = bound.path.segments.last().map(|segment| &segment.ident)
                    && STREAMS.iter().any(|stream| name == stream)
                {
                    return Err(Error::new_spanned(
                        ty,
                        format!("`mechtron::{name}` is a type, not a trait: write it without `impl`"),
                    ));
                }
            }
            Ok(None)
        }
        Type::Path(path) => {
            if let Some(inner) = argument_of(ty, "Option") {
                return stream(inner);
            }
            let Some(last) = path.path.segments.last() else { return Ok(None) };
            if last.ident == "Stream" && !last.arguments.is_none() {
                return Err(Error::new(
                    last.span(),
                    "a `Stream` is of bytes and takes no type: write `Stream`, or `Lines<T>` for values",
                ));
            }
            Ok(STREAMS.iter().any(|stream| last.ident == stream).then(|| last.ident.clone()))
        }
        _ => Ok(None),
    }
}

/// The first type argument of a type with this name.
fn argument_of<'a>(ty: &'a Type, name: &str) -> Option<&'a Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    if last.ident != name {
        return None;
    }
    match arguments.args.first()? {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    }
}
