//! What a profile takes from another: keys that it does not have itself.

use super::{Entry, Section, Value};

/// Stands in a list for all that is inherited there.
const REST: &str = "...";

/// Puts the keys of `base` under those of `own`: sections key by key; a list takes what it inherits where it says "...".
pub fn under(own: &mut Section, base: &Section) {
    for (key, inherited) in &base.entries {
        match own.entries.get_mut(key) {
            None => {
                own.entries.insert(key.clone(), inherited.clone());
            }
            Some(entry) => match (&mut entry.value, &inherited.value) {
                (Value::Section(mine), Value::Section(theirs)) => under(mine, theirs),
                (Value::List(mine), Value::List(theirs)) => put_rest(mine, theirs),
                (Value::List(mine), _) => put_rest(mine, std::slice::from_ref(inherited)),
                _ => {}
            },
        }
    }
}

/// Takes away the "..." for which nothing was inherited.
pub fn finish(own: &mut Section) {
    for entry in own.entries.values_mut() {
        match &mut entry.value {
            Value::Section(section) => finish(section),
            Value::List(list) => list.retain(|item| !is_rest(item)),
            _ => {}
        }
    }
}

fn is_rest(entry: &Entry) -> bool {
    matches!(&entry.value, Value::Text(text) if text == REST)
}

fn put_rest(mine: &mut Vec<Entry>, theirs: &[Entry]) {
    if let Some(at) = mine.iter().position(is_rest) {
        mine.splice(at..=at, theirs.iter().cloned());
    }
}
