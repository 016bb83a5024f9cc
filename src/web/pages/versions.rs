//! Every version of a path, and a choice of two to compare.

use super::layout::page;
use super::{address, nowhere};
use crate::catalogue::{self, History, Timelines, Version};
use crate::model::{NodeType, joined};
use crate::terminal::size::{show_count, show_size};
use crate::terminal::time;
use crate::web::server::{Asked, Given};
use crate::web::text;

/// What may be missing of what the catalogue says.
pub fn doubts(timelines: &Timelines<'_>) -> String {
    let mut out = String::new();
    let unknown = timelines.unknown();
    if unknown > 0 {
        out += &format!(
            "<p class=\"bad\">{unknown} of the oldest snapshots are not in the catalogue, which is full.</p>"
        );
    }
    let partial = timelines.partial().count() as u64;
    if partial > 0 {
        out += &format!(
            "<p class=\"bad\" role=\"alert\">{} could be read only in part: what else is in there is not known.</p>",
            show_count(partial, "snapshot")
        );
    }
    out
}

fn row(names: &[Vec<u8>], version: &Version<'_>, place: usize, can_compare: bool) -> String {
    let facts = &version.facts;
    let size = match facts.kind {
        NodeType::File => text::html(&show_size(facts.size)),
        kind => kind.name().to_owned(),
    };
    let mut notes = String::new();
    if let Some(gone) = version.gone {
        notes += &format!(
            " <span class=\"tag\">deleted by {}</span>",
            text::html(&time::show(gone.snapshot.time))
        );
    }
    if let Some(origin) = &version.origin {
        notes += &format!(
            " <span class=\"note\">was <a href=\"{}\">{}</a></span>",
            text::path("/versions", &super::names(origin)),
            text::name(origin)
        );
    }
    let choose = |field: &str, checked: bool, what: &str| match can_compare {
        true => format!(
            "<td><input type=\"radio\" name=\"{field}\" value=\"{}\"{} aria-label=\"{what} version {}\"></td>",
            version.last.name,
            if checked { " checked" } else { "" },
            place + 1
        ),
        false => String::new(),
    };
    let get = match facts.kind {
        NodeType::File => {
            format!("<a href=\"{}\" download>Download</a>", address("get", version.last, names))
        }
        _ => String::new(),
    };
    format!(
        "<tr>{}{}<td><a href=\"{}\">{}</a>{notes}</td><td class=\"number\">{size}</td>\
         <td class=\"wide\">{}</td><td class=\"wide\">{}</td><td class=\"number wide\">{}</td><td class=\"wide\">{get}</td></tr>",
        choose("a", place == 1, "Compare from"),
        choose("b", place == 0, "Compare to"),
        address("s", version.last, names),
        text::html(&time::show(facts.mtime)),
        text::html(&time::show(version.first.snapshot.time)),
        text::html(&time::show(version.last.snapshot.time)),
        version.snapshots
    )
}

fn table(names: &[Vec<u8>], history: &History<'_>) -> String {
    let files = history.versions.iter().filter(|version| version.facts.kind == NodeType::File).count();
    let can_compare = files > 1;
    let mut out = format!("<h2>On {}</h2>", text::name(&history.host));
    if can_compare {
        out += &format!("<form action=\"{}\">", text::path("/diff", names));
    }
    out += "<table><thead><tr>";
    if can_compare {
        out += "<th scope=\"col\">From</th><th scope=\"col\">To</th>";
    }
    out += "<th scope=\"col\">Changed</th><th scope=\"col\" class=\"number\">Size</th>\
            <th scope=\"col\" class=\"wide\">In snapshots from</th><th scope=\"col\" class=\"wide\">to</th>\
            <th scope=\"col\" class=\"number wide\">Count</th><th scope=\"col\" class=\"wide\"><span class=\"unseen\">Download</span></th></tr></thead><tbody>";
    for (place, version) in history.versions.iter().enumerate() {
        out += &row(names, version, place, can_compare);
    }
    out += "</tbody></table>";
    if can_compare {
        out += "<p><button>Compare</button></p></form>";
    }
    out
}

pub fn show(asked: &Asked<'_>, names: &[Vec<u8>]) -> Given {
    let all = asked.page.shelf.snapshots()?;
    let catalogue = match asked.catalogue(&all)? {
        Ok(catalogue) => catalogue,
        Err(waiting) => return Ok(waiting),
    };
    let timelines = Timelines::new(&all.confirmed, Some(&catalogue))?;
    let slices: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    let Some(number) = catalogue.number(&slices)?.filter(|_| !names.is_empty()) else {
        return Ok(nowhere("No snapshot holds such a path."));
    };
    let histories = catalogue::history(&catalogue, &timelines, number, false)?;
    let title = names.last().map_or_else(String::new, |name| text::name(name));
    let mut body =
        format!("<h1>Versions of {title}</h1><p class=\"name\">{}</p>", text::name(&joined(names)));
    for history in &histories {
        body += &table(names, history);
    }
    if histories.is_empty() {
        body += "<p>No snapshot that is still there holds it.</p>";
    }
    body += &doubts(&timelines);
    Ok(page(200, &format!("Versions of {title}"), &body))
}
