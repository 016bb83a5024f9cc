//! What servers answer: packets of SFTP as they come from a pipe.

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
