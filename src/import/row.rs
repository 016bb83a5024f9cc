//! What waits in the spool: entries that are listed and did not come yet, and nodes that wait for their trees.

use super::Error;
use crate::format;
use crate::model::{Id, Node, NodeType};

/// An expected entry as it lies in the spool.
pub struct Row {
    pub node: Node,
    pub size: u64,
    pub in_archive: bool,
    /// How many of that name are yet to come, and whether there were several: then nobody knows which is which.
    pub count: u32,
    pub is_ambiguous: bool,
}

impl Row {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.in_archive), u8::from(self.is_ambiguous)];
        bytes.extend_from_slice(&self.count.to_le_bytes());
        bytes.extend_from_slice(&self.size.to_le_bytes());
        bytes.extend_from_slice(&format::node::encode(&self.node));
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Row, Error> {
        let damaged = || Error::Origin("the list of entries does not read back as it was written".to_owned());
        let (head, node) = bytes.split_at_checked(14).ok_or_else(damaged)?;
        Ok(Row {
            node: format::node::decode(node).map_err(|_| damaged())?,
            size: u64::from_le_bytes(head[6..].try_into().map_err(|_| damaged())?),
            in_archive: head[0] != 0,
            count: u32::from_le_bytes(head[2..6].try_into().map_err(|_| damaged())?),
            is_ambiguous: head[1] != 0,
        })
    }
}

/// A node as it waits for its tree in the spool: every name is sound, every folder has a tree.
pub fn waiting(names: &[&[u8]], node: &mut Node) {
    // The top has no name, and keeps none.
    node.name = names.last().map_or_else(|| b"top".to_vec(), |name| name.to_vec());
    node.tree = (node.kind == NodeType::Directory).then(Id::default);
}
