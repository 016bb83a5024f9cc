//! Pages of trees from and for this machine's own cache. What is kept is held to its id like what storage gives; it says nothing of whether
//! storage still has it, so whoever checks, repairs or removes does without.

use std::sync::Arc;

use super::reader::Chunk;
use super::{Error, Repository};
use crate::compress::{decompress, zstd_small};
use crate::format::limits::CHUNK_MAX;
use crate::index::pages::{Kept, Pages};
use crate::model::{Contents, Id};

impl Repository {
    /// From now on pages of trees are taken from `pages`, and kept there.
    pub fn keep_pages(&mut self, pages: Pages) {
        self.pages = Some(pages);
    }

    /// A page of a tree or of a list of contents, from the cache where it is kept.
    pub(super) fn read_page(&self, id: &Id) -> Result<Chunk, Error> {
        if let Some(page) = self.kept_page(id) {
            return Ok(page);
        }
        let page = self.read_chunk(Contents::Trees, id)?;
        self.keep_page(id, &page);
        Ok(page)
    }

    /// The page, when it is kept whole.
    fn kept_page(&self, id: &Id) -> Option<Chunk> {
        let pages = self.pages.as_ref()?;
        let kept = pages.get(id).ok()??;
        let whole = match kept.bytes.len() {
            length if length == kept.plain => Some(kept.bytes),
            _ if kept.plain > CHUNK_MAX => None,
            _ => decompress(&kept.bytes, kept.plain),
        };
        match whole.filter(|bytes| self.hasher.id(Contents::Trees, bytes) == *id) {
            Some(bytes) => Some(Chunk::whole(Arc::new(bytes))),
            None => {
                let _ = pages.forget(id);
                None
            }
        }
    }

    /// Keeps a page, where pages are kept.
    pub(super) fn keep_page(&self, id: &Id, plain: &[u8]) {
        if let Some(pages) = &self.pages {
            let bytes = zstd_small(plain).unwrap_or_else(|| plain.to_vec());
            // The cache is only a help.
            let _ = pages.put(*id, Kept { plain: plain.len(), bytes });
        }
    }
}
