//! What a run says: to the person, to a file that never grows without end, and into the report of the run.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use crate::cli::context::{Context, eprint_line};
use crate::cli::exit::Failure;
use crate::model::clock::Clock;
use crate::terminal::escape::path as shown;
use crate::terminal::time;

/// Lines that are kept for the report.
const KEPT: usize = 200;
/// The size from which a log file is put aside, unless the profile says another.
pub const SIZE: u64 = 1 << 20;
/// Older log files that are kept, unless the profile says another number.
pub const OLDER: u64 = 5;

/// Where a log goes, and how much of it stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: PathBuf,
    pub size: u64,
    pub older: u64,
}

/// Takes lines in.
pub struct Log<'c> {
    context: &'c Context<'c>,
    file: Option<File>,
    lines: VecDeque<String>,
    /// Lines that told of something wrong.
    pub warnings: Vec<String>,
}

/// `name`, `name.1`, ...: the oldest goes, the others move on by one.
fn rotate(place: &Place) -> std::io::Result<()> {
    if std::fs::metadata(&place.file).map_or(0, |about| about.len()) < place.size {
        return Ok(());
    }
    let named = |number: u64| {
        let mut name = place.file.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    if place.older == 0 {
        return std::fs::remove_file(&place.file);
    }
    for number in (1..place.older).rev() {
        match std::fs::rename(named(number), named(number + 1)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    std::fs::rename(&place.file, named(1))
}

fn open(place: &Place) -> std::io::Result<File> {
    if let Some(folder) = place.file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    rotate(place)?;
    File::options().append(true).create(true).mode(0o640).open(&place.file)
}

impl<'c> Log<'c> {
    /// A log that can not be written is told, and ends nothing: what it is about is more important.
    pub fn new(context: &'c Context<'c>, place: Option<&Place>) -> Log<'c> {
        let mut log = Log { context, file: None, lines: VecDeque::new(), warnings: Vec::new() };
        match place.map(|place| (place, open(place))) {
            None => {}
            Some((_, Ok(file))) => log.file = Some(file),
            Some((place, Err(error))) => {
                log.warn(&format!("the log {} can not be written: {error}", shown(&place.file)));
            }
        }
        log
    }

    /// A line for the file and the report alone.
    pub fn keep(&mut self, text: &str) {
        if let Some(file) = &mut self.file {
            let line = format!("{} {text}\n", time::iso(self.context.clock.now()));
            // A full disk must not end a backup; the report has the lines all the same.
            let _ = file.write_all(line.as_bytes());
        }
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(text.to_owned());
    }

    /// A step's line, for standard output.
    pub fn step(&mut self, name: &str, text: &str) -> Result<(), Failure> {
        let line = format!("{name:<8} {text}");
        self.keep(&line);
        if !self.context.global.quiet && !self.context.global.json {
            self.context.out.write(format!("{line}\n"))?;
        }
        Ok(())
    }

    /// Something that a person should know of, for standard error; also when it is quiet.
    pub fn warn(&mut self, text: &str) {
        self.keep(&format!("warning: {text}"));
        self.warnings.push(text.to_owned());
        if !self.context.global.json {
            eprint_line(&format!("copal: {text}"));
        }
    }

    /// A line of a step's own that is only kept.
    pub fn note(&mut self, text: &str) {
        self.keep(text);
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_long_moves_on_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place { file: folder.path().join("log/run.log"), size: 10, older: 2 };
        for round in 0..5 {
            let mut file = open(&place).unwrap();
            writeln!(file, "round {round} of five").unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(folder.path().join("log").join(name)).unwrap();
        assert_eq!(read("run.log"), "round 4 of five\n");
        assert_eq!(read("run.log.1"), "round 3 of five\n");
        assert_eq!(read("run.log.2"), "round 2 of five\n");
        assert_eq!(std::fs::read_dir(folder.path().join("log")).unwrap().count(), 3);
    }
}
