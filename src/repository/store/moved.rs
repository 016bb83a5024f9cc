//! Blocks that move from one pack to another as they are.

use super::{Form, RawBlock, Store};
use crate::model::{Contents, Id};
use crate::repository::Error;

impl Store<'_> {
    /// Stores the chunks of a block that was in a pack before: as it is, opened (`stored`, of that codec), unless one of its chunks is there
    /// already. That they are those of `plain`, and `plain` what comes out of `stored`, was just checked by the caller.
    pub fn save_block(
        &self,
        worker: usize,
        contents: Contents,
        (codec, stored): (u8, Vec<u8>),
        plain: &[u8],
        chunks: &[(Id, u32)],
    ) -> Result<(), Error> {
        self.check()?;
        let _gate = self.gate.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let claimed: Vec<bool> =
            chunks.iter().map(|(id, _)| self.claim(contents, id)).collect::<Result<_, _>>()?;
        if claimed.iter().all(|is_new| *is_new) && !self.discard {
            self.count_new(contents, chunks.len(), plain.len());
            let form = Form::Moved { codec, plain: plain.len() as u32 };
            return self.send_block(RawBlock { contents, form, bytes: stored, chunks: chunks.to_vec() });
        }
        let mut rest = plain;
        for ((id, length), is_new) in chunks.iter().zip(claimed) {
            let (chunk, more) = rest.split_at_checked(*length as usize).ok_or(Error::Stopped)?;
            rest = more;
            if is_new {
                self.add(worker, contents, *id, chunk)?;
            }
        }
        Ok(())
    }
}
