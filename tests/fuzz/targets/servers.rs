//! What comes from a pipe: packets of SFTP servers, and what copal's own server and its clients say to each other.

use copal::backend::Kind;
use copal::backend::serve::frame;
use copal::backend::sftp::packet::{Limits, Reply, Room, decode, decode_greeting, receive};

/// A stream of packets, of which the first may be a greeting. Accepted when all of them are what they should be.
pub fn sftp(data: &[u8]) -> bool {
    let mut rest = data;
    let mut packet = Vec::new();
    let mut count = 0;
    loop {
        match receive(&mut rest, &mut packet) {
            Ok(true) => {}
            Ok(false) => return count > 0,
            Err(_) => return false,
        }
        count += 1;
        if count == 1 && decode_greeting(&packet).is_ok() {
            continue;
        }
        match decode(&packet) {
            Ok((_, Reply::Names(names))) => {
                assert!(names.len() * 12 <= packet.len(), "more names than there is room for");
            }
            Ok((_, Reply::Extended(bytes))) => {
                let _ = (Limits::decode(&bytes), Room::decode(&bytes));
            }
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

pub fn sftp_seeds() -> Vec<Vec<u8>> {
    let string = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat();
    let packet = |kind: u8, body: &[u8]| string(&[&[kind][..], body].concat());
    let reply = |kind: u8, body: &[u8]| packet(kind, &[&[0, 0, 0, 7][..], body].concat());
    let greeting = [&[0, 0, 0, 3][..], &string(b"fsync@openssh.com"), &string(b"1")].concat();
    let attributes = [&[0, 0, 0, 15][..], &[0; 8], &[0; 8], &[0, 0, 0x81, 0x80], &[1; 8]].concat();
    let name = [&string(b"name")[..], &string(b"-rw------- name"), &attributes].concat();
    let all = vec![
        packet(2, &greeting),
        reply(101, &[&[0, 0, 0, 4][..], &string(b"Failure"), &string(b"en")].concat()),
        reply(102, &string(b"handle")),
        reply(103, &string(&[9; 100])),
        reply(104, &[&[0, 0, 0, 2][..], &name, &name].concat()),
        reply(105, &attributes),
        reply(201, &[1; 88]),
    ];
    let whole = all.concat();
    all.into_iter().chain([whole]).collect()
}

/// A stream of frames after the words of the beginning, each taken for a request and for a reply. Accepted when all are one of the two.
pub fn serve(data: &[u8]) -> bool {
    let Some(mut rest) = data.strip_prefix(&frame::MAGIC) else { return false };
    match frame::Hello::receive(&mut rest) {
        Ok(hello) => {
            let bytes = hello.encode();
            assert_eq!(frame::Hello::receive(&mut &bytes[frame::MAGIC.len()..]).ok(), Some(hello));
        }
        Err(_) => return false,
    }
    let mut packet = Vec::new();
    loop {
        match frame::receive(&mut rest, &mut packet) {
            Ok(true) => assert!(packet.len() <= frame::FRAME_MOST),
            Ok(false) => return true,
            Err(_) => return false,
        }
        let request = frame::Request::decode(&packet);
        if let Ok((id, request)) = &request {
            assert_eq!(
                request.encode(*id)[4..],
                packet,
                "a request that is another when it is written again"
            );
        }
        let reply = frame::Reply::decode(&packet);
        if let Ok((_, frame::Reply::Part(bytes))) = &reply {
            let mut count = 0;
            let listed = frame::entries(bytes, &mut |kind, _, name| {
                assert!(kind.is_name(&name), "a name that no object has");
                count += 9 + name.len();
            });
            assert!(count <= bytes.len() && (listed.is_err() || count == bytes.len()));
        }
        if request.is_err() && reply.is_err() {
            return false;
        }
    }
}

pub fn serve_seeds() -> Vec<Vec<u8>> {
    use frame::{Refusal, Reply, Request, What, Why};
    let hello = frame::Hello { version: 1, is_refused: false, text: "/srv/backup".to_owned() }.encode();
    let name = "ab".repeat(32);
    let listing = [frame::entry(Kind::Packs, 5, &name), frame::entry(Kind::Config, 6, &name[..16])].concat();
    let all = [
        Request::of(What::Put, Kind::Packs, &name, 3, 0).encode(1),
        Request { rest: b"abc".to_vec(), ..Request::new(What::Part, 0, 0) }.encode(1),
        Request { rest: vec![3, 4, 5], ..Request::new(What::List, 0, 0) }.encode(2),
        Request::of(What::Range, Kind::Index, &name, 7, 1 << 40).encode(3),
        Reply::Part(listing).encode(2),
        Reply::Done(5, 6).encode(3),
        Reply::Failed(Refusal { why: Why::Denied, number: 0, text: "no".to_owned() }).encode(4),
    ];
    let whole = [&hello[..], &all.concat()].concat();
    all.iter().map(|frame| [&hello[..], frame].concat()).chain([whole]).collect()
}
