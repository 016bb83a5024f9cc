//! A drawing of the snapshots of one host and the same sources: how large each was, and how much it added.

use std::fmt::Write as _;

use super::text;
use crate::repository::snapshots::Named;
use crate::terminal::size::show_size;
use crate::terminal::time;

/// For what screen it is drawn: what is written in it must not shrink with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Screen {
    Wide,
    Narrow,
}

/// Height of the drawing, in its own units.
const HEIGHT: f64 = 150.0;
/// Room for what is written: to the left, and at top and bottom.
const LEFT: f64 = 78.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 24.0;
const RIGHT: f64 = 10.0;

impl Screen {
    /// Width in the drawing's own units.
    fn width(self) -> f64 {
        match self {
            Screen::Wide => 720.0,
            Screen::Narrow => 360.0,
        }
    }

    /// Points that are drawn; more snapshots than that share them.
    fn points(self) -> usize {
        match self {
            Screen::Wide => 180,
            Screen::Narrow => 90,
        }
    }

    /// The class of those that are shown on such a screen alone.
    fn class(self) -> &'static str {
        match self {
            Screen::Wide => "wide",
            Screen::Narrow => "narrow",
        }
    }
}

struct Point {
    seconds: i64,
    size: u64,
    added: u64,
}

/// At most so many points: the size is that of the last snapshot of each, what was added that of all of them.
fn points(list: &[&Named], most: usize) -> Vec<Point> {
    let share = list.len().div_ceil(most).max(1);
    let point = |part: &[&Named]| {
        let last = &part.last()?.snapshot;
        let added = part.iter().map(|named| named.snapshot.summary.bytes_new).fold(0, u64::saturating_add);
        Some(Point { seconds: last.time.seconds, size: last.summary.bytes, added })
    };
    list.chunks(share).filter_map(point).collect()
}

/// The drawing of these snapshots, oldest first. Nothing where there are fewer than two.
pub fn draw(list: &[&Named], what: &str, screen: Screen) -> String {
    let width = screen.width();
    let (points, [Some(first), .., Some(last)]) =
        (points(list, screen.points()), [list.first(), list.last()])
    else {
        return String::new();
    };
    if points.len() < 2 {
        return String::new();
    }
    let begin = points.first().map_or(0, |point| point.seconds);
    let span = points.last().map_or(0, |point| point.seconds).saturating_sub(begin).max(1) as f64;
    let most = points.iter().map(|point| point.size.max(point.added)).max().unwrap_or(0).max(1);
    let floor = HEIGHT - BOTTOM;
    let across = |seconds: i64| LEFT + seconds.saturating_sub(begin) as f64 / span * (width - LEFT - RIGHT);
    let up = |bytes: u64| floor - bytes as f64 / most as f64 * (floor - TOP);
    let mut out = format!(
        "<svg class=\"{}\" viewBox=\"0 0 {width} {HEIGHT}\" role=\"img\" aria-label=\"{}\"><title>{}</title>",
        screen.class(),
        text::html(what),
        text::html(what)
    );
    // Writing to a String cannot fail.
    for share in [0u64, 1, 2] {
        let bytes = most / 2 * share;
        let y = up(bytes);
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            width - RIGHT,
            LEFT - 6.0,
            y + 4.0,
            text::html(&show_size(bytes))
        );
    }
    let mut line = String::new();
    for point in &points {
        let (x, y) = (across(point.seconds), up(point.size));
        let _ = write!(line, "{}{x:.1} {y:.1}", if line.is_empty() { "M" } else { "L" });
    }
    let _ = write!(
        out,
        "<path class=\"area\" d=\"{line}L{:.1} {floor}L{LEFT} {floor}Z\"/><path class=\"line\" d=\"{line}\"/>",
        width - RIGHT
    );
    for point in points.iter().filter(|point| point.added > 0) {
        let y = up(point.added).min(floor - 1.0);
        let _ = write!(
            out,
            "<rect class=\"added\" x=\"{:.1}\" y=\"{y:.1}\" width=\"3\" height=\"{:.1}\"/>",
            across(point.seconds) - 1.5,
            floor - y
        );
    }
    for (place, anchor, named) in [(LEFT, "start", first), (width - RIGHT, "end", last)] {
        let shown = time::show(named.snapshot.time);
        let day = shown.split(' ').next().unwrap_or_default();
        let _ = write!(
            out,
            "<text x=\"{place}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            HEIGHT - 7.0,
            text::html(day)
        );
    }
    out + "</svg>"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Id, Snapshot, Time};
    use crate::repository::notes::Standing;

    #[test]
    fn many_snapshots_and_strange_times_are_drawn_within_the_frame() {
        for (count, step, size) in [(2, 0, 0), (2, i64::MAX / 4, u64::MAX), (10_000, 3600, 1 << 40)] {
            let mut list = Vec::new();
            for number in 0..count {
                let mut snapshot = Snapshot { time: Time::new(step * number, 0), ..Snapshot::default() };
                snapshot.summary.bytes = size;
                snapshot.summary.bytes_new = size;
                list.push(Named {
                    name: Id::default(),
                    snapshot,
                    confirmed: None,
                    standing: Standing::default(),
                });
            }
            for screen in [Screen::Wide, Screen::Narrow] {
                let drawn = draw(&list.iter().collect::<Vec<_>>(), "<what>", screen);
                assert!(
                    drawn.len() < 60_000 && !drawn.contains("NaN") && !drawn.contains("<what>"),
                    "{drawn}"
                );
                for number in
                    drawn.split(['"', ' ', 'M', 'L', 'Z']).filter_map(|word| word.parse::<f64>().ok())
                {
                    assert!((0.0..=screen.width()).contains(&number), "{number} in {drawn}");
                }
            }
        }
    }
}
