//! The page of `copal web`, asked for byte by byte as a browser does, and as somebody does who should not.

mod common;
mod serving;

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;
use std::time::Duration;

use common::{Sandbox, end, end_child, flip, longest, noise, packs, signal};
use rustix::process::Signal;
use serving::{Web, first_line};

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// An answer.
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Web {
    fn cookie(&self) -> String {
        format!("Cookie: copal-{}={}", self.address.port(), self.token)
    }

    /// Sends that and reads all that comes back.
    fn send(&self, text: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(text).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let end = bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("no head of an answer");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head, body: bytes[end + 4..].to_vec() }
    }

    /// Asks with these headers and no others.
    fn ask(&self, what: &str, headers: &[&str]) -> Answer {
        let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        self.send(format!("{what} HTTP/1.1\r\n{lines}\r\n").as_bytes())
    }

    /// Asks as a browser that was let in.
    fn get(&self, path: &str) -> Answer {
        let answer = self.ask(
            &format!("GET {path}"),
            &[&format!("Host: {}", self.address), &self.cookie(), "Sec-Fetch-Site: same-origin"],
        );
        answer.check_head();
        assert!(!answer.text().contains(&self.token), "the token is only in the first address");
        answer
    }

    fn post(&self, path: &str, body: &str, headers: &[&str]) -> Answer {
        let mut lines =
            vec![format!("Host: {}", self.address), self.cookie(), format!("Content-Length: {}", body.len())];
        lines.extend(headers.iter().map(|line| (*line).to_owned()));
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        self.send(format!("POST {path} HTTP/1.1\r\n{lines}\r\n{body}").as_bytes())
    }
}

impl Answer {
    #[track_caller]
    fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{}\n{}", self.head, self.text());
        self
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    fn holds(self, text: &str) -> Answer {
        assert!(self.text().contains(text), "{text:?} is not in\n{}", self.text());
        self
    }

    /// The value of a header.
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// What every answer has to say.
    #[track_caller]
    fn check_head(&self) {
        let policy = self.header("Content-Security-Policy").unwrap();
        for part in ["default-src 'none'", "frame-ancestors 'none'"] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        for (name, value) in [
            ("X-Content-Type-Options", "nosniff"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Cache-Control", "no-store"),
        ] {
            assert_eq!(self.header(name), Some(value), "{}", self.head);
        }
        assert!(self.header("Referrer-Policy").is_some_and(|policy| policy == "no-referrer"
            || policy == "same-origin" && self.text().contains("method=\"post\"")));
        let kind = self.header("Content-Type").unwrap();
        if kind.starts_with("text/html") {
            for part in ["style-src 'self'", "img-src 'self'", "form-action 'self'", "base-uri 'none'"] {
                assert!(policy.contains(part), "{policy}");
            }
            assert!(!policy.contains("script-src"), "{policy}");
            // What the policy would keep a browser from doing is not asked for either.
            let text = self.text();
            for wrong in
                ["<script", "<style", " style=", "javascript:", "src=\"http", "href=\"http", "<iframe"]
            {
                assert!(!text.contains(wrong), "{wrong}: {text}");
            }
        } else if !matches!(kind, "text/css; charset=utf-8" | "image/svg+xml") {
            assert!(policy.contains("sandbox"), "{policy}");
        }
    }

    /// The body of an answer in chunks; none when it has no end.
    fn chunks(&self) -> Option<Vec<u8>> {
        let (mut rest, mut out) = (&self.body[..], Vec::new());
        loop {
            let line = rest.windows(2).position(|bytes| bytes == b"\r\n")?;
            let length = usize::from_str_radix(std::str::from_utf8(&rest[..line]).ok()?, 16).ok()?;
            let piece = rest.get(line + 2..line + 2 + length)?;
            rest = rest.get(line + 4 + length..)?;
            if length == 0 {
                return Some(out);
            }
            out.extend_from_slice(piece);
        }
    }
}

/// The path of the source in addresses.
fn source(sandbox: &Sandbox) -> String {
    sandbox.source().to_str().unwrap().to_owned()
}

fn snapshot(summary: &serde_json::Value) -> String {
    summary["snapshot_id"].as_str().unwrap().to_owned()
}

#[test]
fn nobody_is_let_in_without_the_token_or_from_elsewhere() {
    let sandbox = Sandbox::new();
    sandbox.write("source/file", "secret words");
    let id = snapshot(&sandbox.back_up());
    let web = Web::new(&sandbox);
    let host = format!("Host: {}", web.address);
    let (cookie, file) = (web.cookie(), format!("GET /get/{id}{}/file", source(&sandbox)));
    let refused = |what: &str, headers: &[&str], status: u16| {
        let answer = web.ask(what, headers).expect(status);
        answer.check_head();
        let text = answer.text();
        assert!(!text.contains("secret words") && !text.contains(&web.token), "{text}");
        assert!(answer.header("Set-Cookie").is_none());
    };
    let wrong = format!("Cookie: copal-{}={}", web.address.port(), "0".repeat(32));
    let short = format!("Cookie: copal-{}={}", web.address.port(), &web.token[..31]);
    for what in ["GET /", "GET /style.css", "GET /nowhere", "GET /?token=", &file] {
        refused(what, &[&host], 403);
        refused(what, &[&host, &wrong], 403);
        refused(what, &[&host, &short], 403);
    }
    for other in ["Host: evil.example", "Host: localhost:1", "Host: 127.0.0.1", "X: y"] {
        refused(&file, &[other, &cookie], 421);
        refused(&format!("GET /?token={}", web.token), &[other], 421);
    }
    refused(&file, &[&host, &cookie, "Sec-Fetch-Site: cross-site"], 403);
    refused(&file, &[&host, &cookie, "Sec-Fetch-Site: same-site"], 403);
    refused("PUT /", &[&host, &cookie], 405);
    refused("GET /", &[&host, &host, &cookie], 400);
    refused("GET /../etc/passwd", &[&host, &cookie], 404);
    let long = format!("X: {}", "x".repeat(20_000));
    refused("GET /", &[&host, &cookie, &long], 431);
    web.send(format!("POST / HTTP/1.1\r\n{host}\r\nContent-Length: 99999999\r\n\r\n").as_bytes()).expect(413);

    let answer = web.ask(&format!("GET /?token={}", web.token), &[&host]).expect(200);
    answer.check_head();
    let set = answer.header("Set-Cookie").unwrap();
    assert!(set.starts_with(&format!("copal-{}={};", web.address.port(), web.token)), "{set}");
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict"), "{set}");
    web.ask("GET /", &[&host, &cookie]).expect(200).holds("Snapshots");
    web.ask(&file, &[&host, &cookie]).expect(200).holds("secret words");
    assert_eq!(web.end().code, 0);
}

#[test]
fn names_that_are_no_names_for_a_page_are_shown_and_given() {
    let sandbox = Sandbox::new();
    let hostile: [&[u8]; 6] =
        [b"<script>alert(1)", b"\"onmouseover='x' &amp;", b"line\nbreak", b"\xff\xfe", b"%2e%2e?a#b", b"..."];
    for (number, name) in hostile.iter().enumerate() {
        sandbox.write(
            std::path::Path::new("source").join(OsStr::from_bytes(name)).join("in\"side<"),
            number.to_string(),
        );
    }
    let id = snapshot(&sandbox.back_up());
    let web = Web::new(&sandbox);
    let encode = |name: &[u8]| name.iter().map(|byte| format!("%{byte:02x}")).collect::<String>();
    let folder = web.get(&format!("/s/{id}{}", source(&sandbox))).expect(200);
    let text = folder.text();
    assert!(!text.contains("<script>") && !text.contains("onmouseover='x'"), "{text}");
    for shown in ["&lt;script&gt;", "line\\nbreak", "\\xff\\xfe", "%2e%2e?a#b", ">.../</a>"] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    // The links lead to what they name.
    let begin = format!("href=\"/s/{id}{}/", source(&sandbox));
    let links: Vec<&str> = text.split(&begin).skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(links.len(), hostile.len());
    for link in links {
        web.get(&format!("/s/{id}{}/{link}", source(&sandbox))).expect(200).holds("in&quot;side&lt;");
    }
    for (number, name) in hostile.iter().enumerate() {
        let path = format!("{}/{}/{}", source(&sandbox), encode(name), encode(b"in\"side<"));
        let answer = web.get(&format!("/get/{id}{path}")).expect(200);
        assert_eq!(answer.text(), number.to_string());
        let disposition = answer.header("Content-Disposition").unwrap();
        assert!(
            disposition.starts_with("attachment; filename=\"in_side_\"; filename*=UTF-8''in%22side%3C"),
            "{disposition}"
        );
        web.get(&format!("/versions{path}")).expect(200).holds("On ");
    }
    let found = web.get("/find?q=%3Cscript").expect(200).holds("value=\"&lt;script\"");
    assert!(!found.text().contains("<script"), "{}", found.text());
    // A path is looked for in trees alone.
    for path in ["/../../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/etc%2fpasswd", "/%00", "/."] {
        web.get(&format!("/get/{id}{}{path}", source(&sandbox))).expect(404);
        web.get(&format!("/s/{id}{path}")).expect(404);
    }
    web.get(&format!("/s/{}/x", "0".repeat(64))).expect(404);
    web.get("/s/x").expect(404);
    assert_eq!(web.end().code, 0);
}

#[test]
fn what_is_downloaded_is_what_was_saved_and_never_something_that_runs() {
    let sandbox = Sandbox::new();
    let large = noise(1, 5 << 20);
    sandbox.write("source/docs/large", &large);
    sandbox.write("source/docs/page.html", "<script>alert(1)</script>");
    sandbox.write("source/docs/picture.svg", "<svg xmlns='http://www.w3.org/2000/svg'/>");
    let png = [&b"\x89PNG\r\n\x1a\n"[..], &noise(2, 1000)].concat();
    sandbox.write("source/docs/named.html", &png);
    sandbox.write("source/docs/empty", "");
    let id = snapshot(&sandbox.back_up());
    let web = Web::new(&sandbox);
    let docs = format!("{}/docs", source(&sandbox));
    let answer = web.get(&format!("/get/{id}{docs}/large")).expect(200);
    assert!(answer.body == large);
    assert_eq!(answer.header("Content-Length"), Some("5242880"));
    for name in ["page.html", "picture.svg"] {
        let answer = web.get(&format!("/get/{id}{docs}/{name}")).expect(200);
        assert_eq!(answer.header("Content-Type"), Some("application/octet-stream"));
        assert!(answer.header("Content-Disposition").unwrap().starts_with("attachment;"));
        web.get(&format!("/raw/{id}{docs}/{name}")).expect(415);
        let shown = web.get(&format!("/s/{id}{docs}/{name}")).expect(200).text();
        assert!(!shown.contains("<script") && !shown.contains("<svg xmlns"), "{shown}");
    }
    let image = web.get(&format!("/raw/{id}{docs}/named.html")).expect(200);
    assert_eq!(image.header("Content-Type"), Some("image/png"));
    assert!(image.body == png);
    web.get(&format!("/s/{id}{docs}/named.html"))
        .expect(200)
        .holds(&format!("<img class=\"preview\" src=\"/raw/{id}"));
    assert!(web.get(&format!("/get/{id}{docs}/empty")).expect(200).body.is_empty());
    web.get(&format!("/get/{id}{docs}")).expect(404);
    web.get(&format!("/zip/{id}{docs}/large")).expect(404);

    let zip = web.get(&format!("/zip/{id}{docs}")).expect(200);
    assert!(zip.header("Content-Disposition").unwrap().contains("docs.zip"));
    sandbox.write("docs.zip", zip.chunks().unwrap());
    let script = "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None; z.extractall(sys.argv[2])";
    let mut python = std::process::Command::new("python3");
    python.args(["-c", script]).arg(sandbox.path("docs.zip")).arg(sandbox.path("out"));
    end(python).expect(0);
    assert!(std::fs::read(sandbox.path("out/large")).unwrap() == large);
    assert_eq!(std::fs::read_dir(sandbox.path("out")).unwrap().count(), 5);
    assert_eq!(web.end().code, 0);
}

#[test]
fn what_is_damaged_cuts_the_connection_and_is_told() {
    let sandbox = Sandbox::new();
    let content = noise(1, 6 << 20);
    sandbox.write("source/large", &content);
    sandbox.write("source/later", "fine");
    let id = snapshot(&sandbox.back_up());
    let pack = longest(packs(&sandbox));
    flip(&pack);
    let web = Web::new(&sandbox);
    let answer = web.get(&format!("/get/{id}{}/large", source(&sandbox))).expect(200);
    assert_eq!(answer.header("Content-Length"), Some("6291456"));
    // How much comes before it depends on which of the packs each block went to.
    assert!(answer.body.len() < content.len());
    assert!(content.starts_with(&answer.body), "something else than what was saved");
    let zip = web.get(&format!("/zip/{id}{}", source(&sandbox))).expect(200);
    assert!(zip.chunks().is_none(), "a cut archive must not look whole");
    assert!(!zip.body.windows(4).any(|bytes| bytes == b"PK\x05\x06"));
    web.get(&format!("/get/{id}{}/later", source(&sandbox))).expect(200).holds("fine");
    web.end().expect(0).warns("cut off at").warns("/large");
}

#[test]
fn what_a_repair_marked_as_lost_is_no_zeros() {
    let sandbox = Sandbox::new();
    sandbox.write("source/large", noise(1, 3 << 20));
    sandbox.write("source/small", "fine");
    sandbox.back_up();
    // All of its content, over whichever packs that was spread; what is left is trees.
    let large = packs(&sandbox).into_iter().filter(|pack| pack.metadata().unwrap().len() > 500_000);
    large.for_each(|pack| std::fs::remove_file(pack).unwrap());
    sandbox.run(["check", "--read-data"]).expect(5);
    let _ = sandbox.run(["repair", "index", "--yes"]);
    let _ = sandbox.run(["repair", "snapshots", "--forget"]);
    let web = Web::new(&sandbox);
    let top = web.get("/").expect(200).holds("repaired").text();
    let id = top.split("href=\"/s/").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let path = format!("{id}{}/large", source(&sandbox));
    web.get(&format!("/s/{path}")).expect(200).holds("as a repair marked it");
    let answer = web.get(&format!("/get/{path}")).expect(200);
    assert_eq!(answer.header("Content-Length"), Some("3145728"));
    assert!(answer.body.is_empty(), "{} bytes of what is lost", answer.body.len());
    web.end().expect(0).warns("cut off at");
}

#[test]
fn a_folder_that_can_not_be_read_is_not_empty_and_what_was_in_it_is_not_absent() {
    let sandbox = Sandbox::new();
    sandbox.write("source/first/file", "x");
    let id = snapshot(&sandbox.back_up());
    let (packs, away) = (sandbox.repository().join("packs"), sandbox.path("away"));
    std::fs::rename(&packs, &away).unwrap();
    std::fs::create_dir(&packs).unwrap();
    let web = Web::new(&sandbox);
    web.get("/").expect(200).holds(&id);
    let root = web.get(&format!("/s/{id}")).expect(200).holds("role=\"alert\"");
    assert!(!root.text().contains("Nothing is in this folder"), "{}", root.text());
    for word in ["s", "get", "zip", "raw", "restore"] {
        web.get(&format!("/{word}/{id}{}/first/file", source(&sandbox))).expect(500).holds("Damaged");
    }
    web.get("/find?q=file").expect(200).holds("only in part");
    let zip = web.get(&format!("/zip/{id}")).expect(200);
    assert!(zip.chunks().is_none(), "a cut archive must not look whole");
    web.end().expect(0).warns("cut off at");
    // Found again, it is whole again.
    std::fs::remove_dir(&packs).unwrap();
    std::fs::rename(&away, &packs).unwrap();
    let web = Web::new(&sandbox);
    web.get(&format!("/get/{id}{}/first/file", source(&sandbox))).expect(200).holds("x");
    assert_eq!(web.end().code, 0);
}

#[test]
fn a_prune_beside_it_takes_nothing_away() {
    let sandbox = Sandbox::new();
    sandbox.write("source/old", noise(1, 2 << 20));
    sandbox.back_up_with(&["--time", "2026-01-01 10:00"]);
    std::fs::remove_file(sandbox.path("source/old")).unwrap();
    sandbox.write("source/new", "x");
    sandbox.back_up_with(&["--time", "2026-01-02 10:00"]);
    let pack = longest(packs(&sandbox));
    let sessions = || std::fs::read_dir(sandbox.repository().join("sessions")).unwrap().count();
    let before = sessions();
    let web = Web::new(&sandbox);
    let patience = std::time::Instant::now() + PATIENCE;
    while sessions() == before {
        assert!(std::time::Instant::now() < patience, "nobody is told that somebody reads");
        std::thread::sleep(Duration::from_millis(20));
    }
    sandbox.run(["forget", "--keep-last", "1"]).expect(0);
    sandbox.run(["prune", "--grace", "0", "--max-unused", "0"]).expect(0);
    assert!(pack.exists());
    web.get("/").expect(200);
    web.end().expect(0);
    sandbox.run(["prune", "--grace", "0", "--max-unused", "0"]).expect(0);
    assert!(!pack.exists(), "it was kept for nobody");
}

#[test]
fn programs_are_told_the_address() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(["web", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let line: serde_json::Value = serde_json::from_str(&first_line(&mut child)).unwrap();
    assert_eq!(line["message_type"], "serving");
    assert!(line["url"].as_str().unwrap().starts_with("http://127.0.0.1:"), "{line}");
    signal(&child, Signal::INT);
    let ended = end_child(child, "web".to_owned()).expect(0);
    assert!(ended.stderr.is_empty() && ended.stdout.is_empty(), "{ended}");
}

#[test]
fn long_folders_and_many_snapshots_come_in_pages() {
    let sandbox = Sandbox::new();
    for number in 0..1201 {
        sandbox.write(format!("source/many/file-{number:05}"), number.to_string());
    }
    let id = snapshot(&sandbox.back_up());
    let web = Web::new(&sandbox);
    let address = format!("/s/{id}{}/many", source(&sandbox));
    let mut names = Vec::new();
    let mut next = Some(address.clone());
    while let Some(path) = next {
        let text = web.get(&path).expect(200).text();
        names.extend(
            text.split("class=\"file\"").skip(1).map(|row| row.split(['>', '<']).nth(1).unwrap().to_owned()),
        );
        let link = text.split("rel=\"next\" href=\"").nth(1).map(|rest| rest.split('"').next().unwrap());
        next = link.map(str::to_owned);
        assert!(names.len() <= 1201);
    }
    let all: Vec<String> = (0..1201).map(|number| format!("file-{number:05}")).collect();
    assert_eq!(names, all);
    web.get(&format!("{address}?from=99999")).expect(404);
    web.get(&format!("{address}?from=18446744073709551615")).expect(404);
    let found = web.get("/find?q=file-").expect(200).text();
    assert_eq!(found.matches("<tr><td").count(), 200);
    let rest = web.get("/find?q=file-&from=1200").expect(200).text();
    assert_eq!(rest.matches("<tr><td").count(), 1);
    assert_eq!(web.end().code, 0);
}

#[test]
fn versions_are_found_and_compared() {
    let sandbox = Sandbox::new();
    sandbox.write("source/Notes.txt", "one\ntwo <b>\nthree\n");
    let first = snapshot(&sandbox.back_up_with(&["--time", "2026-01-01 10:00", "--tag", "a<b"]));
    sandbox.write("source/Notes.txt", "one\ntwo & more\nthree\n");
    sandbox.write("source/gone", "x");
    let second = snapshot(&sandbox.back_up_with(&["--time", "2026-01-02 10:00"]));
    std::fs::remove_file(sandbox.path("source/gone")).unwrap();
    sandbox.back_up_with(&["--time", "2026-01-03 10:00"]);
    let web = Web::new(&sandbox);
    let top = web.get("/").expect(200).holds("2026-01-01 10:00:00").holds("a&lt;b").holds("<svg ");
    assert!(top.text().find("2026-01-03 10").unwrap() < top.text().find("/s/").unwrap() + 200);
    let path = format!("{}/Notes.txt", source(&sandbox));
    let versions = web.get(&format!("/versions{path}")).expect(200).text();
    assert_eq!(versions.matches("<input type=\"radio\" name=\"a\"").count(), 2);
    assert!(versions.contains(&format!("action=\"/diff{path}\"")), "{versions}");
    for (a, b) in [(&first, &second), (&second, &first)] {
        web.get(&format!("/diff{path}?a={a}&b={b}"))
            .expect(200)
            .holds("<del>-two &lt;b&gt;</del>\n<ins>+two &amp; more</ins>");
    }
    web.get(&format!("/diff{path}?a={second}&b={second}")).expect(200).holds("Both hold the same");
    web.get(&format!("/diff{path}?a={second}")).expect(400);
    web.get(&format!("/diff{path}x?a={first}&b={second}")).expect(404);
    web.get("/find?q=notes").expect(200).holds("2 versions").holds(&format!("href=\"/versions{path}\""));
    web.get("/find?q=gone&deleted=1").expect(200).holds("/gone").holds("deleted</span>");
    web.get("/find?q=notes&deleted=1").expect(200).holds("Nothing was found");
    web.get("/find?q=%5b").expect(200);
    web.get("/versions/nowhere").expect(404);
    // A snapshot that comes while it is looked at is found.
    sandbox.write("source/new", "n");
    let new = snapshot(&sandbox.back_up());
    let patience = std::time::Instant::now() + PATIENCE;
    while !web.get("/").expect(200).text().contains(&new) {
        assert!(std::time::Instant::now() < patience, "the new snapshot is not seen");
        std::thread::sleep(Duration::from_millis(100));
    }
    web.get("/find?q=new").expect(200).holds("/source/new");
    assert_eq!(web.end().code, 0);
}

#[test]
fn a_long_filling_of_the_catalogue_is_shown_and_comes_to_its_end() {
    let sandbox = Sandbox::new();
    for number in 0..51 {
        sandbox.write("source/file", number.to_string());
        sandbox.back_up();
    }
    let web = Web::new(&sandbox);
    let path = format!("/versions{}/file", source(&sandbox));
    let first = web.get(&path).expect(200).holds("http-equiv=\"refresh\"");
    assert!(first.text().contains("0 of 51 snapshots taken into the catalogue"), "{}", first.text());
    let patience = std::time::Instant::now() + PATIENCE;
    let text = loop {
        let text = web.get(&path).expect(200).text();
        if !text.contains("One moment") {
            break text;
        }
        assert!(std::time::Instant::now() < patience, "{text}");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(text.matches("<input type=\"radio\" name=\"a\"").count(), 51);
    // From then on there is nothing to wait for.
    assert!(!web.get("/find?q=file").expect(200).holds("51 versions").text().contains("One moment"));
    assert_eq!(web.end().code, 0);
}

#[test]
fn a_restore_is_confirmed_comes_from_this_page_and_overwrites_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("source/docs/a", "as it was");
    sandbox.write("source/docs/b", "b");
    let id = snapshot(&sandbox.back_up());
    let web = Web::new(&sandbox);
    let path = format!("/restore/{id}{}/docs", source(&sandbox));
    let target = sandbox.path("out < \"put\"");
    let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let shown = encode(target.to_str().unwrap());
    web.get(&path).expect(200).holds("Folder on this machine");
    web.get(&format!("{path}?target=relative")).expect(200).holds("whole path");
    web.get("/restoring").expect(404);
    let asked = web.get(&format!("{path}?target={shown}")).expect(200).holds("will be made");
    assert_eq!(asked.header("Referrer-Policy"), Some("same-origin"));
    let text = asked.text();
    let field = |name: &str| {
        let rest = text.split(&format!("name=\"{name}\" value=\"")).nth(1).unwrap();
        encode(rest.split('"').next().unwrap())
    };
    let body = format!("form={}&target={}", field("form"), field("target"));
    let own = format!("Origin: http://{}", web.address);
    for (body, headers) in [
        (&body, &[][..]),
        (&body, &["Origin: http://evil.example"]),
        (&body, &["Origin: null"]),
        (&body, &[&own, "Sec-Fetch-Site: same-site"]),
        (&body, &[&own, "Sec-Fetch-Site: none"]),
        (&format!("form={}&target={}", web.token, field("target")), &[&own]),
        (&format!("target={}", field("target")), &[&own]),
    ] {
        web.post(&path, body, headers).expect(403);
    }
    assert!(!target.exists(), "a request of somebody else wrote something");
    let restore = |body: &str| {
        let answer = web.post(&path, body, &[&own, "Sec-Fetch-Site: same-origin"]).expect(303);
        assert_eq!(answer.header("Location"), Some("/restoring"));
        let patience = std::time::Instant::now() + PATIENCE;
        loop {
            let text = web.get("/restoring").expect(200).text();
            if !text.contains("At work") {
                return text;
            }
            assert!(std::time::Instant::now() < patience, "{text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let told = restore(&body);
    assert!(told.contains("Restored 2 files") && told.contains("out &lt; &quot;put&quot;"), "{told}");
    assert_eq!(std::fs::read(target.join("a")).unwrap(), b"as it was");
    std::fs::write(target.join("a"), "mine").unwrap();
    let told = restore(&body);
    assert!(told.contains("Nothing more is restored") && told.contains("role=\"alert\""), "{told}");
    assert_eq!(std::fs::read(target.join("a")).unwrap(), b"mine");
    // A single file is put beside.
    let path = format!("{path}/a");
    let answer = web.post(&path, &body, &[&own, "Sec-Fetch-Site: same-origin"]).expect(303);
    assert!(answer.body.is_empty());
    let patience = std::time::Instant::now() + PATIENCE;
    while web.get("/restoring").expect(200).text().contains("At work") {
        assert!(std::time::Instant::now() < patience);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(std::fs::read(target.join("a")).unwrap(), b"mine");
    assert_eq!(std::fs::read_dir(&target).unwrap().count(), 3);
    assert_eq!(web.end().code, 0);
}

#[test]
fn who_says_nothing_keeps_nobody_waiting() {
    let sandbox = Sandbox::new();
    sandbox.write("source/file", "x");
    sandbox.back_up();
    let web = Web::new(&sandbox);
    let idle: Vec<TcpStream> = (0..30).map(|_| TcpStream::connect(web.address).unwrap()).collect();
    let mut half = TcpStream::connect(web.address).unwrap();
    half.write_all(b"GET / HTTP/1.1\r\nHost:").unwrap();
    web.get("/").expect(200);
    // They do not keep it from ending either.
    assert_eq!(web.end().code, 0);
    drop((idle, half));
}

#[test]
fn not_more_than_so_many_are_listened_to_at_a_time() {
    let sandbox = Sandbox::new();
    let web = Web::new(&sandbox);
    let asks = || {
        let mut stream = TcpStream::connect(web.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", web.address).as_bytes());
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        bytes.starts_with(b"HTTP/1.1 403 ")
    };
    assert!(asks());
    // Once more where those before were given up meanwhile, as on a machine that stands still for a while.
    let is_bounded = (0..5).any(|_| {
        let idle: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(web.address).unwrap()).collect();
        let is_refused = !asks();
        drop(idle);
        is_refused
    });
    assert!(is_bounded, "somebody more was answered");
    let patience = std::time::Instant::now() + PATIENCE;
    while !asks() {
        assert!(std::time::Instant::now() < patience, "those who went are still counted");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(web.end().code, 0);
}

#[test]
fn another_address_is_warned_of_and_restores_nothing() {
    let sandbox = Sandbox::new();
    sandbox.run(["web", "--listen", "nonsense"]).expect(2);
    sandbox.run(["web", "--listen", "192.0.2.1:0"]).expect(1).warns("can not be listened on");
    sandbox.write("source/file", "x");
    let id = snapshot(&sandbox.back_up());
    let mut web = Web::with(&sandbox, &["web", "--listen", "0.0.0.0:0"]);
    web.address.set_ip([127, 0, 0, 1].into());
    let path = format!("{}/file", source(&sandbox));
    let shown = web.get(&format!("/s/{id}{path}")).expect(200).holds("/get/");
    assert!(!shown.text().contains("/restore/"));
    let host = format!("Host: evil.example:{}", web.address.port());
    web.ask("GET /", &[&host, &web.cookie()]).expect(421);
    web.get(&format!("/restore/{id}{path}")).expect(403);
    web.get(&format!("/restore/{id}{path}?target=/tmp")).expect(403);
    let own = format!("Origin: http://{}", web.address);
    web.post(&format!("/restore/{id}{path}"), "target=/tmp", &[&own])
        .expect(403)
        .holds("others than this machine");
    web.end().expect(0).warns("is not this machine alone");
}
