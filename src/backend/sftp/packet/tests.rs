//! Replies that are whole, cut off, and lying.

use super::*;

fn strings(parts: &[&[u8]]) -> Vec<u8> {
    parts.iter().flat_map(|part| [&(part.len() as u32).to_be_bytes()[..], part].concat()).collect()
}

fn reply(kind: u8, rest: &[u8]) -> Vec<u8> {
    [&[kind, 0, 0, 0, 9][..], rest].concat()
}

/// One of each kind of reply.
fn samples() -> Vec<Vec<u8>> {
    let attributes = [
        &[0x80, 0, 0, 15][..],
        &7_u64.to_be_bytes(),
        &[0; 8],
        &0o100_600_u32.to_be_bytes(),
        &[0, 0, 0, 1, 0, 0, 0, 2],
        &[0, 0, 0, 1],
        &strings(&[b"name", b"data"]),
    ]
    .concat();
    let mut names = 2_u32.to_be_bytes().to_vec();
    for name in [&b"one"[..], b"two"] {
        names.extend(strings(&[name, b"-rw------- one"]));
        names.extend(&attributes);
    }
    vec![
        reply(101, &[&[0, 0, 0, 4][..], &strings(&[b"Failure", b"en"])].concat()),
        reply(102, &strings(&[b"handle"])),
        reply(103, &strings(&[b"some bytes"])),
        reply(104, &names),
        reply(105, &attributes),
        reply(201, &[1; 88]),
    ]
}

#[test]
fn replies_are_read_as_they_were_said() {
    let attributes = Attributes { size: Some(7), mode: Some(0o100_600), modified: Some(2) };
    assert_eq!(attributes.length(), Some(7));
    let names = [b"one", b"two"].map(|name| Listed { name: name.to_vec(), attributes }).to_vec();
    let expected = [
        Reply::Status { code: 4, message: b"Failure".to_vec() },
        Reply::Handle(b"handle".to_vec()),
        Reply::Data(b"some bytes".to_vec()),
        Reply::Names(names),
        Reply::Attributes(attributes),
        Reply::Extended(vec![1; 88]),
    ];
    for (sample, expected) in samples().iter().zip(expected) {
        assert_eq!(decode(sample).unwrap(), (9, expected));
    }
    // An old server's status.
    let status = decode(&reply(101, &[0, 0, 0, 2])).unwrap().1;
    assert_eq!(status, Reply::Status { code: 2, message: Vec::new() });
}

#[test]
fn only_a_regular_file_has_a_length() {
    for mode in [0o040_700, 0o120_777, 0o010_600, 0o600] {
        let attributes = Attributes { size: Some(1), mode: Some(mode), modified: None };
        assert_eq!(attributes.length(), None, "{mode:o}");
    }
    assert_eq!(Attributes { size: Some(1), ..Attributes::default() }.length(), None);
}

#[test]
fn a_reply_that_is_cut_off_or_lies_is_an_error_and_takes_no_memory() {
    for sample in samples() {
        for length in 0..sample.len() {
            let whole_without = matches!(sample[0], 101 | 201) && length >= 9;
            let read = decode(&sample[..length]);
            assert!(
                read.is_err() || whole_without || (sample[0] == 201 && length >= 5),
                "{length} of {sample:?}"
            );
        }
        // A length or count of 4 GiB anywhere.
        for at in 5..sample.len().saturating_sub(4) {
            let mut lying = sample.clone();
            lying[at..at + 4].fill(0xff);
            let _ = decode(&lying);
        }
    }
    let many = reply(104, &[0xff; 400]);
    assert_eq!(decode(&many), Err(Malformed("a list is said to hold more names than it has room for")));
    assert!(decode(&reply(102, &strings(&[&[0; 257]]))).is_err());
    assert!(decode(&reply(7, &[])).is_err() && decode(&[]).is_err());
    assert!(Limits::decode(&[0; 31]).is_err() && Room::decode(&[0; 87]).is_err());
}

#[test]
fn the_greeting_tells_versions_and_extensions() {
    let greet = |version: u8, parts: &[&[u8]]| {
        decode_greeting(&[&[2, 0, 0, 0, version][..], &strings(parts)].concat())
    };
    let found = greet(
        3,
        &[
            b"x",
            b"y",
            b"fsync@openssh.com",
            b"1",
            b"hardlink@openssh.com",
            b"2",
            b"statvfs@openssh.com",
            b"2",
        ],
    );
    assert_eq!(found.unwrap(), Extensions { sync: true, space: true, ..Extensions::default() });
    assert_eq!(greet(3, &[]).unwrap(), Extensions::default());
    assert!(greet(2, &[]).is_err());
    assert!(greet(3, &[b"odd"]).is_err());
    assert!(decode_greeting(b"Welcome!").is_err());
}

#[test]
fn packets_are_taken_one_by_one_and_none_is_too_long() {
    let mut bytes = &[&[0, 0, 0, 5][..], b"first", &[0, 0, 0, 6], b"second"].concat()[..];
    let mut packet = Vec::new();
    assert!(receive(&mut bytes, &mut packet).unwrap());
    assert_eq!(packet, b"first");
    assert!(receive(&mut bytes, &mut packet).unwrap());
    assert_eq!(packet, b"second");
    assert!(!receive(&mut bytes, &mut packet).unwrap());
    for wrong in [&b"Welcome to this server"[..], &[0, 0, 0, 4, 1, 2, 3, 4], &[0, 4, 0, 1]] {
        let error = receive(&mut &*wrong, &mut packet).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{wrong:?}");
    }
    for cut in [&[0, 0][..], &[0, 0, 0, 9, 1, 2]] {
        let error = receive(&mut &*cut, &mut packet).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{cut:?}");
    }
    assert!(packet.capacity() <= PACKET_MOST);
}
