//! Asking a person at the terminal.

use std::io::{BufRead, IsTerminal, Write};

use super::context::Context;

/// What a person at the terminal says to a question; none when nobody can be asked.
pub fn ask(context: &Context<'_>, question: &str) -> Option<bool> {
    if context.global.json || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return None;
    }
    let mut err = std::io::stderr();
    let _ = write!(err, "{question} [y/N] ");
    let _ = err.flush();
    let mut typed = String::new();
    std::io::stdin().lock().read_line(&mut typed).ok()?;
    Some(matches!(typed.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
