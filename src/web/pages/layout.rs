//! What all pages have in common.

use std::sync::Arc;

use super::Place;
use crate::index::catalogue::Catalogue;
use crate::repository::Error;
use crate::repository::snapshots::{Named, Snapshots};
use crate::terminal::time;
use crate::web::answer::Answer;
use crate::web::server::Asked;
use crate::web::shelf::Ready;
use crate::web::text;

/// A page. Title and body are HTML already.
pub fn page(status: u16, title: &str, body: &str) -> Answer {
    page_with(status, title, body, b"", "")
}

/// The same with something in the search field, and more in the head.
pub fn page_with(status: u16, title: &str, body: &str, wanted: &[u8], head: &str) -> Answer {
    let title = if title == "copal" { title.to_owned() } else { format!("{title} · copal") };
    let wanted = text::html(&String::from_utf8_lossy(wanted));
    Answer::page(
        status,
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\"><title>{title}</title>\
             <link rel=\"stylesheet\" href=\"/style.css\"><link rel=\"icon\" href=\"/icon.svg\">{head}</head>\n\
             <body><a class=\"skip\" href=\"#main\">Skip to the content</a>\
             <header><a class=\"brand\" href=\"/\">copal</a>\
             <form action=\"/find\" role=\"search\"><label class=\"unseen\" for=\"q\">Name of a file</label>\
             <input type=\"search\" id=\"q\" name=\"q\" value=\"{wanted}\" placeholder=\"Name of a file\" autocomplete=\"off\" spellcheck=\"false\">\
             <button>Find</button></form></header>\n\
             <main id=\"main\" tabindex=\"-1\">{body}</main></body></html>\n"
        ),
    )
}

impl Asked<'_> {
    /// The catalogue of paths; or, where filling it takes long, a page that says how far that is, and looks again.
    pub fn catalogue(&self, all: &Snapshots) -> Result<Result<Arc<Catalogue>, Answer>, Error> {
        let (filling, begins) = match self.page.shelf.catalogue(&all.confirmed, self.stop)? {
            Ready::Now(catalogue) => return Ok(Ok(catalogue)),
            Ready::Later { filling, begins } => (filling, begins),
        };
        self.fills.set(begins);
        let body = format!(
            "<h1>One moment</h1><p role=\"status\">Paths of all snapshots are taken into a catalogue, once: {}.</p>\
             <p><progress max=\"{}\" value=\"{}\"></progress></p>\
             <p class=\"note\">This page looks again every two seconds. You may leave it.</p>",
            text::html(&filling.words()),
            filling.all,
            filling.done
        );
        let again = "<meta http-equiv=\"refresh\" content=\"2\">";
        Ok(Err(page_with(200, "One moment", &body, b"", again)))
    }
}

/// The way to a place, each folder of it a link.
pub fn way(place: &Place<'_>) -> String {
    let mut out = format!(
        "<nav class=\"way\" aria-label=\"Folders\"><a href=\"{}\">{}</a>",
        super::address("s", place.named, &[]),
        text::html(&time::show(place.named.snapshot.time))
    );
    for (depth, name) in place.names.iter().enumerate() {
        let name = text::name(name);
        out += " <span aria-hidden=\"true\">/</span> ";
        if depth + 1 == place.names.len() {
            out += &format!("<b aria-current=\"page\">{name}</b>");
        } else {
            let address = super::address("s", place.named, &place.names[..=depth]);
            out += &format!("<a href=\"{address}\">{name}</a>");
        }
    }
    out + "</nav>"
}

/// The snapshots before and after this one of the same host and sources.
pub fn neighbours<'a>(place: &Place<'a>) -> [Option<&'a Named>; 2] {
    let own = &place.named.snapshot;
    let alike = |named: &&Named| named.snapshot.host == own.host && named.snapshot.sources == own.sources;
    let at = place.all.confirmed.iter().position(|named| named.name == place.named.name).unwrap_or_default();
    let before = place.all.confirmed[..at].iter().rev().find(alike);
    let after = place.all.confirmed.iter().skip(at + 1).find(alike);
    [before, after]
}

/// Links to the pages of a long list around this one. `next`: whether there is more.
pub fn pager(address: &str, from: usize, length: usize, next: bool) -> String {
    if from == 0 && !next {
        return String::new();
    }
    let joint = if address.contains('?') { "&amp;" } else { "?" };
    let mut out = "<nav class=\"pager\" aria-label=\"Pages\">".to_owned();
    if from > 0 {
        let before = from.saturating_sub(length);
        out += &format!("<a rel=\"prev\" href=\"{address}{joint}from={before}\">Back</a>");
    }
    if next {
        out += &format!(
            "<a rel=\"next\" href=\"{address}{joint}from={}\">More</a>",
            from.saturating_add(length)
        );
    }
    out + "</nav>"
}
