//! The questions that change something.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use hyper::Method;
use serde_json::{Map, Value, json};

use super::client::segment;
use super::{Client, Common, Failure, print, time};
use crate::config::file;
use crate::flow::split_endpoint;

/// How often it is looked whether a backend is empty.
const LOOK: Duration = Duration::from_millis(250);

/// A backend of a service.
#[derive(Args, Debug)]
pub struct Backend {
    /// The service's name, as `leatctl services` shows it
    service: String,
    /// The backend: ADDR or ADDR:PORT
    backend: String,
}

impl Backend {
    fn path(&self) -> String {
        format!("/api/v1/services/{}/backends/{}", segment(&self.service), segment(&self.backend))
    }
}

/// `leatctl set`.
#[derive(Args, Debug)]
pub struct Set {
    #[command(flatten)]
    backend: Backend,
    /// Its share of new connections; 0 gets none
    #[arg(long)]
    weight: u16,
}

/// `leatctl add`.
#[derive(Args, Debug)]
pub struct Add {
    #[command(flatten)]
    backend: Backend,
    /// Its share of new connections
    #[arg(long)]
    weight: Option<u16>,
    /// Its Ethernet address, if it is not to be resolved
    #[arg(long)]
    mac: Option<String>,
}

/// `leatctl remove`.
#[derive(Args, Debug)]
pub struct Remove {
    /// The service's name
    service: String,
    /// The backend: ADDR or ADDR:PORT; without one, the whole service goes
    backend: Option<String>,
}

/// `leatctl drain`.
#[derive(Args, Debug)]
pub struct Drain {
    #[command(flatten)]
    backend: Backend,
    /// Come back when it has no open connection left, or with exit status 1 after this time, such as 5m
    #[arg(long, value_name = "TIME", value_parser = time)]
    wait: Option<Duration>,
}

/// A configuration file.
#[derive(Args, Debug)]
pub struct OfFile {
    /// The file
    file: PathBuf,
}

/// `leatctl set`.
pub fn set(common: &Common, set: &Set) -> Result<ExitCode, Failure> {
    change(common, Method::PATCH, &set.backend.path(), Some(&json!({ "weight": set.weight })))
}

/// `leatctl add`.
pub fn add(common: &Common, add: &Add) -> Result<ExitCode, Failure> {
    let Backend { service, backend } = &add.backend;
    let mut keys = Map::new();
    match split_endpoint(backend) {
        None => {
            let message = format!("{backend:?} does not name a backend; write ADDR or ADDR:PORT");
            return Err(Failure::Unusable(message));
        }
        Some((address, port)) => {
            keys.insert("address".to_owned(), json!(address));
            if let Some(port) = port {
                keys.insert("port".to_owned(), json!(port));
            }
        }
    }
    keys.extend(add.weight.map(|weight| ("weight".to_owned(), json!(weight))));
    keys.extend(add.mac.as_ref().map(|mac| ("mac".to_owned(), json!(mac))));
    let path = format!("/api/v1/services/{}/backends", segment(service));
    change(common, Method::POST, &path, Some(&Value::Object(keys)))
}

/// `leatctl remove`.
pub fn remove(common: &Common, remove: &Remove) -> Result<ExitCode, Failure> {
    let service = format!("/api/v1/services/{}", segment(&remove.service));
    let path = match &remove.backend {
        None => service,
        Some(backend) => format!("{service}/backends/{}", segment(backend)),
    };
    change(common, Method::DELETE, &path, None)
}

/// `leatctl drain`.
pub fn drain(common: &Common, drain: &Drain) -> Result<ExitCode, Failure> {
    let client = Client::new(common)?;
    let path = drain.backend.path();
    let answer = client.send(Method::POST, &format!("{path}/drain"), None)?;
    let Some(wait) = drain.wait else { return Ok(changed(common, &answer)) };
    let late = Instant::now() + wait;
    loop {
        let open = client.get(&path)?["open"].as_u64().unwrap_or_default();
        if open == 0 {
            return Ok(changed(common, &answer));
        }
        if Instant::now() >= late {
            return Err(Failure::Late(format!(
                "{} of {} still has {open} open connections; it stays drained",
                drain.backend.backend, drain.backend.service
            )));
        }
        thread::sleep(LOOK.min(late.saturating_duration_since(Instant::now())));
    }
}

/// `leatctl enable`.
pub fn enable(common: &Common, backend: &Backend) -> Result<ExitCode, Failure> {
    change(common, Method::POST, &format!("{}/enable", backend.path()), None)
}

/// `leatctl vip`.
#[derive(Args, Debug)]
pub struct Vip {
    /// What is to be done
    #[arg(value_enum)]
    what: Word,
    /// Which VIP; all without one
    vip: Option<String>,
}

/// What can be done with a VIP.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Word {
    /// Answer for it, and tell the link so
    Announce,
    /// Leave it to somebody else
    Withdraw,
}

/// `leatctl vip`.
pub fn vip(common: &Common, wanted: &Vip) -> Result<ExitCode, Failure> {
    let word = match wanted.what {
        Word::Announce => "announce",
        Word::Withdraw => "withdraw",
    };
    let path = match &wanted.vip {
        None => format!("/api/v1/vips/{word}"),
        Some(vip) => format!("/api/v1/vips/{}/{word}", segment(vip)),
    };
    change(common, Method::POST, &path, None)
}

/// `leatctl reload`.
pub fn reload(common: &Common) -> Result<ExitCode, Failure> {
    change(common, Method::POST, "/api/v1/reload", None)
}

/// `leatctl check`.
pub fn check(common: &Common, of: &OfFile) -> Result<ExitCode, Failure> {
    send_file(common, Method::POST, "/api/v1/config/check", &of.file)
}

/// `leatctl apply`.
pub fn apply(common: &Common, of: &OfFile) -> Result<ExitCode, Failure> {
    send_file(common, Method::PUT, "/api/v1/config", &of.file)
}

/// `leatctl config`.
pub fn config(common: &Common) -> Result<ExitCode, Failure> {
    let text = Client::new(common)?.exchange(Method::GET, "/api/v1/config", None)?;
    Ok(print(common, &json!({ "config": text }), |_| text.clone()))
}

fn send_file(common: &Common, method: Method, path: &str, name: &Path) -> Result<ExitCode, Failure> {
    let unusable = |error: &dyn std::fmt::Display| Failure::Unusable(format!("{}: {error}", name.display()));
    let bytes = file::read(name).map_err(|error| unusable(&error))?;
    // Its own line numbers are the best ones, and a file that is wrong need not travel.
    file::load(&name.display().to_string(), &bytes)
        .map_err(|failure| Failure::Unusable(failure.message.replace("leat: ", "")))?;
    let text = String::from_utf8(bytes).map_err(|error| unusable(&error))?;
    let answer = Client::new(common)?.exchange(method, path, Some(("application/toml", text)))?;
    let answer: Value = serde_json::from_str(&answer).map_err(|error| unusable(&error))?;
    Ok(changed(common, &answer))
}

fn change(common: &Common, method: Method, path: &str, body: Option<&Value>) -> Result<ExitCode, Failure> {
    let answer = Client::new(common)?.send(method, path, body)?;
    Ok(changed(common, &answer))
}

fn changed(common: &Common, answer: &Value) -> ExitCode {
    print(common, answer, |answer| {
        let warnings = answer["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let warnings: String = warnings.map(|warning| format!("warning: {warning}\n")).collect();
        format!("{warnings}{}\n", answer["changed"].as_str().unwrap_or_default())
    })
}
