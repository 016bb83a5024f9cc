//! What an object store answers in XML: a page of a listing, an error. Anybody may have written it, so nothing is taken on trust.

use quick_xml::Reader;
use quick_xml::events::Event;

use super::clock::listing_date;
use crate::model::Time;
use crate::network::decoded;

/// No answer that is meant has elements deeper inside one another.
const DEPTH_MAX: usize = 16;

/// What a server says instead of doing it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) region: Option<String>,
}

/// An object of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) key: String,
    pub(super) size: Option<u64>,
    pub(super) modified: Option<Time>,
}

/// One page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) objects: Vec<Listed>,
    /// What keys were put together under.
    pub(super) prefixes: Vec<String>,
    /// With what the next page is asked for; none when this is the last.
    pub(super) next: Option<String>,
}

/// An error, when it is one.
pub(super) fn error(bytes: &[u8]) -> Option<Said> {
    let mut said = Said::default();
    let root = walk(bytes, &mut |path, text| match path {
        [_, name] if name == "Code" => said.code = text.trim().to_owned(),
        [_, name] if name == "Message" => said.message = text.trim().to_owned(),
        [_, name] if name == "Region" => said.region = Some(text.trim().to_owned()),
        _ => {}
    })?;
    (root == "Error").then_some(said)
}

/// A page of a listing, when it is one and whole.
pub(super) fn page(bytes: &[u8]) -> Option<Page> {
    let mut page = Page::default();
    let mut listed = Listed::default();
    let (mut is_truncated, mut is_encoded, mut token) = (false, false, None);
    let root = walk(bytes, &mut |path, text| {
        let names: Vec<&str> = path.iter().skip(1).map(String::as_str).collect();
        match names[..] {
            ["Contents", "Key"] => listed.key = text,
            ["Contents", "Size"] => listed.size = text.trim().parse().ok(),
            ["Contents", "LastModified"] => listed.modified = listing_date(&text),
            ["Contents"] => page.objects.push(std::mem::take(&mut listed)),
            ["CommonPrefixes", "Prefix"] => page.prefixes.push(text),
            ["IsTruncated"] => is_truncated = text.trim() == "true",
            ["NextContinuationToken"] => token = Some(text),
            ["EncodingType"] => is_encoded = text.trim() == "url",
            _ => {}
        }
    })?;
    if is_encoded {
        let keys = page.objects.iter_mut().map(|object| &mut object.key);
        for text in keys.chain(&mut page.prefixes) {
            *text = plain(text);
        }
    }
    if is_truncated {
        page.next = Some(token.filter(|token| !token.is_empty())?);
    }
    (root == "ListBucketResult").then_some(page)
}

/// Calls for every element that ends with the names that lead to it, its own last, and its own text. Gives the root's name; none for what is
/// not well-formed to its end.
fn walk(bytes: &[u8], each: &mut dyn FnMut(&[String], String)) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut reader = Reader::from_str(text);
    let mut path: Vec<String> = Vec::new();
    let mut texts: Vec<String> = Vec::new();
    let mut root = None;
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) => {
                if path.len() == DEPTH_MAX || (path.is_empty() && root.is_some()) {
                    return None;
                }
                path.push(start.local_name().as_ref().to_owned());
                texts.push(String::new());
                root.get_or_insert_with(|| path[0].clone());
            }
            Event::Empty(start) => {
                if path.is_empty() && root.is_some() {
                    return None;
                }
                path.push(start.local_name().as_ref().to_owned());
                root.get_or_insert_with(|| path[0].clone());
                each(&path, String::new());
                path.pop();
            }
            Event::End(_) => {
                let own = texts.pop()?;
                each(&path, own);
                path.pop();
            }
            Event::Text(part) => match texts.last_mut() {
                Some(text) => text.push_str(&part),
                None if part.trim().is_empty() => {}
                None => return None,
            },
            Event::CData(part) => texts.last_mut()?.push_str(&part),
            Event::GeneralRef(reference) => {
                let text = texts.last_mut()?;
                match reference.resolve_char_ref().ok()? {
                    Some(character) => text.push(character),
                    None => text.push(match &*reference {
                        "amp" => '&',
                        "lt" => '<',
                        "gt" => '>',
                        "quot" => '"',
                        "apos" => '\'',
                        // Entities of its own are what bombs are made of.
                        _ => return None,
                    }),
                }
            }
            Event::DocType(_) => return None,
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
            Event::Eof => return if path.is_empty() { root } else { None },
        }
    }
}

/// A key whose `%41` are undone, and `+`, which stands for a space.
fn plain(key: &str) -> String {
    String::from_utf8_lossy(&decoded(&key.replace('+', " "))).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix>a%2F</Prefix><KeyCount>2</KeyCount>
<IsTruncated>true</IsTruncated><EncodingType>url</EncodingType><NextContinuationToken>1/&lt;&#x41;==</NextContinuationToken>
<Contents><Key>a%2Fb+c%2B</Key><LastModified>1994-11-06T08:49:37.000Z</LastModified><ETag>&quot;x&quot;</ETag><Size>12</Size>
<Owner><ID></ID><DisplayName/></Owner></Contents><Contents><Key><![CDATA[d&e]]></Key><Size>x</Size></Contents>
<CommonPrefixes><Prefix>f/</Prefix></CommonPrefixes></ListBucketResult>"#;

    #[test]
    fn a_page_is_read_as_servers_write_it() {
        let page = page(PAGE.as_bytes()).unwrap();
        assert_eq!(page.objects[0].key, "a/b c+");
        assert_eq!((page.objects[0].size, page.objects[1].size), (Some(12), None));
        assert_eq!(page.objects[0].modified, Some(Time::new(784_111_777, 0)));
        assert_eq!((page.objects[1].key.as_str(), page.objects.len()), ("d&e", 2));
        assert_eq!(
            (page.prefixes.as_slice(), page.next.as_deref()),
            (&["f/".to_owned()][..], Some("1/<A=="))
        );
        assert_eq!(error(PAGE.as_bytes()), None);
        let last = PAGE.replace(">true<", ">false<").replace("<EncodingType>url</EncodingType>", "");
        let last = super::page(last.as_bytes()).unwrap();
        assert_eq!((last.next, last.objects[0].key.as_str()), (None, "a%2Fb+c%2B"));
    }

    #[test]
    fn half_a_page_and_what_is_none_are_no_page() {
        for cut in [0, 1, 60, 200, PAGE.len() - 20, PAGE.len() - 1] {
            assert_eq!(page(&PAGE.as_bytes()[..cut]), None, "{cut}");
        }
        let no_token = PAGE.replace("NextContinuationToken", "Other");
        assert_eq!(page(no_token.as_bytes()), None, "cut off, and the rest can not be asked for");
        for text in [
            "<html><body>it works</body></html>",
            "<Error><Code>SlowDown</Code></Error>",
            "<!DOCTYPE x [<!ENTITY a \"b\">]><ListBucketResult>&a;</ListBucketResult>",
            "<ListBucketResult>&a;</ListBucketResult>",
            "<ListBucketResult></ListBucketResult><ListBucketResult/>x</a>",
            "x<ListBucketResult/>",
            "{}",
            "",
        ] {
            assert_eq!(page(text.as_bytes()), None, "{text}");
        }
        assert_eq!(page("<a>".repeat(100_000).as_bytes()), None);
        assert!(page(b"<ListBucketResult/>").is_some());
    }

    #[test]
    fn errors_are_read_with_the_region_that_they_name() {
        let said = error(b"<?xml version=\"1.0\"?><Error><Code>AuthorizationHeaderMalformed</Code><Message>a &amp; b</Message><Region>garage</Region></Error>").unwrap();
        assert_eq!((said.code.as_str(), said.message.as_str()), ("AuthorizationHeaderMalformed", "a & b"));
        assert_eq!(said.region.as_deref(), Some("garage"));
        assert_eq!(error(b"<LocationConstraint/>"), None);
    }

    proptest! {
        #[test]
        fn no_answer_is_too_strange(at in 0..PAGE.len(), to in any::<u8>(), rest in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut bytes = PAGE.as_bytes().to_vec();
            bytes[at] = to;
            let _ = (page(&bytes), error(&bytes));
            bytes.splice(at.., rest.clone());
            let _ = (page(&bytes), error(&bytes));
            let _ = (page(&rest), error(&rest));
        }
    }
}
