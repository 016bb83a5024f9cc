//! Archives as others write them are read as they were meant, and changed bytes are an error or another archive, never a panic.

use std::io::Write;

use super::Error;
use super::records::{Records, time};
use super::tar::{Archive, Entry, Kind};

/// An archive with what GNU tar and pax have beyond the old header.
fn sample() -> Vec<u8> {
    let mut builder = ::tar::Builder::new(Vec::new());
    let mut header = ::tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o104_755);
    header.set_uid(4_000_000);
    header.set_mtime(7);
    header.set_username("ann").unwrap();
    let long = format!("{}/file", "a long folder".repeat(20));
    builder.append_data(&mut header.clone(), &long, &b"hello"[..]).unwrap();
    header.set_entry_type(::tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header.clone(), "link", "x".repeat(200)).unwrap();
    header.set_entry_type(::tar::EntryType::Link);
    builder.append_link(&mut header, "hard", "link").unwrap();
    let records: [(&str, &[u8]); 5] = [
        ("mtime", b"-1.25"),
        ("size", b"3"),
        ("SCHILY.xattr.user.x", b"\0=\n"),
        ("LIBARCHIVE.xattr.user.%79", b"AP89Cg"),
        ("SCHILY.acl.access", b"user::rwx"),
    ];
    builder.append_pax_extensions(records).unwrap();
    let mut header = ::tar::Header::new_ustar();
    header.set_size(3);
    header.set_path("prefix/".repeat(20) + "name").unwrap();
    header.set_mode(0o644);
    header.set_cksum();
    builder.append(&header, &b"abc"[..]).unwrap();
    let mut header = ::tar::Header::new_gnu();
    header.set_entry_type(::tar::EntryType::Char);
    header.set_path("device").unwrap();
    header.set_device_major(5).unwrap();
    header.set_device_minor(1 << 19).unwrap();
    header.set_size(0);
    header.set_cksum();
    builder.append(&header, &b""[..]).unwrap();
    builder.into_inner().unwrap()
}

fn read(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, Error> {
    let mut archive = Archive::new(bytes);
    let mut all = Vec::new();
    while let Some(entry) = archive.next_entry()? {
        let mut content = Vec::new();
        let mut buffer = [0; 100];
        // As much as there is, whatever the header says.
        loop {
            match archive.read(&mut buffer)? {
                0 => break,
                count => content.write_all(&buffer[..count]).unwrap(),
            }
        }
        all.push((entry, content));
    }
    Ok(all)
}

#[test]
fn what_gnu_and_pax_add_is_understood() {
    let all = read(&sample()).unwrap();
    assert_eq!(all.len(), 5);
    let (file, content) = &all[0];
    assert!(file.path.starts_with(b"a long folder") && file.path.ends_with(b"/file"));
    assert_eq!(
        (file.kind, &content[..], file.uid, &file.user[..]),
        (Kind::File, &b"hello"[..], 4_000_000, &b"ann"[..])
    );
    assert_eq!((file.mode, file.mtime), (0o104_755, (7, 0)));
    assert_eq!((all[1].0.kind, all[1].0.target.len()), (Kind::Symlink, 200));
    assert_eq!((all[2].0.kind, &all[2].0.target[..]), (Kind::HardLink, &b"link"[..]));
    let (file, content) = &all[3];
    assert_eq!((&content[..], file.mtime), (&b"abc"[..], (-2, 750_000_000)));
    assert!(file.path.starts_with(b"prefix/prefix/") && file.path.ends_with(b"/name"));
    let xattrs: Vec<_> = file.records.xattrs().unwrap().into_iter().collect();
    let expected = [(b"user.x".to_vec(), b"\0=\n".to_vec()), (b"user.y".to_vec(), b"\0\xff=\n".to_vec())];
    assert_eq!(xattrs, expected);
    assert_eq!(file.records.acls(), [Some(&b"user::rwx"[..]), None]);
    assert_eq!((all[4].0.kind, all[4].0.device), (Kind::CharacterDevice, (5, 1 << 19)));
}

#[test]
fn an_archive_is_whole_or_an_error() {
    let bytes = sample();
    for length in 0..bytes.len() - 1024 {
        let error = read(&bytes[..length]).unwrap_err();
        assert!(matches!(error, Error::Cut(_)), "{length}: {error}");
    }
    read(&[&bytes[..], &[0; 10_000]].concat()).unwrap();
    assert!(read(&[&bytes[..], b"x"].concat()).is_err());
}

#[test]
fn changed_bytes_are_no_panic() {
    let bytes = sample();
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % below
    };
    let mut understood = 0;
    for _ in 0..30_000 {
        let mut changed = bytes.clone();
        let mut blocks = Vec::new();
        for _ in 0..=random(3) {
            let place = random(changed.len());
            changed[place] = [0, b' ', b'0', b'7', b'9', b'=', 0x7f, 0x80, 0xff, b'x', b'L'][random(11)];
            blocks.push(place / 512 * 512);
        }
        // Half of them with sums that are right: what lies behind the sum is to be tried as well.
        for start in blocks.into_iter().filter(|_| random(2) == 0) {
            let block = &mut changed[start..start + 512];
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        }
        understood += usize::from(read(&changed).is_ok_and(|all| {
            for (entry, _) in &all {
                let _ =
                    (entry.records.xattrs(), entry.records.acls().map(|text| text.map(super::acl::bytes)));
            }
            true
        }));
    }
    assert!((100..29_000).contains(&understood), "{understood}");
}

#[test]
fn records_are_read_strictly() {
    let parse = |text: &[u8]| Records::parse(text);
    assert!(parse(b"").is_ok());
    let mut records = parse(b"12 path=a=b\n9 size=3\n12 path=x y\n").unwrap();
    assert_eq!((records.take(b"path"), records.take(b"size")), (Some(b"x y".to_vec()), Some(b"3".to_vec())));
    for wrong in [
        &b"x"[..],
        b"12 path=a=b",
        b"11 path=a=b\n",
        b"13 path=a=b\n",
        b"+12 path=a=b",
        b"0 \n",
        b"4 a\n",
        b"6 =ab\n",
        b"99999999999999999999 a=b\n",
        b" 5 a=\n",
    ] {
        assert!(parse(wrong).is_err(), "{}", wrong.escape_ascii());
    }
    let mut all = parse(b"9 size=3\n").unwrap();
    all.merge(parse(b"8 size=\n").unwrap());
    assert_eq!(all.take(b"size"), None);
}

#[test]
fn times_are_decimal_numbers() {
    for (text, expected) in [
        ("5", Some((5, 0))),
        ("5.000000007", Some((5, 7))),
        ("5.5", Some((5, 500_000_000))),
        ("5.1234567899", Some((5, 123_456_789))),
        ("-1", Some((-1, 0))),
        ("-1.5", Some((-2, 500_000_000))),
        ("-0.000000001", Some((-1, 999_999_999))),
        ("", None),
        (".5", None),
        ("1e3", None),
        ("--1", None),
        ("99999999999999999999", None),
    ] {
        assert_eq!(time(text.as_bytes()), expected, "{text}");
    }
}
