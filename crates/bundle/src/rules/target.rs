//! Finds the mechtron or the resource for an address in the app itself.

use litemap::LiteMap;

use crate::{AppConfig, AppResource, Bind, MechtronConfig, Placement};

/// The tables in which an app's references to itself are looked up.
pub(crate) struct Names<'a> {
    pub(crate) app: &'a AppConfig,
    /// By the path of their config.
    pub(crate) mechtrons: &'a LiteMap<String, MechtronConfig>,
    /// By path.
    pub(crate) binds: &'a LiteMap<String, Bind>,
}

/// The target of an address of the app, without its `.:`.
pub(crate) enum Target<'a> {
    /// A mechtron: its name in `app.toml`, its bind, and where it runs.
    Mechtron(String, &'a Bind, Placement),
    /// Another resource.
    Resource(&'a AppResource),
}

impl Target<'_> {
    /// Its placement.
    pub(crate) fn placement(&self) -> Placement {
        match self {
            Self::Mechtron(_, _, placement) => *placement,
            Self::Resource(resource) => resource.placement,
        }
    }
}

impl<'a> Names<'a> {
    /// Finds `first`, or `first:KEY` if `keyed`, in the app. The error lists the known names.
    pub(crate) fn find(&self, first: &str, keyed: bool) -> Result<Target<'a>, String> {
        let pattern = if keyed { format!("{first}:{{key}}") } else { first.to_owned() };
        if let Some(mechtron) = self.app.mechtrons.get(&pattern) {
            let config = self.mechtrons.get(&mechtron.config);
            if let Some(bind) = config.and_then(|config| self.binds.get(&config.bind)) {
                return Ok(Target::Mechtron(pattern, bind, mechtron.placement));
            }
        }
        if let Some(resource) = self.app.resources.get(first).filter(|_| !keyed) {
            return Ok(Target::Resource(resource));
        }
        let names = self.app.mechtrons.keys().chain(self.app.resources.keys());
        Err(format!(
            "the app has no mechtron or resource `{}`; expected one of {}",
            super::quoted(&pattern),
            super::listed(names)
        ))
    }
}
