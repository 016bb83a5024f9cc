//! Environment variables, read through a function so that tests give their own.

use std::ffi::OsString;

/// Looks a variable up; a variable set to nothing counts as not set.
pub type Lookup<'a> = &'a (dyn Fn(&str) -> Option<OsString> + Sync);

/// The process's own environment.
pub fn process(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A look-up in a list, for tests; empty values are dropped as `process` does.
    pub fn given<'a>(list: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
        |name| {
            list.iter()
                .find(|(key, value)| *key == name && !value.is_empty())
                .map(|(_, value)| OsString::from(value))
        }
    }

    #[test]
    fn a_variable_that_is_not_there_is_not_set() {
        assert_eq!(process("COPAL_SURELY_NOT_SET"), None);
        assert!(process("PATH").is_some());
        assert_eq!(given(&[("A", "")])("A"), None);
    }
}
