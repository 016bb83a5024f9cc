//! Every constant of the format and every limit a reader holds. The table in docs/format.md, section 12, is compared with this by a test.

/// Length of the header that every object begins with, bytes.
pub const HEADER_LEN: usize = 32;
/// Longest small object, stored and plain, bytes.
pub const SMALL_MAX: usize = 64 << 20;
/// Longest key slot, bytes.
pub const SLOT_MAX: usize = 1 << 20;
/// Argon2id memory below which a slot is refused, KiB.
pub const KDF_MEMORY_MIN: u32 = 64 << 10;
/// Argon2id memory above which a slot is refused, KiB.
pub const KDF_MEMORY_MAX: u32 = 4 << 20;
/// Length at which a pack is ended by default, bytes.
pub const PACK_TARGET: usize = 16 << 20;
/// Longest pack, bytes.
pub const PACK_MAX: u64 = 256 << 20;
/// Plain bytes after which a block is ended.
pub const BLOCK_TARGET: usize = 1 << 20;
/// Longest block, plain bytes.
pub const BLOCK_MAX: usize = 32 << 20;
/// Longest chunk, plain bytes.
pub const CHUNK_MAX: usize = 16 << 20;
/// Entries below which a directory's page is not cut.
pub const PAGE_MIN: usize = 1024;
/// Entries at which a directory's page is cut in any case.
pub const PAGE_MAX: usize = 10_000;
/// Highest level of a tree page or content page.
pub const LEVEL_MAX: u64 = 16;
/// Bytes of nodes past which a directory's page is cut.
pub const PAGE_BYTES: usize = 1 << 20;
/// Longest encoded node, bytes.
pub const NODE_MAX: usize = 256 << 10;
/// Longest name of an entry, bytes.
pub const NAME_MAX: usize = 1020;
/// Most chunks in one pack.
pub const PACK_CHUNKS: usize = 131_072;
/// Deepest nesting of directories.
pub const DEPTH_MAX: usize = 100_000;
/// Longest symlink target, bytes.
pub const SYMLINK_MAX: usize = 64 << 10;
/// Longest extended attribute kept in the node, bytes.
pub const XATTR_INLINE: usize = 4096;
/// Most segments kept in a node or in one content page.
pub const SEGMENTS_INLINE: usize = 1024;
/// Segments below which a content page is not cut.
pub const SEGMENTS_PAGE_MIN: usize = 128;
/// Bytes below which a segment must end its run of data, or the list.
pub const SEGMENT_MIN: u64 = 64;
/// Most segments of a snapshot's state.
pub const STATE_SEGMENTS_MAX: usize = 1 << 20;
/// Longest name of an extended attribute, bytes.
pub const XATTR_NAME_MAX: usize = 255;
/// Most elements in a list of a small object or of a node, when nothing lower is said.
pub const LIST_MAX: usize = 1 << 20;
/// Most packs in one index object.
pub const INDEX_PACKS: usize = 4096;
/// Shortest shard of a pack that has recovery data, bytes.
pub const PARITY_SHARD_MIN: usize = 4096;
/// Longest shard, bytes.
pub const PARITY_SHARD_MAX: usize = 1 << 20;
/// Most shards that a pack is cut into.
pub const PARITY_SHARDS_MAX: usize = 16_384;
/// Longest recovery data that is looked at, bytes.
pub const PARITY_MAX: u64 = 512 << 20;
/// Inode flags that are kept: compress, sync, immutable, append-only, no dump, no atime, directory sync, no copy-on-write.
pub const FLAGS_KEPT: u32 = 0x0081_00fc;
