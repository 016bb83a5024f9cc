//! Which rule cuts a file into chunks, and its sizes.

/// The kinds of cutter this program knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CutterKind {
    /// Content-defined cutting by a keyed gear hash.
    Gear,
}

/// A cutter: its kind and the sizes of its chunks in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cutter {
    pub kind: CutterKind,
    pub minimum: u32,
    /// A power of two.
    pub average: u32,
    pub maximum: u32,
}

impl Cutter {
    /// The gear cutter with a quarter and four times the average as its bounds.
    pub const fn gear(average: u32) -> Cutter {
        Cutter { kind: CutterKind::Gear, minimum: average / 4, average, maximum: average * 4 }
    }

    /// Whether the sizes can be worked with: 64 bytes or more, in order, the average a power of two.
    pub fn is_sound(&self) -> bool {
        self.minimum >= 64
            && self.minimum <= self.average
            && self.average <= self.maximum
            && self.maximum <= crate::format::limits::CHUNK_MAX as u32
            && self.average.is_power_of_two()
    }
}

impl Default for Cutter {
    fn default() -> Cutter {
        Cutter::gear(64 * 1024)
    }
}
