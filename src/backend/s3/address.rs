//! Where a repository lies in an object store: `https://ENDPOINT[:PORT]/BUCKET[/PREFIX][?style=...&region=...]`.

use rusty_s3::{Bucket, UrlStyle};

use super::super::Error;

/// What a location ought to look like, for messages.
const FORM: &str = "give s3:https://ENDPOINT/BUCKET or s3:https://ENDPOINT/BUCKET/PREFIX";
/// The region of servers that have none.
const REGION: &str = "us-east-1";
/// The domain whose hosts name their region.
const AMAZON: &str = ".amazonaws.com";
/// Amazon's host for buckets of all regions.
const AMAZON_ANYWHERE: &str = "s3.amazonaws.com";

/// A bucket, and the part of it that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// As the user wrote it, without a slash at its end.
    pub(super) text: String,
    pub(super) scheme: String,
    /// Without the port.
    pub(super) host: String,
    endpoint: String,
    pub(super) bucket: String,
    /// Empty, or ending with a slash: what stands before every object's path.
    pub(super) prefix: String,
    is_virtual: bool,
    /// What the location says, or the host's name.
    pub(super) region: Option<String>,
}

impl Address {
    /// Reads what stands after `s3:`. Errors: `Unsupported`, without what may be a password.
    pub(super) fn parse(rest: &str) -> Result<Address, Error> {
        let wrong = |reason: &str| Error::Unsupported { object: "s3:".to_owned(), reason: reason.to_owned() };
        let form = || wrong(&format!("this is no bucket's address: {FORM}"));
        let (scheme, after) = rest.split_once("://").ok_or_else(form)?;
        if !matches!(scheme, "https" | "http") {
            return Err(form());
        }
        let (place, options) = after.split_once('?').unwrap_or((after, ""));
        let (authority, path) = place.split_once('/').ok_or_else(form)?;
        if authority.contains('@') {
            return Err(wrong(
                "a location holds no keys, since others can see it: they come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or from a profile",
            ));
        }
        if authority.is_empty() || authority.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return Err(form());
        }
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => authority,
        };
        let host = host.to_ascii_lowercase();
        let path = path.trim_end_matches('/');
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        if bucket.is_empty() || !bucket.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
            return Err(form());
        }
        if matches!(bucket, "." | "..") {
            return Err(form());
        }
        let is_odd = |part: &str| {
            matches!(part, "" | "." | "..")
                || part.contains(|c: char| c.is_control() || c == '\\' || c == '#')
        };
        if !prefix.is_empty() && prefix.split('/').any(is_odd) {
            return Err(wrong(
                "the prefix has a part that is empty, . or .., or has a character that it can not have",
            ));
        }
        let is_amazon = host.ends_with(AMAZON);
        if is_amazon && !(host.starts_with("s3.") || host.starts_with("s3-")) {
            return Err(wrong(
                "the bucket's name stands behind the host: s3:https://s3.REGION.amazonaws.com/BUCKET",
            ));
        }
        // A name with dots would not be covered by the server's certificate.
        let mut is_virtual = is_amazon && !bucket.contains('.');
        let mut region = region_of(&host);
        for option in options.split('&').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("style", "virtual")) => is_virtual = true,
                Some(("style", "path")) => is_virtual = false,
                Some(("region", name)) if is_region(name) => region = Some(name.to_owned()),
                _ => {
                    return Err(wrong(
                        "behind ? may stand style=path, style=virtual and region=NAME, with & between",
                    ));
                }
            }
        }
        let text = match options {
            "" => format!("s3:{scheme}://{authority}/{path}"),
            options => format!("s3:{scheme}://{authority}/{path}?{options}"),
        };
        let address = Address {
            text,
            scheme: scheme.to_owned(),
            host,
            endpoint: format!("{scheme}://{authority}/"),
            bucket: bucket.to_owned(),
            prefix: if prefix.is_empty() { String::new() } else { format!("{prefix}/") },
            is_virtual,
            region,
        };
        address.bucket_in(REGION).ok_or_else(form)?;
        Ok(address)
    }

    /// What an object, or another path below the repository, is called in messages.
    pub(super) fn named(&self, path: &str) -> String {
        let place = self.text.split('?').next().unwrap_or_default();
        if path.is_empty() { place.to_owned() } else { format!("{place}/{path}") }
    }

    /// The bucket as requests to a region are addressed and signed. None when that is no URL.
    pub(super) fn bucket_in(&self, region: &str) -> Option<Bucket> {
        let style = if self.is_virtual { UrlStyle::VirtualHost } else { UrlStyle::Path };
        let endpoint = match self.host == AMAZON_ANYWHERE && region != REGION {
            true => format!("{}://s3.{region}{AMAZON}/", self.scheme),
            false => self.endpoint.clone(),
        };
        Bucket::new(endpoint.parse().ok()?, style, self.bucket.clone(), region.to_owned()).ok()
    }

    /// What a new bucket's place has to be told as; none where it is the server's own.
    pub(super) fn constraint<'a>(&self, region: &'a str) -> Option<&'a str> {
        (self.host.ends_with(AMAZON) && region != REGION).then_some(region)
    }

    /// The region to begin with: what the location says, else what is wished, else what servers without regions take.
    pub(super) fn first_region(&self, wished: Option<String>) -> String {
        let wished = wished.filter(|name| is_region(name));
        self.region.clone().or(wished).unwrap_or_else(|| REGION.to_owned())
    }
}

/// The region in the name of one of Amazon's hosts: `s3.eu-west-1.amazonaws.com`, `s3.dualstack.eu-west-1.amazonaws.com`.
fn region_of(host: &str) -> Option<String> {
    let inner = host.strip_suffix(AMAZON)?;
    let last = inner.rsplit('.').next()?;
    let last = last.strip_prefix("s3-").unwrap_or(last);
    (last.contains('-') && is_region(last)).then(|| last.to_owned())
}

/// Whether that can be a region's name: it goes into hosts and signatures.
pub(super) fn is_region(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Address {
        Address::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_location_names_an_endpoint_a_bucket_and_a_prefix() {
        let address = parsed("https://S3.example.org:9000/backups/laptops/ann/");
        assert_eq!((address.host.as_str(), address.bucket.as_str()), ("s3.example.org", "backups"));
        assert_eq!((address.prefix.as_str(), address.region.as_deref()), ("laptops/ann/", None));
        assert_eq!(address.text, "s3:https://S3.example.org:9000/backups/laptops/ann");
        assert_eq!(address.named("keys/ab"), "s3:https://S3.example.org:9000/backups/laptops/ann/keys/ab");
        assert_eq!(address.first_region(None), "us-east-1");
        assert_eq!(address.first_region(Some("garage".into())), "garage");
        let url = |text: &str, region: &str| parsed(text).bucket_in(region).unwrap().base_url().to_string();
        assert_eq!(url("http://127.0.0.1:3900/b", "x"), "http://127.0.0.1:3900/b/");
        assert_eq!(url("http://[::1]:3900/b/p", "x"), "http://[::1]:3900/b/");
        assert_eq!(parsed("http://[::1]/b").host, "[::1]");
        assert_eq!(parsed("https://h/b").prefix, "");
    }

    #[test]
    fn amazons_hosts_tell_the_region_and_name_the_bucket_before_them() {
        for (text, region, url) in [
            ("https://s3.eu-west-1.amazonaws.com/b/p", "eu-west-1", "https://b.s3.eu-west-1.amazonaws.com/"),
            ("https://s3-eu-west-1.amazonaws.com/b", "eu-west-1", "https://b.s3-eu-west-1.amazonaws.com/"),
            (
                "https://s3.dualstack.us-east-2.amazonaws.com/b.c",
                "us-east-2",
                "https://s3.dualstack.us-east-2.amazonaws.com/b.c/",
            ),
            ("https://s3.amazonaws.com/b", "us-east-1", "https://b.s3.amazonaws.com/"),
            (
                "https://s3.amazonaws.com/b?region=eu-west-3",
                "eu-west-3",
                "https://b.s3.eu-west-3.amazonaws.com/",
            ),
            ("https://s3.example.org/b?style=virtual&region=garage", "garage", "https://b.s3.example.org/"),
            (
                "https://s3.eu-west-1.amazonaws.com/b?style=path",
                "eu-west-1",
                "https://s3.eu-west-1.amazonaws.com/b/",
            ),
        ] {
            let address = parsed(text);
            assert_eq!(address.first_region(None), region, "{text}");
            assert_eq!(address.bucket_in(region).unwrap().base_url().as_str(), url);
            assert_eq!(address.text, format!("s3:{text}"));
        }
        assert_eq!(parsed("https://s3.eu-west-1.amazonaws.com/b").constraint("eu-west-1"), Some("eu-west-1"));
        assert_eq!(parsed("https://s3.amazonaws.com/b").constraint("us-east-1"), None);
        assert_eq!(parsed("https://garage.example/b").constraint("garage"), None);
    }

    #[test]
    fn what_is_no_address_is_refused_and_keys_in_it_are_not_told() {
        for text in [
            "",
            "secret",
            "//host/bucket",
            "ftp://host/bucket",
            "https://host",
            "https://host/",
            "https:///bucket",
            "https://user:secret@host/bucket",
            "https://secret@host/bucket",
            "https://host/bucket/../other",
            "https://host/bucket/./x",
            "https://host/bucket//x",
            "https://host/..",
            "https://host/bu%63ket",
            "https://host/bucket/a\nb",
            "https://ho st/bucket",
            "https://host/bucket?secret=secret",
            "https://host/bucket?region=a/b",
            "https://host/bucket?style=other",
            "https://bucket.s3.eu-west-1.amazonaws.com/prefix",
        ] {
            let error = Address::parse(text).err().unwrap_or_else(|| panic!("{text} was taken"));
            assert!(matches!(error, Error::Unsupported { .. }), "{error}");
            assert!(!error.to_string().contains("secret") && !error.to_string().contains('\n'), "{error}");
        }
    }
}
