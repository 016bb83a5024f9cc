//! Contents of files and folders, as they come: to be kept, or as an image. What is lost or damaged cuts them off; nothing stands in for it.

use std::io::Write;

use super::file::{IMAGE_MOST, begin, image};
use super::{Place, There, message, nowhere, unreadable};
use crate::dump::{self, Failed, Kind, Work};
use crate::model::{Node, NodeType};
use crate::repository::Error;
use crate::terminal::escape::escape;
use crate::web::answer::{Answer, Content, stream};
use crate::web::output::Patient;
use crate::web::server::Asked;

/// Bytes by which an image is known.
const MAGIC: usize = 16;

/// Gives what the first word of the address asks for. An answer in its place when it can not be had so.
pub fn content(
    asked: &Asked<'_>,
    place: &Place<'_>,
    word: &[u8],
    there: There,
    out: &mut Patient<'_>,
) -> Result<Option<Answer>, Error> {
    match (word, there) {
        (b"zip", There::Folder(tree, node)) => {
            let path = place.path();
            let name = match place.name() {
                Some(name) => [name, b".zip"].concat(),
                None => format!("snapshot-{}.zip", place.named.name.short()).into_bytes(),
            };
            let content = Content { kind: "application/zip", attachment: Some(&name), length: None };
            let mut left_out = |path: &[u8], what: &str| {
                let told = format!("not in the archive: {}: {what}", escape(path));
                asked.watcher.problem(&asked.request.asked, &told);
            };
            let repository = &asked.page.shelf.repository;
            let is_repaired = place.named.snapshot.stands_for.is_some();
            let has_lost = node.is_some_and(|node| node.has_lost_entries());
            let mut work =
                Work { repository, stop: asked.stop, base: &path, is_repaired, left_out: &mut left_out };
            ended(
                asked,
                stream(&content, out, |out| work.folder(Kind::Zip, (tree, has_lost), out).map(drop)),
            );
            Ok(None)
        }
        (b"get", There::Entry(node)) if node.kind == NodeType::File => {
            let content = Content {
                kind: "application/octet-stream",
                attachment: Some(&node.name),
                length: Some(node.size),
            };
            give(asked, place, &node, &content, out);
            Ok(None)
        }
        (b"raw", There::Entry(node)) if node.kind == NodeType::File && node.size <= IMAGE_MOST => {
            let shelf = &asked.page.shelf;
            let Some(kind) = image(&shelf.again(|| begin(&shelf.repository, &node, MAGIC))?) else {
                return Ok(Some(message(415, "No image", "Only images are shown; this can be downloaded.")));
            };
            give(asked, place, &node, &Content { kind, attachment: None, length: Some(node.size) }, out);
            Ok(None)
        }
        (_, There::Entry(node)) => {
            let why = unreadable(&node).unwrap_or_else(|| "It is not given in this way.".to_owned());
            Ok(Some(nowhere(&why)))
        }
        (_, There::Folder(..)) => Ok(Some(nowhere("A folder is given as a zip archive."))),
    }
}

fn give(asked: &Asked<'_>, place: &Place<'_>, node: &Node, content: &Content<'_>, out: &mut Patient<'_>) {
    let (repository, path) = (&asked.page.shelf.repository, place.path());
    let write = |out: &mut dyn Write| dump::file(repository, node, &path, out, asked.stop);
    ended(asked, stream(content, out, write));
}

/// Tells what cut it off, unless that was whoever takes it.
fn ended(asked: &Asked<'_>, outcome: Result<(), Failed>) {
    if let Err(Failed::Read(path, error)) = outcome
        && !matches!(error, Error::Stopped)
    {
        let told = format!("cut off at {}: {error}", escape(&path));
        asked.watcher.problem(&asked.request.asked, &told);
    }
}
