//! The entries of a folder as they come. Of one with very many a part is held at a time.

use std::time::{Duration, Instant};

use super::message::{Entry, Reply, Row};
use crate::model::Node;
use crate::repository::Error;

/// Entries of a part: some 100 bytes each.
pub const ENTRIES_MOST: usize = 100_000;
/// Entries that come at a time: few at first, so that something is there at once.
const FIRST_BATCH: usize = 200;
const BATCH: usize = 10_000;
/// No entry waits longer than that for others.
const PATIENCE: Duration = Duration::from_millis(200);

/// Says the entries of a part of a folder, whose names come in order: the part of that number, or the one behind it in which that name is,
/// or would be. What is damaged is said wherever it is. Gives how many entries come after the part.
///
/// Errors: those of the storage, and what `say` gives.
pub fn entries(
    nodes: impl Iterator<Item = Result<Node, Error>>,
    (mut part, name): (usize, Option<&[u8]>),
    most: usize,
    say: &mut dyn FnMut(Reply) -> Result<(), Error>,
) -> Result<u64, Error> {
    let (mut batch, mut full, mut last) = (Vec::new(), FIRST_BATCH, Instant::now());
    let (mut met, mut after) = (0, 0);
    for node in nodes {
        match node {
            Ok(node) => {
                let is_behind = met >= (part + 1) * most;
                if is_behind && after == 0 && name.is_some_and(|name| *node.name <= *name) {
                    part += 1;
                    // Those of the part before, and then none of them any more.
                    say(Reply::Rows(std::mem::take(&mut batch)))?;
                    say(Reply::Part(part))?;
                    full = FIRST_BATCH;
                    batch.push(Row::Entry(entry(node)));
                } else if is_behind {
                    after += 1;
                } else if met >= part * most {
                    batch.push(Row::Entry(entry(node)));
                }
                met += 1;
            }
            Err(error) if error.is_damage() => batch.push(Row::Broken(error.to_string())),
            Err(error) => {
                say(Reply::Rows(batch))?;
                return Err(error);
            }
        }
        if batch.len() >= full || last.elapsed() > PATIENCE {
            // Also when there is nothing new: whoever asked may not wait any more.
            say(Reply::Rows(std::mem::take(&mut batch)))?;
            (full, last) = (BATCH, Instant::now());
        }
    }
    say(Reply::Rows(batch))?;
    Ok(after)
}

fn entry(node: Node) -> Entry {
    let error = node.error.map(|error| error.words());
    let remark = node.lost_words().or(error).map(str::to_owned);
    Entry {
        name: node.name,
        kind: node.kind,
        size: node.size,
        mtime: node.mtime,
        target: node.target,
        remark,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NodeType;

    /// The part that is left, and the names in it, of a folder of 25 whose parts have 10; with what is damaged behind the 4th.
    fn listed(part: usize, name: Option<&[u8]>) -> (usize, Vec<String>, u64) {
        let node = |number: usize| Ok(Node::new(format!("{number:02}").as_bytes(), NodeType::File));
        let damage = || Err(Error::Damaged { object: "tree".to_owned(), what: "broken".to_owned() });
        let nodes = (0..4).map(node).chain([damage()]).chain((4..25).map(node));
        let (mut now, mut rows) = (part, Vec::new());
        let mut say = |reply| {
            match reply {
                Reply::Rows(more) => rows.extend(more),
                Reply::Part(part) => {
                    rows.retain(|row| matches!(row, Row::Broken(_)));
                    now = part;
                }
                other => panic!("{other:?}"),
            }
            Ok(())
        };
        let after = entries(nodes, (part, name), 10, &mut say).unwrap();
        let names = rows.into_iter().map(|row| match row {
            Row::Entry(entry) => String::from_utf8(entry.name).unwrap(),
            Row::Broken(_) => "broken".to_owned(),
        });
        (now, names.collect(), after)
    }

    #[test]
    fn each_entry_is_in_one_part_and_a_name_leads_to_its_part() {
        let names = |from: usize, to: usize| (from..to).map(|number| format!("{number:02}"));
        let first = names(0, 4).chain(["broken".to_owned()]).chain(names(4, 10)).collect::<Vec<_>>();
        let with_damage = |from, to| ["broken".to_owned()].into_iter().chain(names(from, to)).collect();
        let second: Vec<String> = with_damage(10, 20);
        let third: Vec<String> = with_damage(20, 25);
        assert_eq!(listed(0, None), (0, first.clone(), 15));
        assert_eq!(listed(1, None), (1, second.clone(), 5));
        assert_eq!(listed(2, None), (2, third.clone(), 0));
        for (name, wanted) in
            [(&b"09"[..], (0, &first, 15)), (b"", (0, &first, 15)), (b"10", (1, &second, 5))]
        {
            let (part, names, after) = listed(0, Some(name));
            assert_eq!((part, &names, after), wanted, "{name:?}");
        }
        for name in [&b"20"[..], b"24", b"9"] {
            assert_eq!(listed(0, Some(name)), (2, third.clone(), 0), "{name:?}");
        }
    }

    #[test]
    fn whoever_does_not_wait_any_more_stops_it() {
        let nodes = std::iter::repeat_with(|| Ok(Node::new(&b"x"[..], NodeType::File)));
        let mut said = 0;
        let mut say = |_| {
            said += 1;
            if said == 3 { Err(Error::Stopped) } else { Ok(()) }
        };
        assert!(matches!(entries(nodes, (0, None), 100_000, &mut say), Err(Error::Stopped)));
    }
}
