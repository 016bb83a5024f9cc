//! The steps of a schedule's change as they are shown before they are taken.

use serde::Serialize;

use super::shown;
use crate::cli::context::Context;
use crate::cli::exit::Failure;
use crate::schedule::Step;
use crate::terminal::escape::escape;
use crate::terminal::{json, shell};
use std::os::unix::ffi::OsStrExt;

/// A step as programs get it.
#[derive(Default, Serialize)]
struct Line<'a> {
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a [String]>,
}

/// Shows all of them.
pub fn steps(context: &Context<'_>, steps: &[Step]) -> Result<(), Failure> {
    if context.global.json {
        for step in steps {
            context.out.json("step", &line(step))?;
        }
        return Ok(());
    }
    context.out.write(steps.iter().map(text).collect::<String>())?;
    Ok(())
}

fn line(step: &Step) -> Line<'_> {
    let path = |path: &std::path::Path| Some(json::text(path.as_os_str().as_bytes()).into_owned());
    match step {
        Step::Write { path: at, content } => {
            Line { action: "write", path: path(at), content: Some(content.clone()), ..Line::default() }
        }
        Step::Remove { path: at } => Line { action: "remove", path: path(at), ..Line::default() },
        Step::Crontab { after, .. } => {
            Line { action: "crontab", content: Some(json::text(after).into_owned()), ..Line::default() }
        }
        Step::Run(words) => Line { action: "run", command: Some(words), ..Line::default() },
    }
}

fn text(step: &Step) -> String {
    let escaped = |line: &[u8]| escape(line).into_owned();
    match step {
        Step::Write { path, content } => {
            let verb = if path.exists() { "replace" } else { "write" };
            let lines = content.lines().map(|line| match line {
                "" => "\n".to_owned(),
                line => format!("    {}\n", escape(line.as_bytes())),
            });
            format!("{verb} {}:\n{}", shown(path), lines.collect::<String>())
        }
        Step::Remove { path } => format!("remove {}\n", shown(path)),
        Step::Crontab { before, after } => {
            let (gone, new) = differing(before.as_deref().unwrap_or_default(), after);
            let gone = gone.iter().map(|line| format!("  - {}\n", escaped(line)));
            let new = new.iter().map(|line| format!("  + {}\n", escaped(line)));
            format!(
                "change your crontab (crontab -l), and nothing else in it:\n{}",
                gone.chain(new).collect::<String>()
            )
        }
        Step::Run(words) => format!("run {}\n", shell::line(words)),
    }
}

/// The lines between what two texts have in common at their beginnings and at their ends.
fn differing<'t>(before: &'t [u8], after: &'t [u8]) -> (Vec<&'t [u8]>, Vec<&'t [u8]>) {
    let lines = |text: &'t [u8]| {
        let mut lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
        // Behind the last end of a line there is none.
        lines.pop_if(|line| line.is_empty());
        lines
    };
    let (mut before, mut after) = (lines(before), lines(after));
    let common = before.iter().zip(&after).take_while(|(a, b)| a == b).count();
    before.drain(..common);
    after.drain(..common);
    while !before.is_empty() && before.last() == after.last() {
        before.pop();
        after.pop();
    }
    (before, after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_that_differ_are_shown() {
        let show = |before: &[u8], after: &[u8]| {
            text(&Step::Crontab { before: Some(before.to_vec()), after: after.to_vec() })
                .lines()
                .skip(1)
                .map(|line| line.trim_start().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(show(b"a\nb\nc\n", b"a\nB\nc\n"), ["- b", "+ B"]);
        assert_eq!(show(b"a", b"a\nb\n"), ["+ b"]);
        assert_eq!(show(b"a\nb\n\xff\n", b"a\n\xff\n"), ["- b"]);
        assert_eq!(show(b"a\na\n", b"a\n"), ["- a"]);
        assert_eq!(show(b"", b"\xff\n"), ["+ \\xff"]);
    }
}
