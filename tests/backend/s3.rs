//! What only an object store can show: keys, regions, buckets, pages, strangers' objects, and what its answers are worth.

use std::collections::BTreeMap;

use copal::backend::{Backend, Error, Kind, S3, s3};

use super::network::front::{Fate, Front};
use super::network::server::{BUCKET, Server, options};
use super::{INDEX, listing, name};

/// A backend with the server that it needs.
pub struct Served {
    storage: S3,
    server: Server,
}

impl Served {
    pub fn new(server: Server) -> Served {
        let storage = S3::new(&server.location("a/prefix"), server.options()).unwrap();
        Served { storage, server }
    }
}

impl std::ops::Deref for Served {
    type Target = S3;
    fn deref(&self) -> &S3 {
        &self.storage
    }
}

/// The same, apart.
pub fn of(server: Server) -> (Box<dyn std::any::Any>, Box<dyn Backend>) {
    let Served { storage, server } = Served::new(server);
    (Box::new(server), Box::new(storage))
}

/// A server, and a place on it that is made.
fn served(folder: &tempfile::TempDir) -> Served {
    let served = Served::new(Server::s3s(folder.path()));
    served.create().unwrap();
    served
}

#[test]
fn a_listing_longer_than_a_page_comes_whole_and_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let served = served(&folder);
    // As files below the server, which is faster, and shows where objects lie.
    let index = folder.path().join("s3").join(BUCKET).join("a/prefix/index");
    let mut expected = BTreeMap::new();
    std::fs::create_dir_all(&index).unwrap();
    for number in 0..2345_u64 {
        let name = format!("{number:064x}");
        std::fs::write(index.join(&name), vec![0; (number % 7) as usize]).unwrap();
        expected.insert(name, number % 7);
    }
    for odd in ["README", "ABCD", &"g".repeat(64), "a b+c%20d"] {
        std::fs::write(index.join(odd), "x").unwrap();
    }
    std::fs::create_dir(index.join("deeper")).unwrap();
    std::fs::write(index.join("deeper").join(name(INDEX, 1)), "x").unwrap();
    assert_eq!(listing(&*served, INDEX), expected);
    // A pack in a folder that is not its own, or in none, is no object.
    let packs = index.parent().unwrap().join("packs");
    for (folder, is_own) in [("ab", true), ("cd", false), (".", false)] {
        std::fs::create_dir_all(packs.join(folder)).unwrap();
        std::fs::write(packs.join(folder).join(name(Kind::Packs, 0xab)), folder).unwrap();
        assert_eq!(is_own, folder == "ab");
    }
    assert_eq!(listing(&*served, Kind::Packs), BTreeMap::from([(name(Kind::Packs, 0xab), 2)]));
}

#[test]
fn a_bucket_is_made_and_strangers_objects_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::s3s(folder.path());
    let at = |prefix: &str| S3::new(&server.location(prefix), server.options()).unwrap();
    let whole = at("");
    assert!(!whole.exists_repository().unwrap(), "no bucket, no repository");
    for error in [
        whole.get(INDEX, &name(INDEX, 1)).unwrap_err(),
        whole.stat(INDEX, &name(INDEX, 1)).unwrap_err(),
        whole.list(INDEX, &mut |_| panic!("listed")).unwrap_err(),
    ] {
        assert!(error.is_not_found(), "{error}");
    }
    // This server makes a bucket of whatever is written to; others say this.
    let front = Front::before(server.address);
    let missing = "<Error><Code>NoSuchBucket</Code></Error>".to_owned();
    front.rule(move |_, _| Fate::Answered("404 Not Found", String::new(), missing.clone()));
    let gone = S3::new(&server.location_by(front.address, ""), server.options()).unwrap();
    let error = gone.put(INDEX, &name(INDEX, 1), b"x").unwrap_err();
    assert!(error.to_string().contains("NoSuchBucket") && !error.is_not_found(), "{error}");
    whole.create().unwrap();
    whole.create().unwrap();
    let one = at("laptops/one");
    one.create().unwrap();
    one.put(INDEX, &name(INDEX, 1), b"x").unwrap();
    one.create().unwrap();
    assert!(listing(&at("laptops/two"), INDEX).is_empty());
    assert!(listing(&at("laptops/on"), INDEX).is_empty(), "a prefix ends with its slash");
    for (place, stranger) in [(at(""), "laptops/"), (at("laptops"), "one/")] {
        match place.create().unwrap_err() {
            Error::Occupied { name, .. } => assert_eq!(name, stranger),
            error => panic!("{error}"),
        }
    }
}

#[test]
fn listings_are_tried_and_what_is_left_of_that_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let served = served(&folder);
    let front = Front::before(served.server.address);
    let at =
        || S3::new(&served.server.location_by(front.address, "a/prefix"), served.server.options()).unwrap();
    let storage = at();
    assert_eq!(storage.listing_lag_seconds(), Some(0));
    let asked = front.asked().len();
    assert_eq!((storage.listing_lag_seconds(), front.asked().len()), (Some(0), asked), "it is tried once");
    assert_eq!(asked, 3 * 4);
    // A listing without what was just put; one with what was just removed; a server on which nothing can be tried.
    let empty = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>".to_owned();
    front.strike(1, Fate::Replaced("200 OK", String::new(), empty), |asked| asked.is_listing());
    assert_eq!((at().listing_lag_seconds(), front.struck()), (None, 1));
    front.rule(|asked, _| match asked.is("DELETE", "tmp") {
        true => Fate::Answered("204 No Content", String::new(), String::new()),
        false => Fate::Passed,
    });
    assert_eq!(at().listing_lag_seconds(), None);
    assert!(front.struck() > 0);
    front.rule(|asked, _| match asked.is("PUT", "tmp") {
        true => Fate::Answered("403 Forbidden", String::new(), String::new()),
        false => Fate::Passed,
    });
    assert_eq!(at().listing_lag_seconds(), None);
    // The one that was not removed.
    let now = served.time().unwrap();
    assert_eq!(served.remove_leftovers(now.plus_seconds(-3600)).unwrap(), 0);
    assert_eq!(served.remove_leftovers(now.plus_seconds(3600)).unwrap(), 1);
    assert_eq!(served.remove_leftovers(now.plus_seconds(3600)).unwrap(), 0);
    served.create().unwrap();
}

#[test]
fn wrong_keys_are_told_in_a_line_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let served = served(&folder);
    let location = served.server.location("a/prefix");
    for (options, expected) in [
        (options("other-key", "test-secret"), "the server answers 403"),
        (options("test-key", "not-the-secret"), "SignatureDoesNotMatch"),
        (s3::Options::default(), "there are no keys for this storage: set AWS_ACCESS_KEY_ID"),
    ] {
        let storage = S3::new(&location, options).unwrap();
        for error in [
            storage.exists_repository().unwrap_err(),
            storage.put(INDEX, &name(INDEX, 1), b"x").unwrap_err(),
            storage.get(INDEX, &name(INDEX, 1)).unwrap_err(),
        ] {
            let text = error.to_string();
            assert!(matches!(error, Error::Denied { .. }) && text.contains(expected), "{text}");
            for secret in ["test-secret", "not-the-secret", "Signature=", "X-Amz", "\n"] {
                assert!(!text.contains(secret), "{text}");
            }
        }
    }
}

#[test]
fn few_requests_are_made() {
    let folder = tempfile::tempdir().unwrap();
    let served = served(&folder);
    let front = Front::before(served.server.address);
    let storage =
        S3::new(&served.server.location_by(front.address, "a/prefix"), served.server.options()).unwrap();
    let count = |what: &dyn Fn()| {
        front.rule(|_, _| Fate::Passed);
        what();
        front.asked().into_iter().map(|asked| asked.method).collect::<Vec<_>>()
    };
    let (pack, config) = (name(Kind::Packs, 1), name(Kind::Config, 1));
    assert_eq!(count(&|| storage.put(Kind::Packs, &pack, &[7; 300_000]).unwrap()), ["PUT"]);
    assert_eq!(front.asked()[0].header("expect"), Some("100-continue"), "long bodies ask first");
    assert!(front.asked()[0].header("x-amz-checksum-sha256").is_some());
    assert_eq!(count(&|| storage.put(Kind::Config, &config, b"x").unwrap()), ["HEAD", "PUT"]);
    assert_eq!(front.asked()[1].header("if-none-match"), Some("*"));
    assert_eq!(front.asked()[1].header("expect"), None);
    assert_eq!(count(&|| assert!(storage.exists_repository().unwrap())), ["GET"]);
    assert_eq!(count(&|| assert_eq!(storage.get_range(Kind::Packs, &pack, 9, 9).unwrap(), [7; 9])), ["GET"]);
    assert_eq!(front.asked()[0].header("range"), Some("bytes=9-17"));
    assert_eq!(count(&|| assert_eq!(storage.get(Kind::Packs, &pack).unwrap().len(), 300_000)), ["GET"]);
    assert_eq!(count(&|| _ = storage.time().unwrap()).len(), 0, "an answer came just now");
    assert_eq!(count(&|| storage.remove(Kind::Packs, &pack).unwrap()), ["DELETE"]);
}
