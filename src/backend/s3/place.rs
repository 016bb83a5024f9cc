//! The place of a repository: the bucket that is made, strangers' objects in it, and small objects for trying things out.

use rusty_s3::Method;

use super::super::Error;
use super::super::layout::{self, TEMPORARY, TEMPORARY_PREFIX};
use super::S3;
use super::request::{Reply, Request};
use crate::model::Time;

/// A path that no other has, for an object that is only tried out.
pub(super) fn probe_path() -> String {
    // Without chance it is still no object's name, and at worst another's probe fails.
    let number = getrandom::u64().unwrap_or_default();
    format!("{TEMPORARY}/{TEMPORARY_PREFIX}{number:016x}")
}

impl S3 {
    /// Makes the bucket when it is missing, and refuses one in which others' objects lie where the repository would.
    pub(super) fn prepare(&self) -> Result<(), Error> {
        let prefix = &self.client.address.prefix;
        let looked = self.each_page("", true, &mut |page| {
            let folders = page.prefixes.iter();
            let objects = page.objects.iter().map(|object| &object.key);
            let strange = folders.chain(objects).filter_map(|key| key.strip_prefix(prefix)).find(|rest| {
                let is_own = |name: &str| layout::folders().contains(&name);
                // What the consoles of providers make for a folder is the prefix itself.
                !rest.is_empty() && !rest.starts_with('.') && !rest.strip_suffix('/').is_some_and(is_own)
            });
            match strange {
                None => Ok(true),
                Some(name) => Err(Error::Occupied {
                    object: self.client.address.named(""),
                    name: name.escape_debug().to_string(),
                }),
            }
        });
        match looked {
            Err(error) if error.is_not_found() => self.make_bucket(),
            other => other,
        }
    }

    fn make_bucket(&self) -> Result<(), Error> {
        let region = self.client.region();
        let body = self.client.address.constraint(&region).map(|region| {
            format!(
                "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
            )
        });
        let mut request = Request::new(Method::Put, self.client.address.named(""), "make the bucket");
        request.body = Some(body.as_deref().unwrap_or_default().as_bytes());
        self.client
            .run(&request, |_, reply| match reply {
                // Another one made it at the same moment.
                Reply::Done(_) | Reply::Taken => Ok(()),
                other => Err(request.unexpected(other)),
            })
            .map_err(|error| match error {
                Error::Denied { object, reason } => Error::Denied {
                    object,
                    reason: format!("there is no such bucket, and it can not be made: {reason}; make it where the keys were made"),
                },
                other => other,
            })
    }

    /// Removes probes that were put before a time and are still there; how many.
    pub(super) fn remove_probes(&self, before: Time) -> Result<u64, Error> {
        let mut old = Vec::new();
        self.each_page(&format!("{TEMPORARY}/{TEMPORARY_PREFIX}"), false, &mut |page| {
            let prefix = &self.client.address.prefix;
            old.extend(page.objects.into_iter().filter_map(|object| {
                let is_old = object.modified.is_some_and(|modified| modified < before);
                is_old.then(|| object.key.strip_prefix(prefix).map(str::to_owned)).flatten()
            }));
            Ok(true)
        })?;
        let mut removed = 0;
        for path in old {
            match self.remove_at(&path) {
                // Another one was faster.
                Err(error) if error.is_not_found() => {}
                other => {
                    other?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}
