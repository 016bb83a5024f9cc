//! One entry of a snapshot: what is known of it, and a look into it.

use super::folder::around;
use super::layout::{page, way};
use super::{Place, unreadable};
use crate::model::{Node, NodeType};
use crate::repository::{Error, Repository};
use crate::terminal::size::show_size;
use crate::terminal::time;
use crate::web::server::{Asked, Given};
use crate::web::text;

/// Bytes of a text that are shown.
const SHOWN: usize = 64 << 10;
/// Bytes of an image that is shown at most.
pub const IMAGE_MOST: u64 = 64 << 20;

/// The type of an image by its first bytes: one of those that hold nothing that runs.
pub fn image(begin: &[u8]) -> Option<&'static str> {
    match begin {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

/// The first bytes of a file, so many or all there are.
pub fn begin(repository: &Repository, node: &Node, most: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let poured = repository.pour(&node.content, node.size, &mut |piece| {
        bytes.extend_from_slice(&piece[..piece.len().min(most - bytes.len())]);
        if bytes.len() < most { Ok(()) } else { Err(Error::Stopped) }
    });
    match poured {
        Err(Error::Stopped) if bytes.len() == most => Ok(bytes),
        other => other.map(|()| bytes),
    }
}

/// Bytes as text, where they are some: cut where the last letter is not whole.
fn readable(bytes: &[u8], is_cut: bool) -> Option<&str> {
    if bytes.contains(&0) {
        return None;
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) if is_cut && error.error_len().is_none() => {
            bytes.get(..error.valid_up_to()).and_then(|bytes| std::str::from_utf8(bytes).ok())
        }
        Err(_) => None,
    }
}

fn preview(asked: &Asked<'_>, place: &Place<'_>, node: &Node) -> Result<String, Error> {
    if node.size == 0 {
        return Ok("<p>It is empty.</p>".to_owned());
    }
    let begin = match asked.page.shelf.again(|| begin(&asked.page.shelf.repository, node, SHOWN)) {
        Ok(begin) => begin,
        Err(error) if error.is_damage() => {
            asked.tell(&error);
            return Ok(format!("<p class=\"bad\" role=\"alert\">{}</p>", text::html(&error.to_string())));
        }
        Err(error) => return Err(error),
    };
    if image(&begin).is_some() {
        if node.size > IMAGE_MOST {
            return Ok("<p class=\"note\">The image is too large to be shown here.</p>".to_owned());
        }
        return Ok(format!("<img class=\"preview\" src=\"{}\" alt=\"The image\">", place.address("raw")));
    }
    let is_cut = begin.len() as u64 != node.size;
    Ok(match readable(&begin, is_cut) {
        Some(shown) => format!(
            "<h2>Content{}</h2><pre tabindex=\"0\">\n{}</pre>",
            if is_cut { ", its first 64 KiB" } else { "" },
            text::html(shown)
        ),
        None => "<p class=\"note\">It is neither a text nor an image that is shown here.</p>".to_owned(),
    })
}

fn facts(node: &Node) -> String {
    let owner = |name: &[u8], number: u32| match name {
        b"" => number.to_string(),
        name => text::name(name),
    };
    let mut facts = vec![("Type", node.kind.name().to_owned())];
    if node.kind == NodeType::File {
        let exact = if node.size < 1024 { String::new() } else { format!(" ({} bytes)", node.size) };
        facts.push(("Size", text::html(&show_size(node.size)) + &exact));
    }
    if node.kind == NodeType::Symlink {
        facts.push(("Leads to", text::name(&node.target)));
    }
    facts.push(("Changed", text::html(&time::show(node.mtime))));
    facts.push(("Mode", format!("{:04o}", node.mode)));
    facts.push(("Owner", format!("{}, group {}", owner(&node.user, node.uid), owner(&node.group, node.gid))));
    if !node.xattrs.is_empty() {
        let names: Vec<String> = node.xattrs.iter().map(|xattr| text::name(&xattr.name)).collect();
        facts.push(("Attributes", names.join(", ")));
    }
    let lines = facts.iter().map(|(what, value)| format!("<div><dt>{what}</dt><dd>{value}</dd></div>"));
    format!("<dl>{}</dl>", lines.collect::<String>())
}

pub fn show(asked: &Asked<'_>, place: &Place<'_>, node: &Node) -> Given {
    let title = text::name(&node.name);
    let mut body = format!("{}<h1>{title}</h1><p class=\"actions\">", way(place));
    if node.kind == NodeType::File {
        body += &format!("<a class=\"button\" href=\"{}\" download>Download</a>", place.address("get"));
    }
    if node.kind != NodeType::Unreadable && asked.page.guard.is_loopback() {
        body += &format!("<a class=\"button\" href=\"{}\">Restore</a>", place.address("restore"));
    }
    body += &format!("<a class=\"button\" href=\"{}\">Versions</a>", text::path("/versions", place.names));
    body += &around(asked, place, None)?;
    body += "</p>";
    if let Some(why) = unreadable(node) {
        body += &format!("<p class=\"bad\" role=\"alert\">{}</p>", text::html(&why));
    } else {
        body += &facts(node);
        if node.kind == NodeType::File {
            body += &preview(asked, place, node)?;
        }
    }
    Ok(page(200, &title, &body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_run_is_no_image() {
        for text in [&b"<svg xmlns="[..], b"<html>", b"GIF", b"RIFF____WAVE", b"", b"\xff\xd8", b"%PDF-1.4"] {
            assert_eq!(image(text), None);
        }
        assert_eq!(image(b"GIF89a...."), Some("image/gif"));
        assert_eq!(image(b"RIFF....WEBPVP8 "), Some("image/webp"));
    }

    #[test]
    fn a_letter_that_is_cut_does_not_make_a_text_none() {
        assert_eq!(readable("Gr\u{fc}".as_bytes(), false), Some("Gr\u{fc}"));
        assert_eq!(readable(b"Gr\xc3", true), Some("Gr"));
        assert_eq!(readable(b"Gr\xc3", false), None);
        assert_eq!(readable(b"a\0", false), None);
        assert_eq!(readable(b"a\xffb", true), None);
    }
}
