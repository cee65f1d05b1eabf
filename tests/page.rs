//! The web page in a real browser: headless Chromium, driven over WebDriver, on loopback.
#![cfg(feature = "dpdk")]

mod support;

use std::{fs, net::TcpListener, path::Path};

use serde_json::{Value, json};
use support::{
    LIMIT, TempDir,
    leat::binary,
    process::{Process, command, run},
    unique, wait_for,
};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A port that nobody listens on; nobody else takes it within the moment.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port()
}

/// Chromium and its driver. Both end with it.
struct Browser {
    session: String,
    _driver: Process,
    _profile: TempDir,
}

impl Browser {
    fn start(is_dark: bool) -> Self {
        let port = free_port();
        let profile = TempDir::new("chromium");
        let driver = Process::spawn(command("chromedriver").arg(format!("--port={port}")));
        let base = format!("http://127.0.0.1:{port}");
        wait_for("the driver", LIMIT, || {
            let ready = run(command("curl").args(["-s", "-m", "5", &format!("{base}/status")]), LIMIT).stdout;
            ready.contains("\"ready\":true").then_some(())
        });
        let mut arguments = vec![
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-background-networking".to_owned(),
            "--no-first-run".to_owned(),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        if is_dark {
            arguments.push("--blink-settings=preferredColorScheme=0".to_owned());
        }
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
        } } });
        let session = post(&format!("{base}/session"), &wanted);
        let id = session["sessionId"].as_str().unwrap_or_else(|| panic!("{session}"));
        Self { session: format!("{base}/session/{id}"), _driver: driver, _profile: profile }
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        post(&format!("{}/{path}", self.session), body)
    }

    fn get(&self, path: &str) -> Value {
        value(&run(command("curl").args(["-s", "-m", "60", &format!("{}/{path}", self.session)]), LIMIT).stdout)
    }

    fn open(&self, url: &str) {
        self.post("url", &json!({ "url": url }));
    }

    fn size(&self, width: u32, height: u32) {
        self.post("window/rect", &json!({ "width": width, "height": height }));
    }

    /// The value of an expression on the page.
    fn evaluate(&self, expression: &str) -> Value {
        self.post("execute/sync", &json!({ "script": format!("return {expression}"), "args": [] }))
    }

    /// What a person reads on the page.
    fn text(&self) -> String {
        self.evaluate("document.body.innerText").as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    fn wait_for(&self, what: &str) {
        let mut text = String::new();
        wait_for(what, LIMIT, || {
            text = self.text();
            text.contains(what).then_some(())
        });
    }

    fn find(&self, selector: &str) -> String {
        let found = self.post("element", &json!({ "using": "css selector", "value": selector }));
        let id = found.as_object().and_then(|found| found.values().next()).and_then(Value::as_str);
        id.unwrap_or_else(|| panic!("{selector}: {found}")).to_owned()
    }

    fn write(&self, selector: &str, text: &str) {
        self.post(&format!("element/{}/value", self.find(selector)), &json!({ "text": text }));
    }

    /// Clicks on what is there now: tables are made anew each second, so it may have gone meanwhile.
    fn click(&self, selector: &str) {
        wait_for(selector, LIMIT, || {
            let answer = self.post(&format!("element/{}/click", self.find(selector)), &json!({}));
            answer.is_null().then_some(())
        });
    }

    /// A picture of the page, which is kept where LEAT_SCREENSHOTS says, for a person to look at.
    fn picture(&self, name: &str) -> usize {
        let encoded = self.get("screenshot");
        let encoded = encoded.as_str().unwrap_or_else(|| panic!("{encoded}"));
        if let Some(folder) = std::env::var_os("LEAT_SCREENSHOTS") {
            let file = Path::new(&folder).join(format!("{name}.png.base64"));
            fs::write(file, encoded).expect("the folder can be written");
        }
        encoded.len()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        run(command("curl").args(["-s", "-m", "20", "-X", "DELETE", &self.session]), LIMIT);
    }
}

fn post(url: &str, body: &Value) -> Value {
    let sent = run(
        command("curl").args(["-s", "-m", "60", "-H", "Content-Type: application/json", "-d", &body.to_string(), url]),
        LIMIT,
    );
    value(&sent.stdout)
}

/// What a driver answers is in `value`.
fn value(answer: &str) -> Value {
    let mut answer: Value = serde_json::from_str(answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
    answer["value"].take()
}

/// leat with two services, whose API and page are on TCP, and its figures on another port.
struct Leat {
    process: Process,
    api: u16,
    metrics: u16,
    _directory: TempDir,
}

fn start() -> Leat {
    let directory = TempDir::new("page");
    let (file, token) = (directory.join("leat.toml"), directory.join("token"));
    fs::write(&token, TOKEN).expect("the file can be written");
    let (api, metrics) = (free_port(), free_port());
    let text = format!(
        "api = \"127.0.0.1:{api}\"\napi_token_file = \"{}\"\nmetrics = \"127.0.0.1:{metrics}\"\n\
         [[service]]\nname = \"web\"\nvip = \"10.0.0.10\"\nport = 80\nhealth = {{ type = \"tcp\", interval = \"300ms\" }}\n\
         backend = [{{ address = \"10.0.0.2\" }}, {{ address = \"10.0.0.3\", weight = 0 }}]\n\
         [[service]]\nname = \"dns\"\nvip = \"10.0.0.11\"\nport = 53\nprotocol = \"udp\"\nbackend = [{{ address = \"10.0.0.4\" }}]\n",
        token.display()
    );
    fs::write(&file, text).expect("the file can be written");
    let mut leat = command(binary());
    leat.args(["-l", "0", "--no-pci", "--vdev=net_null0,no-rx=1", "--file-prefix", &unique("page"), "--", "-c"])
        .arg(&file);
    let mut process = Process::spawn(&mut leat);
    process.wait_for_output("'leat: ready'", LIMIT, |stdout, _| stdout.lines().any(|line| line == "leat: ready"));
    Leat { process, api, metrics, _directory: directory }
}

#[test]
fn with_the_token_a_backend_is_drained_and_enabled_and_connections_are_searched() {
    let mut leat = start();
    let browser = Browser::start(false);
    browser.size(1280, 1200);
    browser.open(&format!("http://127.0.0.1:{}/", leat.api));
    browser.wait_for("show the token");
    assert!(!browser.text().contains("10.0.0.2"), "nothing is shown without the token");
    browser.write("#token", "a wrong one of sixteen");
    browser.click("#key button");
    browser.wait_for("show the token");
    browser.post(&format!("element/{}/clear", browser.find("#token")), &json!({}));
    browser.write("#token", TOKEN);
    browser.click("#key button");
    browser.wait_for("10.0.0.2:80");
    browser.wait_for("Connections");
    // Nobody is there: net_null loses what is sent.
    browser.wait_for("down");

    browser.wait_for("Drain");
    browser.click("tr.down button");
    let question = browser.get("alert/text");
    assert_eq!(question, "No new connections for 10.0.0.2:80 of web?");
    browser.post("alert/accept", &json!({}));
    let is_drained = || {
        let row = "[...document.querySelectorAll('tr')].find(row => row.innerText.includes('10.0.0.2:80')).innerText";
        browser.evaluate(row).as_str().is_some_and(|row| row.contains("drained Enable")).then_some(())
    };
    wait_for("the backend to be drained", LIMIT, is_drained);
    browser.click("tr.down button");
    assert_eq!(browser.get("alert/text"), "New connections for 10.0.0.2:80 of web again?");
    // Who is asked may say no.
    browser.post("alert/dismiss", &json!({}));
    wait_for("the backend to stay drained", LIMIT, is_drained);

    browser.write("#wanted", "client=10.0.0.1 color=red");
    browser.click("#terms button");
    browser.wait_for("\"color\" is no term");
    browser.post(&format!("element/{}/clear", browser.find("#wanted")), &json!({}));
    browser.write("#wanted", "service=web");
    browser.click("#terms button");
    browser.wait_for("0 connections");
    assert!(browser.picture("desktop") > 20_000);
    let errors = browser.evaluate("document.getElementById('trouble').textContent");
    assert_eq!(errors, "");
    leat.process.signal("TERM");
    leat.process.wait(LIMIT).success();
    browser.wait_for("these figures are old");
}

#[test]
fn on_a_phone_nothing_is_wider_than_the_screen_and_dark_is_dark() {
    let leat = start();
    let browser = Browser::start(true);
    browser.size(420, 900);
    browser.open(&format!("http://127.0.0.1:{}/", leat.metrics));
    browser.wait_for("10.0.0.4:53");
    assert!(!browser.text().contains("Drain"), "this address changes nothing");
    assert_eq!(browser.evaluate("document.getElementById('search').hidden"), true);
    let (page, screen) = ("document.documentElement.scrollWidth", "document.documentElement.clientWidth");
    assert_eq!(browser.evaluate(page), browser.evaluate(screen));
    assert!(browser.picture("phone") > 10_000);
    let back = browser.evaluate("getComputedStyle(document.body).backgroundColor");
    let is_dark = browser.evaluate("matchMedia('(prefers-color-scheme: dark)').matches");
    let expected = if is_dark == true { "rgb(18, 23, 29)" } else { "rgb(244, 246, 248)" };
    assert_eq!(back, expected);
    // Nothing comes from elsewhere.
    let loaded = browser.evaluate("performance.getEntriesByType('resource').map(it => new URL(it.name).host)");
    let own = format!("127.0.0.1:{}", leat.metrics);
    assert!(loaded.as_array().is_some_and(|all| all.iter().all(|host| *host == own)), "{loaded}");
}
