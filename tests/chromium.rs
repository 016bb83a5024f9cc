//! The page of `copal web` in a real browser, used as a person does: with the mouse, by keyboard alone, in the dark, on a telephone.
//!
//! Needs Debian's `chromium`. With COPAL_TEST_PICTURES=FOLDER what is seen is kept there, to be looked at.

mod common;
#[path = "chromium/driver.rs"]
mod driver;
mod serving;

use std::ffi::OsStr;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::mpsc::channel;

use common::Sandbox;
use driver::{Chromium, Tab};
use serde_json::{Value, json};
use serving::Web;

/// A picture of a hill, 96 pixels wide.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAGAAAABAAgMAAACYWpqdAAAADFBMVEX/yFC0XwYoWqDw8PCTImEKAAAAj0lEQVR42u3SsQ2DMBSE4RMlo2Sfo2AET5El3NNYCkwZg4ixX+51FFaUK/0VvzDG5gxdwYJBwxPQAOCh4JVhVLBkGH4Z3C9378q/Xfd/9Pl87oE0aVjJWQLzgoC4A78hHeecLKw8NxtgWWggXsAaUnV+ZtAEqgzawJWBCZQMTKBkYAOfDDbKBUQNBP/QE7wBetASJqPBO8AAAAAASUVORK5CYII=";

/// The bytes that base64 stands for.
fn decoded(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        other => panic!("no base64: {other}"),
    };
    let digits: Vec<u8> = text.trim_end_matches('=').bytes().map(digit).collect();
    let whole = digits.chunks(4).flat_map(|four| {
        let bits =
            four.iter().fold(0u32, |bits, digit| bits << 6 | u32::from(*digit)) << (6 * (4 - four.len()));
        bits.to_be_bytes()[1..four.len()].to_vec()
    });
    whole.collect()
}

/// A repository, its page, and a browser that was let in.
struct Visit {
    sandbox: Sandbox,
    web: Web,
    chromium: Chromium,
    tab: Tab,
    /// Who is to be asked by nobody.
    canary: TcpListener,
}

impl Visit {
    fn new() -> Visit {
        let canary = TcpListener::bind("127.0.0.1:0").unwrap();
        let sandbox = Sandbox::new();
        fill(&sandbox, canary.local_addr().unwrap());
        let web = Web::new(&sandbox);
        let mut chromium = Chromium::new(&sandbox.path("home"));
        let tab = chromium.tab();
        let mut visit = Visit { sandbox, web, chromium, tab, canary };
        let address = format!("http://{}/?token={}", visit.web.address, visit.web.token);
        visit.chromium.call(&visit.tab, "Page.navigate", json!({ "url": address }));
        // The first page leads on by itself, and the token does not stay in the address.
        visit.chromium.until(
            &visit.tab,
            "location.href === location.origin + '/' && document.readyState === 'complete'",
        );
        visit.sees("Snapshots");
        visit
    }

    #[track_caller]
    fn click(&mut self, selector: &str, text: &str) {
        self.chromium.click(&self.tab, selector, text);
    }

    #[track_caller]
    fn is(&mut self, expression: &str) {
        let value = self.chromium.value(&self.tab, expression);
        let text = self.chromium.value(&self.tab, "location.href + '\\n' + document.body.innerText");
        assert_eq!(value, Some(json!(true)), "{expression}\n{}", text.unwrap().as_str().unwrap());
    }

    /// The text is on the page, to be seen.
    #[track_caller]
    fn sees(&mut self, text: &str) {
        self.is(&format!("document.body.innerText.includes({})", json!(text)));
    }

    #[track_caller]
    fn does_not_see(&mut self, text: &str) {
        self.is(&format!("!document.body.innerText.includes({})", json!(text)));
    }

    /// From the snapshots into the folder that was saved, in the newest.
    #[track_caller]
    fn enter_newest(&mut self) {
        self.click("td a", "2026-01-04 10:00:00");
        let source = self.sandbox.source();
        self.click("dd a", source.to_str().unwrap());
    }

    /// What is seen, kept where somebody wants to look at it.
    fn picture(&mut self, name: &str) -> String {
        let picture = self.chromium.picture(&self.tab);
        if let Some(folder) = std::env::var_os("COPAL_TEST_PICTURES") {
            std::fs::write(Path::new(&folder).join(format!("{name}.png")), decoded(&picture)).unwrap();
        }
        picture
    }

    /// Nobody else was asked anything, and the browser has nothing to complain about.
    #[track_caller]
    fn is_peaceful(&self) {
        let own = format!("http://{}/", self.web.address);
        let mut asked = 0;
        for event in &self.chromium.events {
            let told = &event["params"];
            match event["method"].as_str().unwrap() {
                "Network.requestWillBeSent" => {
                    asked += 1;
                    let address = told["request"]["url"].as_str().unwrap();
                    assert!(address.starts_with(&own), "somebody else is asked: {address}");
                }
                "Log.entryAdded" | "Runtime.exceptionThrown" | "Runtime.consoleAPICalled" => {
                    panic!("the browser complains: {told:#}");
                }
                _ => {}
            }
        }
        assert!(asked > 3, "nothing was asked at all");
        self.canary.set_nonblocking(true).unwrap();
        assert!(self.canary.accept().is_err(), "what was saved ran, or was fetched");
        self.canary.set_nonblocking(false).unwrap();
    }
}

/// Four snapshots: a text that changes, an image, a page with a script that would be noticed, and names that are none for a page.
fn fill(sandbox: &Sandbox, canary: SocketAddr) {
    let plan = |second: &str| format!("The plan\n{second}\nbe home by six\n");
    sandbox.write("source/Notes/plan.txt", plan("buy <b>bread</b>"));
    sandbox.write("source/Notes/gone.txt", "soon gone");
    sandbox.back_up_with(&["--time", "2026-01-01 10:00", "--tag", "<i>first</i>"]);
    sandbox.write("source/Notes/plan.txt", plan("buy bread & milk"));
    sandbox.write("source/Pictures/hill.png", decoded(PNG));
    sandbox.write("source/Pictures/large.bin", common::noise(1, 300_000));
    sandbox.back_up_with(&["--time", "2026-01-02 10:00"]);
    std::fs::remove_file(sandbox.path("source/Notes/gone.txt")).unwrap();
    let script = format!(
        "<title>quiet</title><img src=\"http://{canary}/image\"><script>document.title = 'it ran'; fetch('http://{canary}/script');</script>"
    );
    sandbox.write("source/Notes/page.html", &script);
    sandbox.back_up_with(&["--time", "2026-01-03 10:00"]);
    let image = format!("<img src='http://{canary}' onerror='document.title=1'>").replace('/', ":");
    for name in [&b"line\nbreak"[..], b"\xff\xfe not text", image.as_bytes(), b"\"quoted\" & 'so'", b" "] {
        sandbox.write(Path::new("source/Odd").join(OsStr::from_bytes(name)), [b"in ", name].concat());
    }
    sandbox.write("source/Notes/plan.txt", plan("buy bread, milk and eggs"));
    sandbox.back_up_with(&["--time", "2026-01-04 10:00"]);
}

#[test]
fn somebody_looks_around_searches_compares_and_downloads() {
    let mut visit = Visit::new();
    visit.is("[...document.querySelectorAll('svg')].filter(it => it.getClientRects().length).length === 1 && document.querySelector('svg.wide path.line') !== null && document.querySelector('svg').getBoundingClientRect().height > 80");
    visit.is("document.querySelectorAll('tbody tr').length === 4");
    visit.sees("<i>first</i>");
    // Colours come from the style sheet, which the policy lets through.
    visit.is("getComputedStyle(document.querySelector('svg .line')).fill === 'none'");

    visit.enter_newest();
    visit.click("td a", "Notes/");
    visit.sees("plan.txt");
    visit.does_not_see("gone.txt");
    visit.click("td a", "plan.txt");
    visit.sees("buy bread, milk and eggs");
    visit.click("a.button", "Versions");
    visit.is("document.querySelectorAll('tbody tr').length === 3");
    // From the oldest to the newest.
    visit.chromium.press(&visit.tab, "tbody tr:last-child input[name=a]", "");
    visit.is("document.querySelectorAll('input[name=a]')[2].checked && document.querySelectorAll('input[name=b]')[0].checked");
    visit.click("button", "Compare");
    visit.is("document.querySelector('pre del').innerText === '-buy <b>bread</b>'");
    visit.is("document.querySelector('pre ins').innerText === '+buy bread, milk and eggs'");
    visit.sees(" be home by six");

    // A search finds what was deleted; from there, the file itself.
    visit.chromium.press(&visit.tab, "header input", "");
    visit.chromium.type_text(&visit.tab, "GONE.t");
    visit.click("header button", "Find");
    visit.sees("Nothing was found");
    visit.chromium.go(&visit.tab, &format!("http://{}/find", visit.web.address));
    visit.chromium.press(&visit.tab, "main input[type=text]", "");
    visit.chromium.type_text(&visit.tab, "gone.t");
    visit.chromium.press(&visit.tab, "label.check", "Only what the newest snapshot does not hold any more");
    visit.click("main button", "Find");
    visit.sees("deleted");
    let gone = visit.sandbox.path("source/Notes/gone.txt");
    visit.click("td a", gone.to_str().unwrap());
    visit.sees("soon gone");

    // An image is shown.
    visit.click(".brand", "copal");
    visit.enter_newest();
    visit.click("td a", "Pictures/");
    visit.click("td a", "hill.png");
    visit.is("document.images.length === 1 && document.images[0].complete && document.images[0].naturalWidth === 96");
    visit.is("document.images[0].getBoundingClientRect().width >= 96");

    // A download holds what was saved, under its name.
    visit.click(".way a", "Pictures");
    let folder = visit.sandbox.path("downloads");
    let way = json!({ "behavior": "allow", "downloadPath": folder, "eventsEnabled": true });
    visit.chromium.call_all("Browser.setDownloadBehavior", way);
    for (selector, text, name) in
        [("tr:last-child td a", "Download", "large.bin"), (".actions a", "Download as zip", "Pictures.zip")]
    {
        visit.chromium.press(&visit.tab, selector, text);
        let begun =
            visit.chromium.told("Browser.downloadWillBegin", |told| told["suggestedFilename"] == json!(name));
        let is_over = |told: &Value| told["guid"] == begun["guid"] && told["state"] != json!("inProgress");
        let ended = visit.chromium.told("Browser.downloadProgress", is_over);
        assert_eq!(ended["state"], json!("completed"), "{ended}");
    }
    let saved = std::fs::read(visit.sandbox.path("source/Pictures/large.bin")).unwrap();
    assert!(std::fs::read(folder.join("large.bin")).unwrap() == saved);
    assert!(std::fs::read(folder.join("Pictures.zip")).unwrap().starts_with(b"PK"));
    visit.is_peaceful();
    assert_eq!(visit.web.end().code, 0);
}

#[test]
fn what_was_saved_does_not_run() {
    let mut visit = Visit::new();
    let way = json!({ "behavior": "allow", "downloadPath": visit.sandbox.path("downloads"), "eventsEnabled": true });
    visit.chromium.call_all("Browser.setDownloadBehavior", way);
    visit.enter_newest();
    visit.click("td a", "Odd/");
    visit.is("document.querySelectorAll('main img').length === 0 && document.querySelectorAll('tbody tr').length === 5");
    // Each name leads to what it names, whatever is in it.
    for number in 0..5 {
        let link = format!("document.querySelectorAll('td.name a')[{number}]");
        let name = visit.chromium.value(&visit.tab, &format!("{link}.textContent")).unwrap();
        let address = visit.chromium.value(&visit.tab, &format!("{link}.href")).unwrap();
        visit.chromium.go(&visit.tab, address.as_str().unwrap());
        visit.is(&format!("document.querySelector('h1').textContent === {name}"));
        visit.is(
            "document.querySelector('dl') !== null && document.querySelectorAll('main img').length === 0",
        );
        visit.chromium.go(&visit.tab, address.as_str().unwrap().rsplit_once('/').unwrap().0);
    }
    for shown in ["line\\nbreak", "\\xff\\xfe not text", "onerror='document.title=1'>", "\"quoted\" & 'so'"] {
        visit.sees(shown);
    }
    visit.click(".way a", "source");
    visit.click("td a", "Notes/");
    visit.click("td a", "page.html");
    visit.sees("<script>document.title = 'it ran'");
    visit.is("document.title === 'page.html · copal' && document.querySelectorAll('main img').length === 0");
    // Asked for as a page, it is a download.
    let shown = visit.chromium.value(&visit.tab, "location.href").unwrap();
    let address = shown.as_str().unwrap().replace("/s/", "/get/");
    visit.chromium.call(&visit.tab, "Page.navigate", json!({ "url": address }));
    let begun = visit
        .chromium
        .told("Browser.downloadWillBegin", |told| told["suggestedFilename"] == json!("page.html"));
    visit.chromium.told("Browser.downloadProgress", |told| {
        told["guid"] == begun["guid"] && told["state"] == json!("completed")
    });
    visit.is("document.title === 'page.html · copal'");
    visit.is_peaceful();

    // Where something came into a page in spite of all that, the policy keeps it from being run or fetched.
    let canary = visit.canary.local_addr().unwrap();
    visit.is(&format!(
        "(() => {{
            const script = document.createElement('script');
            script.textContent = 'window.didRun = true';
            document.body.append(script);
            const image = document.createElement('img');
            image.src = 'http://{canary}/image';
            document.body.append(image);
            return window.didRun === undefined;
        }})()"
    ));
    for word in ["script-src", "img-src"] {
        let is_refused = |told: &Value| {
            told["entry"]["text"]
                .as_str()
                .is_some_and(|text| text.contains(word) || text.contains("script") && word == "script-src")
        };
        visit.chromium.told("Log.entryAdded", is_refused);
    }
    visit.canary.set_nonblocking(true).unwrap();
    assert!(visit.canary.accept().is_err(), "the policy does not hold");
    visit.canary.set_nonblocking(false).unwrap();
    // Opened as a file of this machine, the same page does run: that would have been noticed.
    let (tell, heard) = channel();
    let canary = visit.canary.try_clone().unwrap();
    let waiting = std::thread::spawn(move || tell.send(canary.accept().map(drop)));
    let page = format!("file://{}", visit.sandbox.path("source/Notes/page.html").display());
    visit.chromium.call(&visit.tab, "Page.navigate", json!({ "url": page }));
    let noticed = heard.recv_timeout(std::time::Duration::from_secs(60));
    if noticed.is_err() {
        let _ = TcpStream::connect(visit.canary.local_addr().unwrap());
    }
    waiting.join().unwrap().unwrap();
    assert!(matches!(noticed, Ok(Ok(()))), "a script that runs is not noticed");
    visit.chromium.until(&visit.tab, "document.title === 'it ran'");
    assert_eq!(visit.web.end().code, 0);
}

#[test]
fn the_keyboard_alone_is_enough() {
    let mut visit = Visit::new();
    let source = visit.sandbox.source();
    let at = |text: &str| format!("it.matches('main a') && it.textContent === {}", json!(text));
    let (chromium, tab) = (&mut visit.chromium, &visit.tab);
    chromium.key(tab, "Tab");
    chromium.until(
        tab,
        "document.activeElement.matches('.skip') && document.activeElement.getBoundingClientRect().top >= 0",
    );
    chromium.key(tab, "Enter");
    chromium.until(tab, "document.activeElement.id === 'main'");
    for text in ["2026-01-04 10:00:00", source.to_str().unwrap(), "Notes/", "plan.txt", "Versions"] {
        chromium.tab_to(tab, &at(text));
        chromium.enter(tab);
    }
    // The middle version is chosen with the arrow keys.
    chromium.tab_to(tab, "it.matches('input[name=a]')");
    chromium.key(tab, "ArrowDown");
    chromium.until(tab, "document.querySelectorAll('input[name=a]')[2].checked");
    chromium.tab_to(tab, "it.matches('main button')");
    chromium.enter(tab);
    visit.is("document.querySelector('pre del').innerText === '-buy <b>bread</b>'");
    // A long text is scrolled by keyboard: it can be gone to.
    let (chromium, tab) = (&mut visit.chromium, &visit.tab);
    chromium.tab_to(tab, "it.matches('pre')");
    chromium.go(tab, &format!("http://{}/", visit.web.address));
    chromium.tab_to(tab, "it.matches('header input')");
    chromium.type_text(tab, "plan");
    chromium.enter(tab);
    visit.sees("3 versions");
    visit.is_peaceful();
    assert_eq!(visit.web.end().code, 0);
}

/// How bright a picture is on average, 0 to 255, as the page in that tab works it out.
fn brightness(chromium: &mut Chromium, blank: &Tab, picture: &str) -> f64 {
    let expression = format!(
        "(async () => {{
            const image = new Image();
            image.src = 'data:image/png;base64,{picture}';
            await image.decode();
            const canvas = document.createElement('canvas');
            [canvas.width, canvas.height] = [image.width, image.height];
            const context = canvas.getContext('2d');
            context.drawImage(image, 0, 0);
            const data = context.getImageData(0, 0, image.width, image.height).data;
            let sum = 0;
            for (let at = 0; at < data.length; at += 4) sum += data[at] + data[at + 1] + data[at + 2];
            return sum / (data.length / 4 * 3);
        }})()"
    );
    chromium.value(blank, &expression).unwrap().as_f64().unwrap()
}

#[test]
fn pages_are_whole_on_a_telephone_and_follow_light_and_dark() {
    let mut visit = Visit::new();
    let mut pictures = Vec::new();
    let value = |visit: &mut Visit, expression: &str| visit.chromium.value(&visit.tab, expression).unwrap();
    visit.enter_newest();
    let top = value(&mut visit, "location.pathname").as_str().unwrap().to_owned();
    let (snapshot, source) = top.strip_prefix("/s/").unwrap().split_once('/').unwrap();
    let first = {
        visit.click(".brand", "copal");
        let link = "[...document.querySelectorAll('td a')].find(link => link.textContent === '2026-01-01 10:00:00').href.split('/s/')[1]";
        value(&mut visit, link).as_str().unwrap().to_owned()
    };
    let pages = [
        ("snapshots", "/".to_owned()),
        ("snapshot", format!("/s/{snapshot}")),
        ("folder", format!("{top}/Odd")),
        ("text", format!("{top}/Notes/plan.txt")),
        ("image", format!("{top}/Pictures/hill.png")),
        ("binary", format!("{top}/Pictures/large.bin")),
        ("versions", format!("/versions/{source}/Notes/plan.txt")),
        ("compared", format!("/diff/{source}/Notes/plan.txt?a={first}&b={snapshot}")),
        ("found", "/find?q=l".to_owned()),
        ("not-found", "/find?q=nothing-is-called-so".to_owned()),
        ("restore", format!("/restore/{snapshot}/{source}/Notes")),
        (
            "confirm",
            format!(
                "/restore/{snapshot}/{source}/Notes?target=/nowhere/a-folder-with-quite-a-long-name/another-one"
            ),
        ),
        ("nowhere", "/nowhere".to_owned()),
    ];
    for (name, path) in &pages {
        let address = format!("http://{}{path}", visit.web.address);
        for (width, height, mobile) in [(1280, 800, false), (390, 844, true)] {
            visit.chromium.resize(&visit.tab, width, height, mobile);
            for scheme in ["light", "dark"] {
                visit.chromium.prefer(&visit.tab, scheme);
                visit.chromium.go(&visit.tab, &address);
                let name = format!("{name}-{width}-{scheme}");
                pictures.push((visit.picture(&name), name));
            }
            // Nothing sticks out, and what is written is not too small to read or to hit.
            visit.is(&format!(
                "document.documentElement.scrollWidth <= {width} && window.innerWidth === {width}"
            ));
            visit.is("[...document.querySelectorAll('main *')].filter(it => it.closest('pre, svg') === null && it.getClientRects().length > 0).every(it => parseFloat(getComputedStyle(it).fontSize) >= 13)");
            visit.is("[...document.querySelectorAll('header, main button, main input, main .button')].every(it => it.getBoundingClientRect().right <= innerWidth)");
        }
    }
    // The address that is not there is said to be so by the browser itself, which is no complaint about the page.
    let is_that =
        |event: &Value| event["params"]["entry"]["text"].as_str().is_some_and(|text| text.contains("404"));
    visit.chromium.events.retain(|event| !is_that(event));
    visit.is_peaceful();
    // In a page that no policy holds.
    visit.chromium.go(&visit.tab, "about:blank#pictures");
    for (picture, name) in &pictures {
        let bright = brightness(&mut visit.chromium, &visit.tab, picture);
        let is_right = if name.ends_with("light") { bright > 200.0 } else { bright < 80.0 };
        assert!(is_right, "{name}: {bright}");
    }
    assert_eq!(visit.web.end().code, 0);
}

#[test]
fn a_restore_asks_once_more_and_gives_back_what_was_saved() {
    let mut visit = Visit::new();
    visit.enter_newest();
    visit.click("a.button", "Restore");
    let target = visit.sandbox.path("given back");
    visit.chromium.press(&visit.tab, "#target", "");
    visit.is("(document.querySelector('#target').select(), true)");
    visit.chromium.type_text(&visit.tab, target.to_str().unwrap());
    visit.click("button", "Go on");
    visit.sees("will be made");
    assert!(!target.exists(), "nothing was confirmed yet");
    visit.click("button", "Restore");
    visit.chromium.until(
        &visit.tab,
        "location.pathname === '/restoring' && document.body.innerText.includes('Restored 9 files')",
    );
    // What is in the folder, so the folder itself keeps its own time.
    let (saved, given) = (visit.sandbox.source(), target.clone());
    let pairs: Vec<_> = ["Notes", "Odd", "Pictures"].map(|name| (saved.join(name), given.join(name))).into();
    let pairs: Vec<_> = pairs.iter().map(|(saved, given)| (saved.as_path(), given.as_path())).collect();
    let differences = common::differences_of(&pairs, common::Compare { owners: true });
    assert!(differences.is_empty(), "{differences:?}");
    assert_eq!(std::fs::read_dir(&target).unwrap().count(), pairs.len());
    visit.click("main a", "Back to what was restored");
    visit.sees("Odd/");
    visit.is_peaceful();
    visit.web.end().expect(0);
}
