//! Extended attributes as nodes have them.

use std::collections::BTreeMap;

use super::Error;
use super::pour::Pour;
use crate::format::limits::{CHUNK_MAX, NODE_MAX, XATTR_INLINE, XATTR_NAME_MAX};
use crate::model::{Contents, Xattr, XattrValue};

impl Pour<'_> {
    /// Attributes as a node has them; long ones are stored.
    pub fn xattrs(&self, path: &[u8], attributes: BTreeMap<Vec<u8>, Vec<u8>>) -> Result<Vec<Xattr>, Error> {
        let mut xattrs = Vec::with_capacity(attributes.len());
        let mut inline = 0;
        for (name, value) in attributes {
            if name.is_empty() || name.len() > XATTR_NAME_MAX || name.contains(&0) || value.len() > CHUNK_MAX
            {
                return Err(Error::entry(path, "an attribute makes no sense"));
            }
            inline += value.len();
            // Together they must stay far below the longest node.
            let value = if value.len() <= XATTR_INLINE && inline <= NODE_MAX / 4 || value.is_empty() {
                XattrValue::Inline(value)
            } else {
                let (id, _) = self.store.save(0, Contents::Data, &value)?;
                XattrValue::Chunk(id, value.len() as u64)
            };
            xattrs.push(Xattr { name, value });
        }
        Ok(xattrs)
    }
}
