//! All snapshots: how they grew, and a list of them, newest first.

use std::collections::BTreeMap;

use super::layout::{page, pager};
use super::{address, nowhere};
use crate::repository::snapshots::Named;
use crate::terminal::size::{show_count, show_size};
use crate::terminal::time;
use crate::web::plot::{self, Screen};
use crate::web::server::{Asked, Given};
use crate::web::text;

/// Snapshots on one page.
const PAGE: usize = 100;
/// Drawings on the page: those with the newest snapshots.
const DRAWN: usize = 6;

fn sources(named: &Named) -> String {
    let names: Vec<String> = named.snapshot.sources.iter().map(|source| text::name(source)).collect();
    names.join(", ")
}

fn drawings(list: &[Named]) -> String {
    let mut groups: BTreeMap<(&[u8], &[Vec<u8>]), Vec<&Named>> = BTreeMap::new();
    for named in list {
        groups.entry((&named.snapshot.host, &named.snapshot.sources)).or_default().push(named);
    }
    let mut groups: Vec<_> = groups.into_values().filter(|group| group.len() > 1).collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.last().map(|named| named.snapshot.time)));
    let mut out = String::new();
    for group in groups.iter().take(DRAWN) {
        let Some(last) = group.last() else { continue };
        let what = format!(
            "{}: {}, {} at the last one",
            String::from_utf8_lossy(&last.snapshot.host),
            show_count(group.len() as u64, "snapshot"),
            show_size(last.snapshot.summary.bytes)
        );
        out += &format!(
            "<figure>{}{}<figcaption>{}: {}. <span class=\"key size\">size</span> \
             <span class=\"key new\">added by each</span></figcaption></figure>",
            plot::draw(group, &what, Screen::Wide),
            plot::draw(group, &what, Screen::Narrow),
            text::name(&last.snapshot.host),
            sources(last)
        );
    }
    if groups.len() > DRAWN {
        out += &format!("<p class=\"note\">{} more are not drawn.</p>", groups.len() - DRAWN);
    }
    out
}

pub fn show(asked: &Asked<'_>) -> Given {
    let all = asked.page.shelf.snapshots()?;
    let list = &all.confirmed;
    let from = asked.request.number(b"from");
    if from > 0 && from >= list.len() {
        return Ok(nowhere("There are not so many snapshots."));
    }
    let mut body = "<h1>Snapshots</h1>".to_owned();
    for problem in all.problems.iter().take(10) {
        body += &format!("<p class=\"bad\" role=\"alert\">{}</p>", text::html(&problem.to_string()));
    }
    if list.is_empty() {
        body += "<p>There is no snapshot yet. Make one: <code>copal backup FOLDER</code></p>";
        return Ok(page(200, "Snapshots", &body));
    }
    if from == 0 {
        body += &drawings(list);
    }
    body += "<table><thead><tr><th scope=\"col\">Time</th><th scope=\"col\">Host</th>\
             <th scope=\"col\" class=\"number\">Size</th><th scope=\"col\" class=\"number\">Added</th>\
             <th scope=\"col\" class=\"number wide\">Files</th><th scope=\"col\" class=\"wide\">Folders</th></tr></thead><tbody>";
    for named in list.iter().rev().skip(from).take(PAGE) {
        let snapshot = &named.snapshot;
        let mut notes = String::new();
        for tag in &named.standing.tags {
            notes += &format!(" <span class=\"tag\">{}</span>", text::name(tag.as_bytes()));
        }
        if snapshot.incomplete {
            notes += " <span class=\"tag bad\">incomplete</span>";
        }
        if snapshot.stands_for.is_some() {
            notes += " <span class=\"tag bad\">repaired</span>";
        }
        body += &format!(
            "<tr><td><a href=\"{}\">{}</a>{notes}</td><td>{}</td><td class=\"number\">{}</td>\
             <td class=\"number\">{}</td><td class=\"number wide\">{}</td><td class=\"wide\">{}</td></tr>",
            address("s", named, &[]),
            text::html(&time::show(snapshot.time)),
            text::name(&snapshot.host),
            text::html(&show_size(snapshot.summary.bytes)),
            text::html(&show_size(snapshot.summary.bytes_new)),
            snapshot.summary.files,
            sources(named)
        );
    }
    body += "</tbody></table>";
    body += &pager("/", from, PAGE, list.len() > from + PAGE);
    Ok(page(200, "Snapshots", &body))
}
