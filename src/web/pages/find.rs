//! Paths by their names, over all snapshots.

use super::layout::{page_with, pager};
use super::versions::doubts;
use super::{address, names};
use crate::catalogue::{self, Match, Timelines, Wanted};
use crate::model::NodeType;
use crate::patterns::{Finder, has_capitals};
use crate::repository::Error;
use crate::terminal::size::show_size;
use crate::terminal::time;
use crate::web::server::{Asked, Given};
use crate::web::text;

/// Paths on one page.
const PAGE: usize = 200;

fn row(found: &Match<'_>, several: bool) -> String {
    let size = match found.facts.kind {
        NodeType::File => text::html(&show_size(found.facts.size)),
        kind => kind.name().to_owned(),
    };
    let names = names(&found.path);
    let mut note = String::new();
    if several {
        note += &format!(" <span class=\"note\">on {}</span>", text::name(&found.host));
    }
    if found.is_deleted {
        note += " <span class=\"tag\">deleted</span>";
    }
    format!(
        "<tr><td class=\"name\"><a href=\"{}\">{}</a>{note}</td><td class=\"number\">{size}</td>\
         <td class=\"wide\">{}</td><td class=\"wide\">{}</td><td><a href=\"{}\">{}</a></td></tr>",
        address("s", found.last, &names),
        text::name(&found.path),
        text::html(&time::show(found.first.snapshot.time)),
        text::html(&time::show(found.last.snapshot.time)),
        text::path("/versions", &names),
        match found.versions {
            1 => "1 version".to_owned(),
            count => format!("{count} versions"),
        },
    )
}

pub fn show(asked: &Asked<'_>) -> Given {
    let wanted = asked.request.value(b"q").unwrap_or_default().trim_ascii();
    let deleted = asked.request.value(b"deleted").is_some();
    let from = asked.request.number(b"from");
    let shown = text::html(&String::from_utf8_lossy(wanted));
    let mut body = format!(
        "<h1>Find</h1><form class=\"form\" action=\"/find\"><label for=\"name\">Piece of a name, or a pattern such as *.odt</label>\
         <input type=\"text\" id=\"name\" name=\"q\" value=\"{shown}\" autocomplete=\"off\" spellcheck=\"false\">\
         <label class=\"check\"><input type=\"checkbox\" name=\"deleted\" value=\"1\"{}> Only what the newest snapshot does not hold any more</label>\
         <button>Find</button></form>",
        if deleted { " checked" } else { "" }
    );
    let answer = |body: &str| page_with(200, "Find", body, wanted, "");
    if wanted.is_empty() {
        return Ok(answer(&body));
    }
    let finder = match Finder::new(wanted, !has_capitals(wanted)) {
        Ok(finder) => finder,
        Err(error) => {
            body += &format!("<p class=\"bad\" role=\"alert\">{}</p>", text::html(&error.to_string()));
            return Ok(answer(&body));
        }
    };
    let all = asked.page.shelf.snapshots()?;
    let catalogue = match asked.catalogue(&all)? {
        Ok(catalogue) => catalogue,
        Err(waiting) => return Ok(waiting),
    };
    let timelines = Timelines::new(&all.confirmed, Some(&catalogue))?;
    let several = timelines.hosts.len() > 1;
    let (mut rows, mut count, mut more) = (String::new(), 0, false);
    let choice = Wanted { deleted, ..Wanted::default() };
    let outcome = catalogue::find(&catalogue, &timelines, &[finder], &choice, asked.stop, &mut |found| {
        if count >= from.saturating_add(PAGE) {
            more = true;
            return Err(Error::Stopped);
        }
        if count >= from {
            rows += &row(&found, several);
        }
        count += 1;
        Ok(())
    });
    match outcome {
        Err(Error::Stopped) if more => {}
        other => other?,
    }
    body += &doubts(&timelines);
    if rows.is_empty() {
        body += "<p role=\"status\">Nothing was found.</p>";
        return Ok(answer(&body));
    }
    body += "<table><thead><tr><th scope=\"col\">Path</th><th scope=\"col\" class=\"number\">Size</th>\
             <th scope=\"col\" class=\"wide\">In snapshots from</th><th scope=\"col\" class=\"wide\">to</th>\
             <th scope=\"col\">Versions</th></tr></thead><tbody>";
    body += &rows;
    body += "</tbody></table>";
    let mut again = format!("/find?q={}", text::encode(wanted));
    if deleted {
        again += "&amp;deleted=1";
    }
    body += &pager(&again, from, PAGE, more);
    Ok(answer(&body))
}
