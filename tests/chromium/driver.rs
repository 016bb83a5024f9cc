//! A real Chromium without a screen, led through the DevTools protocol over a pair of pipes.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

/// Longer than anything takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is looked whether something is so by now.
const LOOK: Duration = Duration::from_millis(50);
/// Commands come in through file descriptor 3, answers go out through 4; `exec` keeps the process id.
const START: &str = r#"exec chromium "$@" 3<&0 4>&1 </dev/null >&2"#;

pub struct Chromium {
    child: Child,
    input: ChildStdin,
    messages: Receiver<Value>,
    next: u64,
    /// What it told without being asked, in order.
    pub events: Vec<Value>,
}

/// One tab.
pub struct Tab {
    session: String,
}

impl Chromium {
    /// Starts it with a profile of its own below `home`. It finds nobody but this machine.
    pub fn new(home: &Path) -> Chromium {
        let mut command = Command::new("sh");
        command.args(["-c", START, "sh", "--headless", "--remote-debugging-pipe"]);
        command.arg(format!("--user-data-dir={}", home.join("chromium").display()));
        // Root can not use its sandbox, and not every container allows it.
        command.args(["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
        command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        command.arg("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1");
        command.arg("about:blank").env("HOME", home).env("XDG_CONFIG_HOME", home).env("XDG_CACHE_HOME", home);
        // A group of its own: what it starts ends with it.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (tell, messages) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(output).split(0) {
                let Ok(message) = message else { break };
                if tell.send(serde_json::from_slice(&message).unwrap()).is_err() {
                    break;
                }
            }
        });
        Chromium { child, input, messages, next: 0, events: Vec::new() }
    }

    /// Keeps what it tells next, if it does so soon. The answer to a command is given.
    fn listen(&mut self, most: Duration) -> Option<Value> {
        match self.messages.recv_timeout(most) {
            Ok(message) if message.get("id").is_some() => return Some(message),
            Ok(event) => self.events.push(event),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                panic!("chromium is not there, or ended: {:?}", self.child.try_wait())
            }
        }
        None
    }

    fn try_call(&mut self, tab: Option<&Tab>, method: &str, parameters: Value) -> Result<Value, String> {
        self.next += 1;
        let mut message = json!({ "id": self.next, "method": method, "params": parameters });
        if let Some(tab) = tab {
            message["sessionId"] = json!(tab.session);
        }
        self.input.write_all(message.to_string().as_bytes()).unwrap();
        self.input.write_all(b"\0").unwrap();
        let patience = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < patience, "no answer to {message}");
            if let Some(mut answer) = self.listen(LOOK)
                && answer["id"] == json!(self.next)
            {
                return match answer.get("error") {
                    Some(error) => Err(format!("{method}: {error}")),
                    None => Ok(answer["result"].take()),
                };
            }
        }
    }

    /// What a command of the protocol gives.
    #[track_caller]
    pub fn call(&mut self, tab: &Tab, method: &str, parameters: Value) -> Value {
        self.try_call(Some(tab), method, parameters).unwrap()
    }

    #[track_caller]
    pub fn call_all(&mut self, method: &str, parameters: Value) -> Value {
        self.try_call(None, method, parameters).unwrap()
    }

    /// Opens a tab that tells what it asks for, what it complains about, and what it loads.
    pub fn tab(&mut self) -> Tab {
        let target = self.call_all("Target.createTarget", json!({ "url": "about:blank" }));
        let what = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.call_all("Target.attachToTarget", what)["sessionId"].as_str().unwrap().to_owned();
        let tab = Tab { session };
        for domain in ["Page", "Network", "Log", "Runtime"] {
            self.call(&tab, &format!("{domain}.enable"), json!({}));
        }
        tab
    }

    /// The value of an expression in the page, a promise's when it is kept; none while there is no page to ask.
    pub fn value(&mut self, tab: &Tab, expression: &str) -> Option<Value> {
        let what = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.try_call(Some(tab), "Runtime.evaluate", what).ok()?;
        if let Some(thrown) = answer.get("exceptionDetails") {
            panic!("{expression}: {thrown}");
        }
        Some(answer["result"]["value"].clone())
    }

    /// Waits until an expression in the page is true.
    #[track_caller]
    pub fn until(&mut self, tab: &Tab, expression: &str) {
        let patience = Instant::now() + PATIENCE;
        // On the way from one page to the next there is none.
        let look = format!("(() => {{ try {{ return {expression} }} catch {{ return false }} }})()");
        while self.value(tab, &look) != Some(json!(true)) {
            if Instant::now() >= patience {
                let page = self.value(tab, "location.href + '\\n' + document.body.innerText");
                panic!("it does not come to that: {expression}: {page:?}");
            }
            let _ = self.listen(LOOK);
        }
    }

    /// Waits until it tells something of that name of which this is so.
    #[track_caller]
    pub fn told(&mut self, method: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let patience = Instant::now() + PATIENCE;
        loop {
            let mut events = self.events.iter().filter(|event| event["method"] == json!(method));
            if let Some(event) = events.find(|event| is_so(&event["params"])) {
                return event["params"].clone();
            }
            assert!(Instant::now() < patience, "{method} is not told: {:#?}", self.events);
            let _ = self.listen(LOOK);
        }
    }

    /// Does something that leads to another page, and waits for that.
    #[track_caller]
    fn leads_on(&mut self, tab: &Tab, act: impl FnOnce(&mut Chromium)) {
        self.value(tab, "window.isOld = true");
        act(self);
        self.until(tab, "window.isOld === undefined && document.readyState === 'complete'");
    }

    /// Goes to an address, as when it is typed.
    #[track_caller]
    pub fn go(&mut self, tab: &Tab, address: &str) {
        self.leads_on(tab, |chromium| {
            chromium.call(tab, "Page.navigate", json!({ "url": address }));
        });
    }

    /// Clicks with the mouse on the only thing that the selector and the text fit, which must be seen.
    #[track_caller]
    pub fn press(&mut self, tab: &Tab, selector: &str, text: &str) {
        let find = format!(
            "(() => {{
                const all = [...document.querySelectorAll({})].filter(one => one.textContent.trim() === {});
                if (all.length !== 1) return all.length;
                all[0].scrollIntoView({{ block: 'center', inline: 'center' }});
                const box = all[0].getClientRects()[0];
                const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
                const hit = document.elementFromPoint(x, y);
                return hit && (all[0].contains(hit) || hit.contains(all[0])) ? [x, y] : 'covered';
            }})()",
            json!(selector),
            json!(text)
        );
        let place = self.value(tab, &find).unwrap();
        assert!(place.is_array(), "{selector} {text:?}: {place}");
        for kind in ["mousePressed", "mouseReleased"] {
            let at = json!({ "type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1 });
            self.call(tab, "Input.dispatchMouseEvent", at);
        }
    }

    /// The same of what leads to another page.
    #[track_caller]
    pub fn click(&mut self, tab: &Tab, selector: &str, text: &str) {
        self.leads_on(tab, |chromium| chromium.press(tab, selector, text));
    }

    /// Types letters where the keyboard is.
    pub fn type_text(&mut self, tab: &Tab, text: &str) {
        self.call(tab, "Input.insertText", json!({ "text": text }));
    }

    /// Presses a key.
    pub fn key(&mut self, tab: &Tab, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            " " => (32, " "),
            "ArrowDown" => (40, ""),
            key => panic!("no such key: {key}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut what = json!({ "type": kind, "key": key, "windowsVirtualKeyCode": code });
            if kind == "keyDown" && !text.is_empty() {
                what["text"] = json!(text);
            }
            self.call(tab, "Input.dispatchKeyEvent", what);
        }
    }

    /// Presses Enter and waits for the page that comes.
    #[track_caller]
    pub fn enter(&mut self, tab: &Tab) {
        self.leads_on(tab, |chromium| chromium.key(tab, "Enter"));
    }

    /// Goes on with the Tab key until that is so of `document.activeElement` as `it`, which is seen as being there.
    #[track_caller]
    pub fn tab_to(&mut self, tab: &Tab, is_it: &str) {
        for _ in 0..100 {
            self.key(tab, "Tab");
            let there = format!("(it => {is_it})(document.activeElement)");
            if self.value(tab, &there) == Some(json!(true)) {
                let seen = "getComputedStyle(document.activeElement).outlineStyle !== 'none'";
                assert_eq!(
                    self.value(tab, seen),
                    Some(json!(true)),
                    "{is_it}: it is not seen where the keyboard is"
                );
                return;
            }
        }
        panic!("the keyboard does not get there: {is_it}");
    }

    /// How wide the window is, and whether it is a telephone's.
    pub fn resize(&mut self, tab: &Tab, width: u32, height: u32, mobile: bool) {
        let what = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        self.call(tab, "Emulation.setDeviceMetricsOverride", what);
    }

    /// What the user prefers: `light` or `dark`.
    pub fn prefer(&mut self, tab: &Tab, scheme: &str) {
        let what = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call(tab, "Emulation.setEmulatedMedia", what);
    }

    /// What is seen, as PNG in base64.
    pub fn picture(&mut self, tab: &Tab) -> String {
        let picture = self.call(tab, "Page.captureScreenshot", json!({ "format": "png" }));
        picture["data"].as_str().unwrap().to_owned()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        if let Some(group) = Pid::from_raw(self.child.id() as i32) {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}
