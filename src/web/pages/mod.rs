//! The pages, each made of text that was escaped; and which address leads to which.

mod compare;
mod file;
mod find;
mod folder;
mod give;
mod layout;
mod restore;
mod timeline;
mod versions;

use super::answer::Answer;
use super::guard::Refusal;
use super::output::Patient;
use super::server::{Asked, Given};
use super::text;
use crate::model::{Id, Node, NodeType, joined};
use crate::repository::Error;
use crate::repository::snapshots::{Named, Snapshots};
use layout::page;

/// A page that says one thing.
pub fn message(status: u16, title: &str, what: &str) -> Answer {
    let (title, what) = (text::html(title), text::html(what));
    page(status, &title, &format!("<h1>{title}</h1><p>{what}</p><p><a href=\"/\">All snapshots</a></p>"))
}

/// What those are told who may not look.
pub fn refused(refusal: Refusal) -> Answer {
    match refusal {
        Refusal::Host => message(421, "Another host", "This is not the address that copal web listens on."),
        Refusal::Foreign => message(403, "Not from here", "The page of another site asked for this."),
        Refusal::Token => message(
            403,
            "No entry",
            "Open the address that copal web printed when it began: it has the token that lets you in.",
        ),
    }
}

/// What comes first: it gets the cookie, and leads on without the token in the address. No redirection: a browser that was sent by another
/// site would not show the cookie.
pub fn welcome() -> Answer {
    let body = "<p><a href=\"/\">Go on to the snapshots</a></p>";
    layout::page_with(200, "copal", body, b"", "<meta http-equiv=\"refresh\" content=\"0;url=/\">")
}

/// What whoever asked is told of an error.
pub fn failed(error: &Error) -> Answer {
    let title = if error.is_damage() { "Damaged" } else { "Not given" };
    message(500, title, &error.to_string())
}

fn nowhere(what: &str) -> Answer {
    message(404, "Not there", what)
}

/// A path in a snapshot.
pub struct Place<'a> {
    pub all: &'a Snapshots,
    pub named: &'a Named,
    pub names: &'a [Vec<u8>],
}

impl Place<'_> {
    /// The path as it is stored.
    fn path(&self) -> Vec<u8> {
        joined(self.names)
    }

    /// The address of the path under that first word.
    fn address(&self, word: &str) -> String {
        address(word, self.named, self.names)
    }

    /// The name of its last part; none at the root.
    fn name(&self) -> Option<&[u8]> {
        self.names.last().map(Vec::as_slice)
    }
}

fn address(word: &str, named: &Named, names: &[Vec<u8>]) -> String {
    text::path(&format!("/{word}/{}", named.name), names)
}

/// The names of a stored path.
fn names(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
}

/// Why nothing can be given of an entry that could not be read.
fn unreadable(node: &Node) -> Option<String> {
    match (node.kind, node.has_lost_entries()) {
        (NodeType::Unreadable, true) => Some("It is lost, as a repair marked it.".to_owned()),
        (NodeType::Unreadable, false) => Some(format!(
            "It could not be read when the snapshot was made: {}.",
            node.error.map_or("could not be read", |error| error.words())
        )),
        _ => None,
    }
}

/// What is at a place.
pub enum There {
    Folder(Id, Option<Box<Node>>),
    Entry(Box<Node>),
}

/// What is there; none where nothing is.
fn look(asked: &Asked<'_>, place: &Place<'_>) -> Result<Option<There>, Error> {
    if place.names.is_empty() {
        return Ok(Some(There::Folder(place.named.snapshot.root, None)));
    }
    let node = asked.page.shelf.find(place.named.snapshot.root, place.names)?;
    Ok(node.map(|node| match (node.kind, node.tree) {
        (NodeType::Directory, Some(tree)) => There::Folder(tree, Some(Box::new(node))),
        _ => There::Entry(Box::new(node)),
    }))
}

/// Answers what only looks. None when the answer was written already.
pub fn given(asked: &Asked<'_>, out: &mut Patient<'_>) -> Result<Option<Answer>, Error> {
    let Some((word, rest)) = asked.request.parts.split_first() else {
        return timeline::show(asked).map(Some);
    };
    let shown = match word.as_slice() {
        b"style.css" => Ok(Answer::file("text/css; charset=utf-8", include_str!("style.css"))),
        b"icon.svg" => Ok(Answer::file("image/svg+xml", include_str!("icon.svg"))),
        b"find" => find::show(asked),
        b"versions" => versions::show(asked, rest),
        b"diff" => compare::show(asked, rest),
        b"restoring" => Ok(restore::state(asked)),
        b"s" | b"raw" | b"get" | b"zip" | b"restore" => {
            let all = asked.page.shelf.snapshots()?;
            let Some(place) = placed(&all, rest) else {
                return Ok(Some(nowhere("There is no such snapshot, or it was forgotten.")));
            };
            let Some(there) = look(asked, &place)? else {
                return Ok(Some(nowhere("This snapshot holds no such path.")));
            };
            match word.as_slice() {
                b"s" => match there {
                    There::Folder(tree, node) => folder::show(asked, &place, tree, node.as_deref()),
                    There::Entry(node) => file::show(asked, &place, &node),
                },
                b"restore" => Ok(restore::ask(asked, &place, &there)),
                word => return give::content(asked, &place, word, there, out),
            }
        }
        _ => Ok(nowhere("There is no such page.")),
    };
    shown.map(Some)
}

/// Answers what changes something.
pub fn change(asked: &Asked<'_>) -> Answer {
    let done = || -> Given {
        let Some((word, rest)) = asked.request.parts.split_first() else {
            return Ok(nowhere("There is no such page."));
        };
        let all = asked.page.shelf.snapshots()?;
        match placed(&all, rest) {
            Some(place) if word == b"restore" => match look(asked, &place)? {
                Some(_) => Ok(restore::begin(asked, &place)),
                None => Ok(nowhere("This snapshot holds no such path.")),
            },
            _ => Ok(nowhere("There is no such page.")),
        }
    };
    crate::repository::caught(done).unwrap_or_else(|error| {
        asked.tell(&error);
        failed(&error)
    })
}

/// The snapshot that the first part of an address names, and the path behind it.
fn placed<'a>(all: &'a Snapshots, parts: &'a [Vec<u8>]) -> Option<Place<'a>> {
    let (id, names) = parts.split_first()?;
    let id = Id::parse(std::str::from_utf8(id).ok()?)?;
    let named = all.confirmed.iter().find(|named| named.name == id)?;
    Some(Place { all, named, names })
}
