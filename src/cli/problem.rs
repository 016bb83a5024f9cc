//! What programs get of what is said on the way, and of what went wrong; field names are restic's.

use std::borrow::Cow;

use serde::Serialize;

use crate::terminal::json;

/// A line that only says something.
#[derive(Serialize)]
pub struct Message<'a> {
    pub message: &'a str,
}

/// The fields of an `error` line.
#[derive(Serialize)]
pub struct Problem<'a> {
    error: Message<'a>,
    during: &'a str,
    item: Cow<'a, str>,
    code: &'a str,
}

impl<'a> Problem<'a> {
    /// Something about `item`, met during that kind of work.
    pub fn new(message: &'a str, during: &'a str, item: &'a [u8], code: &'a str) -> Problem<'a> {
        Problem { error: Message { message }, during, item: json::text(item), code }
    }
}
