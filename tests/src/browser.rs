//! A headless Chromium, driven through chromedriver by the WebDriver protocol (W3C recommendation of 2018).
//!
//! The few requests that tests need are JSON over one HTTP connection each. The profile is new and empty, and nothing
//! is loaded but what a test opens.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::{Deadline, Missing, Scratch};

/// Where Debian's packages `chromium` and `chromium-driver` put them.
const CHROMIUM: &str = "/usr/bin/chromium";
const DRIVER: &str = "/usr/bin/chromedriver";

/// The key of an element's id in answers (section 12 of the recommendation).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Seconds for one request; the first starts the browser.
const PATIENCE: u64 = 90;

/// A browser with one window. Dropping it ends it.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    /// Its profile.
    _profile: Scratch,
}

impl Browser {
    /// Starts one.
    ///
    /// # Errors
    /// Chromium or its driver is not installed, or does not start.
    pub fn start() -> Result<Browser, Missing> {
        for program in [CHROMIUM, DRIVER] {
            if !Path::new(program).exists() {
                return Err(Missing(format!("no {program} (apt-get install chromium chromium-driver)")));
            }
        }
        Browser::begin().map_err(|error| Missing(format!("Chromium does not start: {error:#}")))
    }

    fn begin() -> Result<Browser> {
        let profile = Scratch::new()?;
        let mut driver = Command::new(DRIVER)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("start chromedriver")?;
        let port = listening(&mut driver);
        let mut browser = Browser {
            driver,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port?)),
            session: String::new(),
            _profile: profile,
        };
        let directory = format!("--user-data-dir={}", browser._profile.path().display());
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-dev-shm-usage",
            "--window-size=1280,1000",
            &directory,
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "binary": CHROMIUM, "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let answer = browser.request("POST", "/session", &wanted)?;
        browser.session = answer["sessionId"].as_str().context("no session")?.to_owned();
        Ok(browser)
    }

    /// Opens a file of this machine and waits until it is loaded.
    ///
    /// # Errors
    /// The browser does not answer.
    pub fn open(&self, file: &str) -> Result<()> {
        self.ask("POST", "/url", &json!({ "url": format!("file://{file}") })).map(drop)
    }

    /// The value that the body of a function returns in the page.
    ///
    /// # Errors
    /// It throws.
    pub fn value(&self, body: &str) -> Result<Value> {
        self.ask("POST", "/execute/sync", &json!({ "script": body, "args": [] }))
    }

    /// Clicks the first element that a CSS selector finds, as a user would: it has to be in sight.
    ///
    /// # Errors
    /// There is none, or something covers it.
    pub fn click(&self, selector: &str) -> Result<()> {
        let element = self.element(selector)?;
        self.ask("POST", &format!("/element/{element}/click"), &json!({})).map(drop)
    }

    /// Clicks near the upper left corner of the first element that a CSS selector finds, where its name stands; what
    /// it holds may cover the rest.
    ///
    /// # Errors
    /// There is none.
    pub fn click_corner(&self, selector: &str) -> Result<()> {
        let script = "const found = document.querySelector(arguments[0]); found.scrollIntoView({ block: 'center' }); \
            const { x, y } = found.getBoundingClientRect(); return [Math.round(x) + 8, Math.round(y) + 8];";
        let corner = self.ask("POST", "/execute/sync", &json!({ "script": script, "args": [selector] }))?;
        let steps = json!([
            { "type": "pointerMove", "duration": 0, "x": corner[0], "y": corner[1] },
            { "type": "pointerDown", "button": 0 },
            { "type": "pointerUp", "button": 0 },
        ]);
        let actions = json!({ "actions": [{ "type": "pointer", "id": "mouse", "actions": steps }] });
        self.ask("POST", "/actions", &actions).map(drop)
    }

    /// Types into the first element that a CSS selector finds, in place of what it holds.
    ///
    /// # Errors
    /// There is none, or it takes no text.
    pub fn type_into(&self, selector: &str, text: &str) -> Result<()> {
        let element = self.element(selector)?;
        self.ask("POST", &format!("/element/{element}/clear"), &json!({}))?;
        self.ask("POST", &format!("/element/{element}/value"), &json!({ "text": text })).map(drop)
    }

    /// Presses a key where the focus is; WebDriver names keys by private characters, such as `\u{e00c}` for Escape.
    ///
    /// # Errors
    /// The browser refuses.
    pub fn press(&self, key: &str) -> Result<()> {
        let keys = json!([{ "type": "keyDown", "value": key }, { "type": "keyUp", "value": key }]);
        let actions = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": keys }] });
        self.ask("POST", "/actions", &actions).map(drop)
    }

    /// What the page and the browser wrote to the console since the last call: errors, and what a content security
    /// policy refused.
    ///
    /// # Errors
    /// The browser does not answer.
    pub fn console(&self) -> Result<Vec<String>> {
        let entries = self.ask("POST", "/se/log", &json!({ "type": "browser" }))?;
        let text = |entry: &Value| format!("{}: {}", entry["level"], entry["message"]);
        Ok(entries.as_array().context("no log")?.iter().map(text).collect())
    }

    fn element(&self, selector: &str) -> Result<String> {
        let found = self.ask("POST", "/element", &json!({ "using": "css selector", "value": selector }))?;
        Ok(found[ELEMENT].as_str().with_context(|| format!("no id in {found}"))?.to_owned())
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        self.request(method, &format!("/session/{}{path}", self.session), body)
    }

    fn request(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let deadline = Deadline::after(PATIENCE);
        let mut stream = TcpStream::connect_timeout(&self.address, deadline.left())?;
        stream.set_read_timeout(Some(deadline.left()))?;
        let (body, address) = (body.to_string(), self.address);
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = BufReader::new(stream);
        let (mut status, mut length) = (String::new(), 0);
        answer.read_line(&mut status)?;
        loop {
            let mut header = String::new();
            ensure!(answer.read_line(&mut header)? > 0, "the answer ends in its head");
            match header.trim().to_ascii_lowercase().split_once(':') {
                Some(("content-length", value)) => length = value.trim().parse()?,
                Some(_) => {}
                None => break,
            }
        }
        let mut bytes = vec![0; length];
        answer.read_exact(&mut bytes)?;
        let value: Value = serde_json::from_slice(&bytes)?;
        ensure!(status.contains(" 200 "), "{method} {path} {body}: {}", value["value"]["message"]);
        Ok(value["value"].clone())
    }
}

/// The port that the driver says it listens on.
fn listening(driver: &mut Child) -> Result<u16> {
    let stdout = driver.stdout.take().context("no standard output")?;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        if let Some((_, port)) = line.rsplit_once("started successfully on port ") {
            return Ok(port.trim_end_matches('.').parse()?);
        }
    }
    bail!("chromedriver ended")
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser; the driver is ours to end.
        let _ = self.request("DELETE", &format!("/session/{}", self.session), &json!({}));
        if let Err(error) = self.driver.kill().and_then(|()| self.driver.wait()) {
            eprintln!("left behind: chromedriver {}: {error}", self.driver.id());
        }
    }
}
