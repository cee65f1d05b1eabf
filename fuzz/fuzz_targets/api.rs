//! Requests to the API, one after the other, of a leat without workers: whatever is asked, it is answered, with JSON where it says
//! so; the fault is never leat's; and what runs afterwards is a configuration that it would take.

#![no_main]

use std::sync::Arc;

use arbitrary::Arbitrary;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use leat::config::file;
use leat::control::{Delivery, Editor, Inquirer, Publisher, ReloadError, Running, api, desk};
use leat::counters::per_worker;
use leat::id::PortId;
use leat::metrics::{BufferStatus, Source};
use leat::service::{Parts, Port, Snapshot};
use leat::time::Instant;
use leat::wire::MacAddr;
use libfuzzer_sys::fuzz_target;
use tower::ServiceExt;

const FIRST: &str = "[[service]]\nname = \"web\"\nvip = \"10.0.0.10\"\nport = 80\nmaglev_table_size = 251\n\
                     backend = [{ address = \"10.0.0.2\" }, { address = \"10.0.0.3\", weight = 5 }]\n";

/// A request, of which most are for something that there is.
#[derive(Arbitrary, Debug)]
struct Asked<'a> {
    method: u8,
    path: u8,
    /// In place of a name in the path, or behind it.
    odd: &'a str,
    is_odd: bool,
    query: &'a str,
    body: Said<'a>,
}

#[derive(Arbitrary, Debug)]
enum Said<'a> {
    Nothing,
    Bytes(&'a [u8]),
    Weight(i64),
    Backend {
        last: u8,
        port: u16,
        weight: u16,
    },
    Service {
        last: u8,
        port: u16,
        mode: u8,
        key: &'a str,
    },
    /// The file that ran first, with something in between.
    File(&'a str),
}

impl Asked<'_> {
    fn request(&self) -> Option<Request<Body>> {
        let name = |usual: &str| if self.is_odd { escaped(self.odd) } else { usual.to_owned() };
        let backend = || format!("/services/{}/backends/{}", name("web"), name("10.0.0.2:80"));
        let path = match self.path % 22 {
            0 => "/status".to_owned(),
            1 => "/services".to_owned(),
            2 => format!("/services/{}", name("web")),
            3 => format!("/services/{}/backends", name("web")),
            4 => backend(),
            5 => backend() + "/drain",
            6 => backend() + "/enable",
            7 => "/config".to_owned(),
            8 => "/config/check".to_owned(),
            9 => "/reload".to_owned(),
            10 => "/connections".to_owned(),
            11 => "/explain".to_owned(),
            12 => "/vips".to_owned(),
            13 => format!("/vips/{}/announce", name("10.0.0.10")),
            14 => format!("/vips/{}/withdraw", name("10.0.0.10")),
            15 => "/vips/announce".to_owned(),
            16 => "/vips/withdraw".to_owned(),
            17 => "/drops".to_owned(),
            18 => "/neighbors".to_owned(),
            19 => "/openapi.json".to_owned(),
            20 => "/ports".to_owned(),
            _ => format!("/{}", escaped(self.odd)),
        };
        let methods = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD];
        let query = if self.query.is_empty() {
            String::new()
        } else {
            format!("?{}", escaped(self.query).replace("%3D", "=").replace("%26", "&"))
        };
        let builder = Request::builder().method(methods[usize::from(self.method) % methods.len()].clone());
        builder.uri(format!("/api/v1{path}{query}")).body(self.body()).ok()
    }

    fn body(&self) -> Body {
        match &self.body {
            Said::Nothing => Body::empty(),
            Said::Bytes(bytes) => Body::from(bytes.to_vec()),
            Said::Weight(weight) => Body::from(format!("{{\"weight\": {weight}}}")),
            Said::Backend { last, port, weight } => {
                Body::from(format!("{{\"address\": \"10.0.0.{last}\", \"port\": {port}, \"weight\": {weight}}}"))
            }
            Said::Service { last, port, mode, key } => {
                let mode = ["fullnat", "nat", "dr", "ipip"][usize::from(*mode) % 4];
                Body::from(format!(
                    "[[service]]\nvip = \"10.0.0.{last}\"\nport = {port}\nmode = \"{mode}\"\nmaglev_table_size = 251\n{key}\n\
                     backend = [{{ address = \"10.0.0.4\" }}]\n"
                ))
            }
            Said::File(between) => Body::from(format!("{between}\n{FIRST}")),
        }
    }
}

/// Any text as a piece of an address.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// A leat without workers.
struct Leat {
    router: Router,
    desk: crossbeam::channel::Receiver<leat::control::Asked>,
    running: Running,
    editor: Editor,
}

impl Leat {
    fn new() -> Self {
        let config = file::load("fuzz", FIRST.as_bytes()).unwrap_or_else(|it| panic!("{it}")).config;
        let port = Port {
            id: PortId(0),
            name: "memory".to_owned(),
            mac: MacAddr([2, 0, 0, 0, 0, 0xfe]),
            mtu: 1500,
            vlan: None,
        };
        let mut publisher = Publisher::new(vec![port.clone()], 1);
        let nothing = Snapshot::from(Parts::default());
        let first = Arc::new(publisher.publish(&config, &nothing, Instant::ZERO).expect("it fits"));
        // The worker that never takes anything over.
        let (delivery, _mailboxes) = Delivery::new(first, 1);
        let running = Running::new(config, publisher, delivery, Arc::default(), Instant::ZERO);
        let source = Source {
            current: Arc::clone(running.current()),
            health: Arc::clone(running.report()),
            counters: per_worker(1),
            devices: vec![port],
            alignments: Vec::new(),
            lcores: vec![0],
            capacity: 1000,
            started: std::time::Instant::now(),
            dpdk: "none".to_owned(),
            cycles_per_second: 1,
            ask_ports: Box::new(|| (Vec::new(), BufferStatus::default())),
        };
        let (desk, asked) = desk();
        let router = api(Arc::new(source), desk, Arc::new(Inquirer::new(Vec::new())), None);
        Self { router, desk: asked, running, editor: Editor::default() }
    }

    async fn ask(&mut self, request: Request<Body>) -> (StatusCode, bool, Vec<u8>) {
        let mut answer = std::pin::pin!(self.router.clone().oneshot(request));
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut answer => break answer.unwrap_or_else(|never| match never {}),
                () = tokio::task::yield_now() => {}
            }
            while let Ok(asked) = self.desk.try_recv() {
                asked.settle(&mut self.running, &mut self.editor, Instant::ZERO, |_| Err(ReloadError::NoFile), |_| ());
            }
        };
        let status = answer.status();
        let kind = answer.headers().get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or_default().to_owned());
        let body = to_bytes(answer.into_body(), 16 << 20).await.expect("answers are whole");
        (status, kind.is_some_and(|kind| kind.starts_with("application/json")), body.to_vec())
    }
}

fuzz_target!(|requests: Vec<Asked<'_>>| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let mut leat = Leat::new();
        for asked in requests.iter().take(20) {
            let Some(request) = asked.request() else { continue };
            let is_head = request.method() == Method::HEAD;
            let (status, is_json, body) = leat.ask(request).await;
            assert!(!status.is_server_error() || status == StatusCode::SERVICE_UNAVAILABLE, "{status}: {asked:?}");
            if is_json && !is_head {
                serde_json::from_slice::<serde_json::Value>(&body).expect("what says that it is JSON");
            }
        }
        let shown = Request::get("/api/v1/config").body(Body::empty()).expect("a request");
        let (status, _, file) = leat.ask(shown).await;
        assert_eq!(status, StatusCode::OK);
        if let Err(error) = file::load("what runs", &file) {
            panic!("{error}\n{}", String::from_utf8_lossy(&file));
        }
    });
});
