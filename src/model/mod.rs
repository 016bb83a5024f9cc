//! Plain data that every room shares: identities, times, nodes, snapshots. No I/O and no clock but `clock`.

pub mod clock;
pub mod cutter;
pub mod id;
pub mod node;
pub mod path;
pub mod snapshot;
pub mod time;

pub use cutter::{Cutter, CutterKind};
pub use id::{Contents, Id, Id16};
pub use node::{Content, ENTRIES_LOST, Node, NodeType, Segment, SegmentKind, Unread, Xattr, XattrValue};
pub use path::joined;
pub use snapshot::{Snapshot, Summary};
pub use time::Time;
