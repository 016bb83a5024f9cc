//! The kinds of objects, their numbers and folders, and the names an object of a kind may have (docs/format.md, section 1).

/// What an object is. The numbers are part of the format and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    Config = 1,
    Keys = 2,
    Packs = 3,
    Index = 4,
    Snapshots = 5,
    Confirmed = 6,
    Sessions = 7,
    Fences = 8,
    Removals = 9,
    Notes = 10,
    Damage = 11,
    Parity = 12,
    Copies = 13,
}

impl Kind {
    /// Every kind, in the order of the numbers.
    pub const ALL: [Kind; 13] = [
        Kind::Config,
        Kind::Keys,
        Kind::Packs,
        Kind::Index,
        Kind::Snapshots,
        Kind::Confirmed,
        Kind::Sessions,
        Kind::Fences,
        Kind::Removals,
        Kind::Notes,
        Kind::Damage,
        Kind::Parity,
        Kind::Copies,
    ];

    /// The kind number, 1 to 13, as it stands in an object's header.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The kind of a number; `None` for a number that no kind has.
    pub fn from_number(number: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// The folder (or prefix) below the repository that holds the objects of this kind.
    pub fn folder(self) -> &'static str {
        match self {
            Kind::Config => "config",
            Kind::Keys => "keys",
            Kind::Packs => "packs",
            Kind::Index => "index",
            Kind::Snapshots => "snapshots",
            Kind::Confirmed => "confirmed",
            Kind::Sessions => "sessions",
            Kind::Fences => "fences",
            Kind::Removals => "removals",
            Kind::Notes => "notes",
            Kind::Damage => "damage",
            Kind::Parity => "parity",
            Kind::Copies => "copies",
        }
    }

    /// How many hex digits a name of this kind has.
    pub fn name_length(self) -> usize {
        match self {
            Kind::Config => 16,
            Kind::Fences => 32,
            _ => 64,
        }
    }

    /// Whether an object of this kind can have this name: exactly so many hex digits, all lower case.
    pub fn is_name(self, name: &str) -> bool {
        name.len() == self.name_length() && name.bytes().all(is_hex)
    }

    /// The folder of an object, with `/` between parts: `packs/ab` for a pack, the kind's folder for all others.
    pub fn folder_of(self, name: &str) -> String {
        match (self, name.get(..2)) {
            (Kind::Packs, Some(digits)) => format!("{}/{digits}", self.folder()),
            _ => self.folder().to_owned(),
        }
    }

    /// The path of an object below the repository, with `/` between parts: `packs/ab/abcd...`, `keys/abcd...`.
    pub fn path_of(self, name: &str) -> String {
        format!("{}/{name}", self.folder_of(name))
    }
}

/// Cuts kinds into runs that a store which lists by name gives in one listing each: their folders ascend, and no pack lies between them.
pub fn listed_together(kinds: &[Kind]) -> impl Iterator<Item = &[Kind]> {
    let large = |kind: &Kind| matches!(kind, Kind::Packs | Kind::Parity);
    let side = |kind: &Kind| kind.folder() < Kind::Packs.folder();
    kinds.chunk_by(move |one, next| {
        one.folder() < next.folder() && side(one) == side(next) && !large(one) && !large(next)
    })
}

/// Whether a byte is a lower-case hex digit.
pub(super) fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_format_and_come_back() {
        let numbers: Vec<u8> = Kind::ALL.iter().map(|kind| kind.number()).collect();
        assert_eq!(numbers, (1..=13).collect::<Vec<u8>>());
        for number in 0..=255 {
            match Kind::from_number(number) {
                Some(kind) => assert_eq!(kind.number(), number),
                None => assert!(number == 0 || number > 13),
            }
        }
    }

    #[test]
    fn only_lower_case_hex_of_the_right_length_is_a_name() {
        for kind in Kind::ALL {
            let name = "0123456789abcdef".repeat(kind.name_length() / 16);
            assert!(kind.is_name(&name));
            assert!(!kind.is_name(&name[1..]));
            assert!(!kind.is_name(&format!("{name}0")));
            assert!(!kind.is_name(&name.to_uppercase()));
            assert!(!kind.is_name(&name.replace('0', "/")));
            assert!(!kind.is_name(""));
        }
    }

    #[test]
    fn kinds_are_listed_together_in_the_order_of_their_folders_and_never_across_the_packs() {
        use Kind::*;
        let runs = |kinds: &[Kind]| listed_together(kinds).map(<[Kind]>::to_vec).collect::<Vec<_>>();
        let kinds = [Removals, Snapshots, Confirmed, Damage, Index, Notes];
        assert_eq!(runs(&kinds), [&kinds[..2], &kinds[2..]]);
        assert_eq!(runs(&[Index, Snapshots, Damage]), [[Index], [Snapshots], [Damage]]);
        assert_eq!(runs(&[Packs, Parity, Removals]), [[Packs], [Parity], [Removals]]);
        assert_eq!(runs(&[]), Vec::<Vec<Kind>>::new());
    }

    #[test]
    fn a_pack_lies_in_the_folder_of_its_first_two_digits() {
        let name = "ab".repeat(32);
        assert_eq!(Kind::Packs.path_of(&name), format!("packs/ab/{name}"));
        assert_eq!(Kind::Index.path_of(&name), format!("index/{name}"));
    }
}
