//! What is taken from the environment, and how long is waited.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use super::super::Patience;

/// The variables that count.
const VARIABLES: [&str; 17] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "HOME",
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
];

/// What an object store needs to be reached.
#[derive(Clone)]
pub struct Options {
    variables: BTreeMap<&'static str, OsString>,
    /// How long a connection may take.
    pub(super) connect: Duration,
    /// How long nothing may come or go on a connection.
    pub(super) stall: Duration,
    pub(super) patience: Patience,
    /// The same until the server answered for the first time: a name that is wrong is told soon.
    pub(super) first_patience: Patience,
}

impl Options {
    /// With the keys, profile, region and proxies of an environment.
    pub fn from_environment(look: &dyn Fn(&str) -> Option<OsString>) -> Options {
        let variables = VARIABLES
            .into_iter()
            .filter_map(|name| Some((name, look(name).filter(|value| !value.is_empty())?)))
            .collect();
        Options {
            variables,
            connect: Duration::from_secs(30),
            stall: Duration::from_secs(60),
            patience: Patience::default(),
            first_patience: Patience { total: Duration::from_secs(20), ..Patience::default() },
        }
    }

    /// The same with other times: how long nothing may come or go on a connection, and how long is tried again.
    pub fn with_waits(self, stall: Duration, patience: Patience) -> Options {
        Options { stall, patience, first_patience: patience, ..self }
    }

    /// The same, told by that whether the run is asked to stop (`Patience::stops`).
    pub fn stopped_by(mut self, stops: fn() -> bool) -> Options {
        self.patience.stops = stops;
        self.first_patience.stops = stops;
        self
    }

    /// A variable.
    pub(super) fn variable(&self, name: &str) -> Option<OsString> {
        self.variables.get(name).cloned()
    }

    /// A variable that is text.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.variable(name)?.into_string().ok().map(|value| value.trim().to_owned())
    }
}

impl Default for Options {
    /// Without keys.
    fn default() -> Options {
        Options::from_environment(&|_| None)
    }
}

impl std::fmt::Debug for Options {
    /// Without what may be secret.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Options")
            .field("variables", &self.variables.keys())
            .field("connect", &self.connect)
            .field("stall", &self.stall)
            .finish_non_exhaustive()
    }
}
