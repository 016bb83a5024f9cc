//! Patterns that users write to leave out or pick paths (`*.o`, `/home/*/tmp/`, `!keep`), and how they match. Pure; paths are bytes.
//!
//! The rules are restic's, with `!` and a trailing slash as gitignore has them:
//! - without a slash a pattern matches the name of any component; with a slash at its start, the absolute path; otherwise
//!   the end of any leading part of the path. What lies below a matched folder is matched too.
//! - `*` and `?` do not cross a slash, `[a-z]` and `[!a-z]` are classes, `**` as a whole component spans any number of
//!   components (at the end: at least one), `\` takes the next character as it is.
//! - a trailing slash means folders only; a leading `!` takes back what earlier patterns matched; the last match counts.
//! - a leading `~` or `~/` is the home folder.

mod finder;
mod matched;
mod translate;

use std::fmt::Write as _;
use std::sync::Arc;

use regex::bytes::{RegexSet, RegexSetBuilder};

pub use finder::{Finder, has_capitals};
use matched::Matched;
use translate::{Parsed, parse};

/// The most memory all patterns together may take when compiled.
const COMPILED_BYTES_MAX: usize = 256 << 20;
/// The memory for the lazily built automaton of each set: enough that thousands of patterns do not thrash.
const AUTOMATON_BYTES_MAX: usize = 16 << 20;

/// A pattern that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pattern '{pattern}': {reason}")]
pub struct PatternError {
    /// The pattern, made printable.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl PatternError {
    /// An error about that pattern.
    fn new(pattern: &[u8], reason: &'static str) -> PatternError {
        PatternError { pattern: pattern.escape_ascii().to_string(), reason }
    }
}

/// Collects patterns in the order in which they count.
#[derive(Debug, Default)]
pub struct PatternsBuilder {
    home: Option<Vec<u8>>,
    rules: Vec<Parsed>,
    digest_input: Vec<u8>,
}

impl PatternsBuilder {
    /// No patterns yet; `home` is what a leading `~` stands for.
    pub fn new(home: Option<&[u8]>) -> PatternsBuilder {
        PatternsBuilder { home: home.map(<[u8]>::to_vec), ..PatternsBuilder::default() }
    }

    /// Adds one pattern; `any_case` ignores the difference between capitals and small letters.
    pub fn add(&mut self, pattern: &[u8], any_case: bool) -> Result<(), PatternError> {
        let rule = parse(pattern, any_case, self.home.as_deref())?;
        self.digest_input.extend([
            u8::from(rule.negated),
            u8::from(rule.directories_only),
            u8::from(rule.by_name),
        ]);
        self.digest_input.extend((rule.regex.len() as u64).to_le_bytes());
        self.digest_input.extend(rule.regex.as_bytes());
        self.rules.push(rule);
        Ok(())
    }

    /// Adds the lines of a file of patterns: blank lines and lines that start with `#` are skipped, white space around a line is dropped.
    pub fn add_lines(&mut self, text: &[u8], any_case: bool) -> Result<(), PatternError> {
        for line in text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text).split(|byte| *byte == b'\n') {
            let line = trim(line);
            if !line.is_empty() && !line.starts_with(b"#") {
                self.add(line, any_case)?;
            }
        }
        Ok(())
    }

    /// Compiles what was added.
    pub fn build(self) -> Result<Patterns, PatternError> {
        Ok(Patterns {
            negations: self.rules.iter().any(|rule| rule.negated),
            for_files: Table::new(&self.rules, false)?,
            for_directories: Table::new(&self.rules, true)?,
            negated: self.rules.iter().map(|rule| rule.negated).collect(),
            digest_input: self.digest_input,
            matched: Arc::new(Matched::new(self.rules.len())),
        })
    }
}

/// A line without the white space around it; a space after a backslash stays.
fn trim(line: &[u8]) -> &[u8] {
    let trimmed = line.trim_ascii();
    let escaped = trimmed.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1;
    let start = line.len() - line.trim_ascii_start().len();
    let end = start + trimmed.len();
    if escaped && end < line.len() { &line[start..=end] } else { trimmed }
}

/// Compiled patterns.
#[derive(Clone, Debug)]
pub struct Patterns {
    for_files: Table,
    for_directories: Table,
    negated: Vec<bool>,
    negations: bool,
    digest_input: Vec<u8>,
    /// One for all copies.
    matched: Arc<Matched>,
}

impl Patterns {
    /// Patterns that match nothing.
    pub fn none() -> Patterns {
        Patterns {
            for_files: Table::empty(),
            for_directories: Table::empty(),
            negated: Vec::new(),
            negations: false,
            digest_input: Vec::new(),
            matched: Arc::default(),
        }
    }

    /// How many patterns there are.
    pub fn len(&self) -> usize {
        self.negated.len()
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.negated.is_empty()
    }

    /// Whether the patterns match `path` (absolute) or a folder that it lies in. Allocates only when some pattern begins with `!`.
    pub fn matches(&self, path: &[u8], is_directory: bool) -> bool {
        if self.is_empty() {
            return false;
        }
        let ends = (1..path.len()).filter(|at| path[*at] == b'/' && path[*at - 1] != b'/');
        let mut parts = ends.map(|end| (&path[..end], true)).chain(std::iter::once((path, is_directory)));
        let all = parts.clone();
        let (hit, matches) = if self.negations {
            let last = parts.filter_map(|(part, directory)| self.table(directory).last(part)).max();
            (last.is_some(), last.is_some_and(|index| !self.negated[index]))
        } else {
            let any = parts.any(|(part, directory)| self.table(directory).any(part));
            (any, any)
        };
        if hit {
            all.for_each(|(part, directory)| self.mark(part, directory));
        }
        matches
    }

    /// The same for a walk from the top that never enters a matched folder: only `path` itself is looked at where that is enough.
    pub fn matches_entry(&self, path: &[u8], is_directory: bool) -> bool {
        if self.negations {
            return self.matches(path, is_directory);
        }
        let hit = !self.is_empty() && self.table(is_directory).any(path);
        if hit {
            self.mark(path, is_directory);
        }
        hit
    }

    /// Remembers all patterns that match the path itself.
    fn mark(&self, path: &[u8], is_directory: bool) {
        if !self.matched.is_complete() {
            self.table(is_directory).each(path, |rule| self.matched.hit(rule));
        }
    }

    /// The patterns, by number, that matched nothing of all that was asked about; none when something was not looked at.
    pub fn idle(&self) -> Vec<usize> {
        self.matched.idle()
    }

    /// Something was not looked at that patterns might match.
    pub fn look_away(&self) {
        self.matched.look_away();
    }

    /// A folder was left out without a look into it.
    pub fn pass_over(&self, path: Vec<u8>) {
        self.matched.pass_over(path);
    }

    /// The folders that were.
    pub fn passed_over(&self) -> Vec<Vec<u8>> {
        self.matched.passed_over()
    }

    /// Bytes that are equal exactly when the patterns mean the same, for the key of a cache.
    pub fn digest_input(&self) -> &[u8] {
        &self.digest_input
    }

    /// The rules for folders, or those for everything else.
    fn table(&self, is_directory: bool) -> &Table {
        if is_directory { &self.for_directories } else { &self.for_files }
    }
}

/// Rules ready to match: those for a name, those for a whole path, and which rule each belongs to.
#[derive(Clone, Debug)]
struct Table {
    names: RegexSet,
    name_rules: Vec<usize>,
    paths: RegexSet,
    path_rules: Vec<usize>,
}

impl Table {
    /// No rules.
    fn empty() -> Table {
        Table {
            names: RegexSet::empty(),
            name_rules: Vec::new(),
            paths: RegexSet::empty(),
            path_rules: Vec::new(),
        }
    }

    /// The rules that count for folders (all), or for other entries (without those for folders only).
    fn new(rules: &[Parsed], for_directories: bool) -> Result<Table, PatternError> {
        let indexes = |by_name: bool| -> Vec<usize> {
            let wanted =
                |rule: &Parsed| rule.by_name == by_name && (for_directories || !rule.directories_only);
            rules.iter().enumerate().filter(|(_, rule)| wanted(rule)).map(|(index, _)| index).collect()
        };
        let (name_rules, path_rules) = (indexes(true), indexes(false));
        let (names, paths) = (compile(rules, &name_rules)?, compile(rules, &path_rules)?);
        Ok(Table { names, name_rules, paths, path_rules })
    }

    /// Whether any rule matches the path itself.
    fn any(&self, path: &[u8]) -> bool {
        (!self.name_rules.is_empty() && self.names.is_match(name(path)))
            || (!self.path_rules.is_empty() && self.paths.is_match(path))
    }

    /// Every rule that matches the path itself.
    fn each(&self, path: &[u8], mut found: impl FnMut(usize)) {
        self.names.matches(name(path)).iter().for_each(|at| found(self.name_rules[at]));
        self.paths.matches(path).iter().for_each(|at| found(self.path_rules[at]));
    }

    /// The last rule that matches the path itself.
    fn last(&self, path: &[u8]) -> Option<usize> {
        let last = |set: &RegexSet, text: &[u8], rules: &[usize]| {
            if rules.is_empty() { None } else { set.matches(text).iter().next_back().map(|at| rules[at]) }
        };
        last(&self.names, name(path), &self.name_rules).max(last(&self.paths, path, &self.path_rules))
    }
}

/// The last component of a path.
fn name(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(path, |slash| &path[slash + 1..])
}

/// One set of the rules at those indexes.
fn compile(rules: &[Parsed], indexes: &[usize]) -> Result<RegexSet, PatternError> {
    if indexes.is_empty() {
        return Ok(RegexSet::empty());
    }
    RegexSetBuilder::new(indexes.iter().map(|index| rules[*index].regex.as_str()))
        .size_limit(COMPILED_BYTES_MAX)
        .dfa_size_limit(AUTOMATON_BYTES_MAX)
        .build()
        .map_err(|_| {
            let mut count = String::new();
            let _ = write!(count, "{} patterns", indexes.len());
            PatternError { pattern: count, reason: "too large together" }
        })
}

#[cfg(test)]
mod tests;
