//! What differs between two versions of a file: lines of a text, or two images beside each other.

use super::file::{IMAGE_MOST, begin, image};
use super::layout::page;
use super::{address, message, nowhere};
use crate::diff::patch::{self, Patch};
use crate::model::{Id, Node, NodeType, joined};
use crate::repository::Error;
use crate::repository::snapshots::Named;
use crate::terminal::size::show_size;
use crate::terminal::time;
use crate::web::server::{Asked, Given};
use crate::web::text;

/// Bytes of a file that is compared at most, and lines of what differs that are shown.
const SIZE_MOST: u64 = 2 << 20;
const LINES_MOST: usize = 5000;
/// Bytes by which an image is known.
const MAGIC: usize = 16;

/// The lines of a patch. What is not UTF-8 is shown as such.
fn lines(patch: &[u8]) -> String {
    let mut out = "<pre class=\"patch\" tabindex=\"0\">\n".to_owned();
    // The names of both sides stand above.
    let mut lines = patch.split_inclusive(|byte| *byte == b'\n').skip(2);
    for line in lines.by_ref().take(LINES_MOST) {
        let shown = text::html(&String::from_utf8_lossy(line));
        let shown = shown.trim_end_matches('\n');
        out += &match line.first() {
            Some(b'+') => format!("<ins>{shown}</ins>\n"),
            Some(b'-') => format!("<del>{shown}</del>\n"),
            Some(b'@') => format!("<b>{shown}</b>\n"),
            _ => format!("{shown}\n"),
        };
    }
    out += "</pre>";
    if lines.next().is_some() {
        out += &format!("<p class=\"note\">Only the first {LINES_MOST} lines of what differs are shown.</p>");
    }
    out
}

fn differences(asked: &Asked<'_>, names: &[Vec<u8>], sides: [(&Named, &Node); 2]) -> Result<String, Error> {
    let repository = &asked.page.shelf.repository;
    let [(_, before), (_, after)] = sides;
    if before.content == after.content && before.size == after.size {
        return Ok("<p>Both hold the same.</p>".to_owned());
    }
    let is_image = |node: &Node| -> Result<bool, Error> {
        let begin = asked.page.shelf.again(|| begin(repository, node, MAGIC))?;
        Ok(node.size <= IMAGE_MOST && image(&begin).is_some())
    };
    if is_image(before)? && is_image(after)? {
        let shown = sides.map(|(named, _)| {
            format!(
                "<figure><img class=\"preview\" src=\"{}\" alt=\"The image of that time\"><figcaption>{}</figcaption></figure>",
                address("raw", named, names),
                text::html(&time::show(named.snapshot.time))
            )
        });
        return Ok(format!("<div class=\"pair\">{}</div>", shown.concat()));
    }
    if before.size > SIZE_MOST || after.size > SIZE_MOST {
        let most = text::html(&show_size(SIZE_MOST));
        return Ok(format!("<p>They differ. Lines are compared of files of up to {most}.</p>"));
    }
    let read = |node: &Node| asked.page.shelf.again(|| patch::read(repository, &node.content, node.size));
    let path = joined(names);
    let patch = patch::patch(&read(before)?, &read(after)?, [&path, &path]);
    Ok(match patch {
        Ok(Patch::Same) => "<p>Both hold the same.</p>".to_owned(),
        Ok(Patch::Binary) => "<p>They differ, and are no texts.</p>".to_owned(),
        Ok(Patch::Text(text)) => lines(&text),
        Err(error) => format!("<p class=\"bad\">{}</p>", text::html(&error.to_string())),
    })
}

pub fn show(asked: &Asked<'_>, names: &[Vec<u8>]) -> Given {
    let all = asked.page.shelf.snapshots()?;
    let side = |field: &[u8]| {
        let id = Id::parse(std::str::from_utf8(asked.request.value(field)?).ok()?)?;
        all.confirmed.iter().find(|named| named.name == id)
    };
    let (Some(one), Some(other)) = (side(b"a"), side(b"b")) else {
        return Ok(message(400, "Compare", "Choose two versions first."));
    };
    let (before, after) = if one.snapshot.time <= other.snapshot.time { (one, other) } else { (other, one) };
    let find = |named: &Named| asked.page.shelf.find(named.snapshot.root, names);
    let (Some(old), Some(new)) = (find(before)?, find(after)?) else {
        return Ok(nowhere("One of these snapshots holds no such path."));
    };
    let title = text::name(&new.name);
    let mut body = format!(
        "<h1>{title}</h1><p class=\"name\"><a href=\"{}\">{}</a></p><p>From <del>{}</del> to <ins>{}</ins></p>",
        text::path("/versions", names),
        text::name(&joined(names)),
        link(before, names),
        link(after, names)
    );
    body += &match (old.kind, new.kind) {
        (NodeType::File, NodeType::File) => differences(asked, names, [(before, &old), (after, &new)])?,
        _ => "<p>Only files are compared.</p>".to_owned(),
    };
    Ok(page(200, &title, &body))
}

fn link(named: &Named, names: &[Vec<u8>]) -> String {
    format!("<a href=\"{}\">{}</a>", address("s", named, names), text::html(&time::show(named.snapshot.time)))
}
