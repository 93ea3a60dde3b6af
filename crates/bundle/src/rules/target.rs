//! What an address of the app itself leads to: one of its mechtrons, or another of its resources.

use litemap::LiteMap;

use crate::{AppConfig, AppResource, Bind, MechtronConfig, Placement};

/// The names that an app may use of itself, and what they stand for.
pub(crate) struct Names<'a> {
    pub(crate) app: &'a AppConfig,
    /// By path of their configs.
    pub(crate) mechtrons: &'a LiteMap<String, MechtronConfig>,
    /// By path.
    pub(crate) binds: &'a LiteMap<String, Bind>,
}

/// What an address of the app, behind its `.:`, leads to.
pub(crate) enum Target<'a> {
    /// A mechtron: its name in `app.toml`, its bind, and where it runs.
    Mechtron(String, &'a Bind, Placement),
    /// Another resource.
    Resource(&'a AppResource),
}

impl Target<'_> {
    /// Where it is.
    pub(crate) fn placement(&self) -> Placement {
        match self {
            Self::Mechtron(_, _, placement) => *placement,
            Self::Resource(resource) => resource.placement,
        }
    }
}

impl<'a> Names<'a> {
    /// Finds what `first` or `first:KEY` is in the app; the error says what there is.
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
        Err(format!("the app has no `{}`; expected one of {}", super::quoted(&pattern), super::listed(names)))
    }
}
