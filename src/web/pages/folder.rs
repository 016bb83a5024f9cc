//! What is in a folder of a snapshot.

use super::layout::{neighbours, page, pager, way};
use super::{Place, address, names, nowhere, unreadable};
use crate::model::{Id, Node, NodeType};
use crate::repository::Error;
use crate::terminal::size::{show_count, show_size};
use crate::terminal::time;
use crate::web::server::{Asked, Given};
use crate::web::text;

/// Entries on one page.
const PAGE: usize = 500;
/// Things that can not be read that are named on one page.
const HIT: usize = 10;

/// The page of a list that is looked at.
struct Listed {
    nodes: Vec<Node>,
    more: bool,
    /// What can not be read.
    hit: Vec<String>,
}

fn list(asked: &Asked<'_>, tree: Id, from: usize) -> Result<Listed, Error> {
    let mut listed = Listed { nodes: Vec::new(), more: false, hit: Vec::new() };
    let mut place = 0;
    for node in asked.page.shelf.repository.nodes(tree) {
        match node {
            Ok(_) if place < from => place += 1,
            Ok(node) if listed.nodes.len() < PAGE => listed.nodes.push(node),
            Ok(_) => {
                listed.more = true;
                break;
            }
            // It costs what it hits, and the rest is listed.
            Err(error) if error.is_damage() => {
                if listed.hit.len() < HIT {
                    listed.hit.push(error.to_string());
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(listed)
}

fn row(place: &Place<'_>, node: &Node) -> String {
    let names: Vec<Vec<u8>> = place.names.iter().cloned().chain([node.name.clone()]).collect();
    let is_folder = node.kind == NodeType::Directory;
    let size = match node.kind {
        NodeType::File => text::html(&show_size(node.size)),
        NodeType::Directory => String::new(),
        kind => kind.name().to_owned(),
    };
    let mut note = String::new();
    if node.kind == NodeType::Symlink {
        note = format!(" <span class=\"note\">to {}</span>", text::name(&node.target));
    } else if let Some(why) = unreadable(node) {
        note = format!(" <span class=\"tag bad\">{}</span>", text::html(&why));
    } else if node.has_lost_entries() {
        note = " <span class=\"tag bad\">some of it is lost</span>".to_owned();
    }
    let get = match node.kind {
        NodeType::File => {
            format!("<a href=\"{}\" download>Download</a>", address("get", place.named, &names))
        }
        _ => String::new(),
    };
    format!(
        "<tr><td class=\"name\"><a class=\"{}\" href=\"{}\">{}{}</a>{note}</td><td class=\"number\">{size}</td>\
         <td class=\"wide\">{}</td><td class=\"wide\">{get}</td></tr>",
        if is_folder { "folder" } else { "file" },
        address("s", place.named, &names),
        text::name(&node.name),
        if is_folder { "/" } else { "" },
        text::html(&time::show(node.mtime)),
    )
}

pub fn show(asked: &Asked<'_>, place: &Place<'_>, tree: Id, node: Option<&Node>) -> Given {
    let from = asked.request.number(b"from");
    let mut listed = list(asked, tree, from)?;
    if !listed.hit.is_empty() {
        // Perhaps it was moved meanwhile: then it is found where it is now.
        asked.page.shelf.look_again()?;
        listed = list(asked, tree, from)?;
    }
    if from > 0 && listed.nodes.is_empty() {
        return Ok(nowhere("There are not so many entries."));
    }
    let title = place.name().map_or_else(|| "Snapshot".to_owned(), text::name);
    let mut body = format!("{}<h1>{title}</h1>", way(place));
    body += &actions(asked, place, tree)?;
    if place.names.is_empty() {
        body += &facts(place);
    }
    let marked = node.map_or(place.named.snapshot.stands_for.is_some(), Node::has_lost_entries);
    if marked {
        body += "<p class=\"bad\" role=\"alert\">Some entries are lost, as a repair marked it.</p>";
    }
    for hit in &listed.hit {
        asked.watcher.problem(&asked.request.asked, hit);
        body += &format!("<p class=\"bad\" role=\"alert\">{}</p>", text::html(hit));
    }
    if listed.nodes.is_empty() {
        let what = if listed.hit.is_empty() { "Nothing is in this folder." } else { "" };
        body += &format!("<p>{what}</p>");
        return Ok(page(200, &title, &body));
    }
    body += "<table><thead><tr><th scope=\"col\">Name</th><th scope=\"col\" class=\"number\">Size</th>\
             <th scope=\"col\" class=\"wide\">Changed</th><th scope=\"col\" class=\"wide\"><span class=\"unseen\">Download</span></th></tr></thead><tbody>";
    for node in &listed.nodes {
        body += &row(place, node);
    }
    body += "</tbody></table>";
    body += &pager(&place.address("s"), from, PAGE, listed.more);
    Ok(page(200, &title, &body))
}

/// What is known of the snapshot.
fn facts(place: &Place<'_>) -> String {
    let snapshot = &place.named.snapshot;
    let sources = snapshot.sources.iter().map(|source| {
        let address = address("s", place.named, &names(source));
        format!("<a href=\"{address}\">{}</a>", text::name(source))
    });
    let counts = format!(
        "{}, {} in all",
        show_count(snapshot.summary.files, "file"),
        show_size(snapshot.summary.bytes)
    );
    let mut facts = vec![
        ("Id", place.named.name.to_string()),
        ("Host", text::name(&snapshot.host)),
        ("Saved", sources.collect::<Vec<_>>().join(", ")),
        ("Holds", text::html(&counts)),
    ];
    if !snapshot.description.is_empty() {
        facts.push(("Described", text::name(snapshot.description.as_bytes())));
    }
    if snapshot.summary.unreadable > 0 {
        facts.push(("Unreadable", show_count(snapshot.summary.unreadable, "entry")));
    }
    let lines = facts.iter().map(|(what, value)| format!("<div><dt>{what}</dt><dd>{value}</dd></div>"));
    format!("<dl>{}</dl>", lines.collect::<String>())
}

/// What can be done with the folder, and where it is in other snapshots.
fn actions(asked: &Asked<'_>, place: &Place<'_>, tree: Id) -> Result<String, Error> {
    let mut out = "<p class=\"actions\">".to_owned();
    out += &format!("<a class=\"button\" href=\"{}\" download>Download as zip</a>", place.address("zip"));
    if asked.page.guard.is_loopback() {
        out += &format!("<a class=\"button\" href=\"{}\">Restore</a>", place.address("restore"));
    }
    out += &around(asked, place, Some(tree))?;
    Ok(out + "</p>")
}

/// Links to the same path in the snapshots before and after.
pub fn around(asked: &Asked<'_>, place: &Place<'_>, tree: Option<Id>) -> Result<String, Error> {
    let mut out = String::new();
    for (named, word) in neighbours(place).into_iter().zip(["Before", "After"]) {
        let Some(named) = named else { continue };
        let (is_there, is_same) = match place.names {
            [] => (true, tree == Some(named.snapshot.root)),
            names => match asked.page.shelf.find(named.snapshot.root, names) {
                Ok(Some(node)) => (true, tree.is_some() && node.tree == tree),
                Ok(None) => (false, false),
                Err(error) if error.is_damage() => (true, false),
                Err(error) => return Err(error),
            },
        };
        let when = text::html(&time::show(named.snapshot.time));
        out += &match is_there {
            true => format!(
                "<a class=\"button quiet\" href=\"{}\">{word}: {when}{}</a>",
                address("s", named, place.names),
                if is_same { " (the same)" } else { "" }
            ),
            false => format!("<span class=\"note\">{word} ({when}): not there</span>"),
        };
    }
    Ok(out)
}
