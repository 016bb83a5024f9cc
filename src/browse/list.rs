//! A list on the screen: which rows are shown, which is chosen, what is in sight, and the filter that is typed.

use super::key::Key;

/// Rows are known by their number; what they are is the owner's business.
#[derive(Debug, Default)]
pub struct List {
    shown: Vec<usize>,
    at: usize,
    top: usize,
    pub filter: String,
    /// The filter is being typed.
    pub is_typing: bool,
}

/// What a key was to a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Took {
    Nothing,
    Moved,
    /// The filter is another one: say again what is shown.
    Filtered,
}

impl List {
    /// Shows these rows, in that order. What was chosen stays chosen where it is among them.
    pub fn show(&mut self, shown: Vec<usize>) {
        let chosen = self.chosen();
        self.shown = shown;
        if chosen.is_none_or(|row| !self.choose(row)) {
            self.at = self.at.min(self.shown.len().saturating_sub(1));
        }
    }

    /// The row that is chosen.
    pub fn chosen(&self) -> Option<usize> {
        self.shown.get(self.at).copied()
    }

    /// Chooses a row; whether it is shown.
    pub fn choose(&mut self, row: usize) -> bool {
        let place = self.shown.iter().position(|shown| *shown == row);
        self.at = place.unwrap_or(self.at);
        place.is_some()
    }

    /// How many rows are shown, in sight or not.
    pub fn len(&self) -> usize {
        self.shown.len()
    }

    pub fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }

    /// Which of the shown rows is chosen, from 0.
    pub fn place(&self) -> usize {
        self.at
    }

    /// Moves what is in sight so that the chosen row is.
    pub fn settle(&mut self, height: usize) {
        let height = height.max(1);
        self.top = self.top.min(self.at).max((self.at + 1).saturating_sub(height));
        self.top = self.top.min(self.shown.len().saturating_sub(height));
    }

    /// The rows in sight.
    pub fn in_sight(&self, height: usize) -> impl Iterator<Item = usize> {
        self.shown.iter().skip(self.top).take(height).copied()
    }

    /// Whether a text is shown under the filter. Capitals do not count.
    pub fn lets(&self, text: &str) -> bool {
        self.filter.is_empty() || text.to_lowercase().contains(&self.filter.to_lowercase())
    }

    /// Takes a key: moves, or what is typed of the filter.
    pub fn key(&mut self, key: Key, page: usize) -> Took {
        let last = self.shown.len().saturating_sub(1);
        let to = match key {
            Key::Up => self.at.saturating_sub(1),
            Key::Down => (self.at + 1).min(last),
            Key::PageUp => self.at.saturating_sub(page.max(1)),
            Key::PageDown => (self.at + page.max(1)).min(last),
            Key::Home => 0,
            Key::End => last,
            Key::Char('/') if !self.is_typing => {
                self.is_typing = true;
                return Took::Moved;
            }
            Key::Esc if self.is_typing || !self.filter.is_empty() => {
                self.is_typing = false;
                self.filter.clear();
                return Took::Filtered;
            }
            Key::Enter if self.is_typing => {
                self.is_typing = false;
                return Took::Moved;
            }
            Key::Clear if self.is_typing => {
                self.filter.clear();
                return Took::Filtered;
            }
            Key::Backspace if self.is_typing => {
                // Nothing to take away any more: that ends it.
                self.is_typing = self.filter.pop().is_some();
                return Took::Filtered;
            }
            Key::Char(character) if self.is_typing => {
                self.filter.push(character);
                return Took::Filtered;
            }
            // While a filter is typed no other key means anything.
            _ if self.is_typing => return Took::Moved,
            _ => return Took::Nothing,
        };
        self.at = to;
        Took::Moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(rows: usize) -> List {
        let mut list = List::default();
        list.show((0..rows).collect());
        list
    }

    #[test]
    fn moves_stay_within_and_the_chosen_row_stays_in_sight() {
        let mut list = list(50);
        for (key, chosen, first) in [
            (Key::Up, 0, 0),
            (Key::Down, 1, 0),
            (Key::PageDown, 11, 2),
            (Key::End, 49, 40),
            (Key::Down, 49, 40),
            (Key::PageUp, 39, 39),
            (Key::Home, 0, 0),
        ] {
            assert_eq!(list.key(key, 10), Took::Moved);
            list.settle(10);
            assert_eq!((list.chosen(), list.in_sight(10).next()), (Some(chosen), Some(first)), "{key:?}");
        }
        let mut nothing = List::default();
        nothing.key(Key::Down, 10);
        nothing.key(Key::End, 10);
        nothing.settle(0);
        assert_eq!((nothing.chosen(), nothing.in_sight(10).count()), (None, 0));
    }

    #[test]
    fn a_filter_is_typed_and_taken_back() {
        let mut list = list(3);
        assert_eq!(list.key(Key::Char('x'), 1), Took::Nothing);
        list.key(Key::Char('/'), 1);
        assert_eq!(list.key(Key::Char('O'), 1), Took::Filtered);
        assert!(list.lets("notes") && !list.lets("plan"));
        assert_eq!(list.key(Key::Char('/'), 1), Took::Filtered, "a slash is a letter like any other then");
        assert_eq!(list.filter, "O/");
        list.key(Key::Backspace, 1);
        assert_eq!(list.key(Key::Enter, 1), Took::Moved);
        assert!(!list.is_typing && list.filter == "O");
        assert_eq!(list.key(Key::Esc, 1), Took::Filtered);
        assert_eq!(list.filter, "");
        assert_eq!(list.key(Key::Esc, 1), Took::Nothing, "then it means something else");
    }

    #[test]
    fn the_chosen_row_stays_chosen_when_others_come_and_go() {
        let mut list = list(3);
        list.choose(1);
        list.show(vec![5, 4, 1, 0]);
        assert_eq!((list.chosen(), list.place()), (Some(1), 2));
        list.show(vec![7]);
        assert_eq!(list.chosen(), Some(7));
    }
}
