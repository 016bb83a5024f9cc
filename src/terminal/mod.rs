//! What a person and a program read: printable names, sizes, times, tables, JSON lines and the progress bar.

pub mod escape;
pub mod json;
pub mod progress;
pub mod shell;
pub mod size;
pub mod table;
pub mod time;
