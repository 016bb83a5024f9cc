//! Trying once more. Storage that failed once, or bytes that were spoiled once on their way, are no reason to end a run or to call
//! anything damaged; what fails twice in a row is told.

use super::Error;
use crate::backend;

/// Does it once more after a failure that may pass. Only for what may be done twice.
pub(super) fn again<T>(work: impl Fn() -> Result<T, backend::Error>) -> Result<T, backend::Error> {
    match work() {
        Err(backend::Error::Io { .. } | backend::Error::Short { .. }) => work(),
        other => other,
    }
}

/// Gets bytes, and once more when they are not `good`: they may have been spoiled on their way. Those that came last are given.
pub(super) fn get<E>(
    fetch: impl Fn() -> Result<Vec<u8>, E>,
    good: impl Fn(&[u8]) -> bool,
) -> Result<Vec<u8>, E> {
    let bytes = fetch()?;
    if good(&bytes) { Ok(bytes) } else { fetch() }
}

/// Reads, and once more what looks damaged: it may have been spoiled on its way.
pub(super) fn unspoiled<T>(read: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
    read().or_else(|error| match error {
        Error::Damaged { .. } | Error::Unsupported { .. } => read(),
        error => Err(error),
    })
}
