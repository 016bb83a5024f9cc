//! Restoring to a folder of this machine: where to, whether that is meant, and how it went.

use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::layout::{page, page_with, way};
use super::{Place, There, message, unreadable};
use crate::locks::lock;
use crate::restore::Restored;
use crate::terminal::size::{show_count, show_size};
use crate::terminal::time;
use crate::web::answer::Answer;
use crate::web::restoring::{Job, Progress};
use crate::web::server::Asked;
use crate::web::text;

/// The folder that was written into the field, when it can be one.
fn target(text: &[u8]) -> Result<PathBuf, &'static str> {
    let path = PathBuf::from(std::ffi::OsString::from_vec(text.to_vec()));
    match () {
        () if !path.is_absolute() => Err("Give the whole path of a folder, from / on."),
        () if text.contains(&0) => Err("This can not be the path of a folder."),
        () if path.exists() && !path.is_dir() => Err("This is a file; a restore goes into a folder."),
        () => Ok(path),
    }
}

fn refused() -> Answer {
    message(403, "Restore", "Nothing is restored from a page that others than this machine can reach.")
}

/// Asks where to, then whether that is meant.
pub fn ask(asked: &Asked<'_>, place: &Place<'_>, there: &There) -> Answer {
    if !asked.page.guard.is_loopback() {
        return refused();
    }
    if let There::Entry(node) = there
        && let Some(why) = unreadable(node)
    {
        return message(409, "Restore", &why);
    }
    let title = place.name().map_or_else(|| "all of the snapshot".to_owned(), text::name);
    let mut body = format!("{}<h1>Restore {title}</h1>", way(place));
    let home = asked.page.options.home.as_deref().unwrap_or(Path::new("/"));
    let proposed = home.join("restored").as_os_str().as_bytes().to_vec();
    let given = asked.request.value(b"target");
    let chosen = given.map(target);
    if let Some(Ok(target)) = &chosen {
        body += &confirm(asked, place, there, target);
        let answer = page(200, &format!("Restore {title}"), &body);
        return Answer { has_form: true, ..answer };
    }
    if let Some(Err(why)) = chosen {
        body += &format!("<p class=\"bad\" role=\"alert\">{}</p>", text::html(why));
    }
    body += &format!(
        "<form class=\"form\" action=\"{}\"><label for=\"target\">Folder on this machine</label>\
         <input type=\"text\" id=\"target\" name=\"target\" value=\"{}\" required autocomplete=\"off\" spellcheck=\"false\">\
         <button>Go on</button></form>",
        place.address("restore"),
        text::html(&String::from_utf8_lossy(given.unwrap_or(&proposed))),
    );
    page(200, &format!("Restore {title}"), &body)
}

fn confirm(asked: &Asked<'_>, place: &Place<'_>, there: &There, target: &Path) -> String {
    let what = match (there, place.names.is_empty()) {
        (_, true) => "Everything in the snapshot, under its stored path,".to_owned(),
        (There::Folder(..), false) => format!("What is in {}", text::name(&place.path())),
        (There::Entry(_), false) => text::name(&place.path()),
    };
    let state = match std::fs::read_dir(target).map(|mut entries| entries.next().is_some()) {
        Ok(true) => "It is there, and holds something.",
        Ok(false) => "It is there, and empty.",
        Err(_) => "It is not there yet, and will be made.",
    };
    let rule = match there {
        There::Folder(..) => {
            "What is there and differs is never overwritten: then nothing is written at all. Other files there stay."
        }
        There::Entry(_) => {
            "A file that is there and differs is never overwritten: this one is put beside it, under a name with its time."
        }
    };
    let shown = target.as_os_str().as_bytes();
    format!(
        "<p>{what} as of {} goes to <b class=\"name\">{}</b>. {state}</p><p>{rule}</p>\
         <form method=\"post\" action=\"{}\"><input type=\"hidden\" name=\"form\" value=\"{}\">\
         <input type=\"hidden\" name=\"target\" value=\"{}\"><p class=\"actions\"><button>Restore</button>\
         <a class=\"button quiet\" href=\"{}\">Not now</a></p></form>",
        text::html(&time::show(place.named.snapshot.time)),
        text::name(shown),
        place.address("restore"),
        text::html(asked.page.guard.form()),
        text::encode(shown),
        place.address("s"),
    )
}

/// Begins, when that was confirmed.
pub fn begin(asked: &Asked<'_>, place: &Place<'_>) -> Answer {
    if !asked.page.guard.is_loopback() {
        return refused();
    }
    if !asked.page.guard.is_own_form(asked.request) {
        return message(403, "Restore", "This form is not of this run. Begin again.");
    }
    // Encoded once more: a form is text, and a path need not be.
    let given = asked.request.field(b"target").and_then(|given| text::decode(given, false));
    let target = match given.as_deref().map(target) {
        Some(Ok(target)) => target,
        Some(Err(why)) => return message(400, "Restore", why),
        None => return message(400, "Restore", "No folder is given."),
    };
    let job = Job {
        named: place.named.clone(),
        names: place.names.to_vec(),
        target,
        progress: Progress::default(),
    };
    match asked.page.restoring.begin(job) {
        true => Answer::elsewhere("/restoring"),
        false => message(409, "Restore", "Another restore is at work. Wait for its end."),
    }
}

fn summary(restored: &Restored) -> String {
    let mut out = format!("{}, {}", show_count(restored.files, "file"), show_size(restored.bytes));
    if restored.skipped > 0 {
        out += &format!("; {} there already", restored.skipped);
    }
    out
}

/// How the restore goes that is at work, or how the last one went.
pub fn state(asked: &Asked<'_>) -> Answer {
    let Some(job) = asked.page.restoring.last() else {
        return message(404, "Restore", "Nothing was restored from this page.");
    };
    let target = text::name(job.target.as_os_str().as_bytes());
    let ended = lock(&job.progress.ended).clone();
    let mut body = "<h1>Restore</h1>".to_owned();
    let is_at_work = ended.is_none();
    body += &match &ended {
        None => format!(
            "<p role=\"status\">At work: {}, {} so far, to <b class=\"name\">{target}</b>.</p>\
             <p class=\"note\">This page looks again every two seconds. You may leave it.</p>",
            show_count(job.progress.files.load(Ordering::Relaxed), "file"),
            show_size(job.progress.bytes.load(Ordering::Relaxed))
        ),
        Some(Ok(restored)) if restored.problems + restored.damaged == 0 => format!(
            "<p class=\"good\" role=\"status\">Restored {} to <b class=\"name\">{target}</b>.</p>",
            text::html(&summary(restored))
        ),
        Some(Ok(restored)) => format!(
            "<p class=\"bad\" role=\"alert\">Restored {} to <b class=\"name\">{target}</b>, but not all: {} could not be given back whole.</p>",
            text::html(&summary(restored)),
            show_count(restored.problems + restored.damaged, "thing")
        ),
        Some(Err(error)) => {
            format!("<p class=\"bad\" role=\"alert\">Nothing more is restored: {}</p>", text::html(error))
        }
    };
    let problems = lock(&job.progress.problems);
    if !problems.is_empty() {
        let lines = problems.iter().map(|problem| format!("<li>{}</li>", text::html(problem)));
        body += &format!("<ul>{}</ul>", lines.collect::<String>());
    }
    body += &format!(
        "<p><a href=\"{}\">Back to what was restored</a></p>",
        super::address("s", &job.named, &job.names)
    );
    let head = if is_at_work { "<meta http-equiv=\"refresh\" content=\"2\">" } else { "" };
    page_with(200, "Restore", &body, b"", head)
}
