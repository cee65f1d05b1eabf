//! The HTTP API as its clients meet it, the ill-behaved ones among them.
#![cfg(feature = "dpdk")]

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
};

use serde_json::{Value, json};
use support::{
    LIMIT,
    leat::{Leat, exchange, http_get, run_leat},
    process::{Process, command},
    unique, wait_for,
};

const QUIET: &[&str] = &["-l", "0", "--no-pci", "--vdev=net_null0,no-rx=1"];
const SERVICE: &[&str] = &["--vip", "10.0.0.10:8080", "--backend", "10.0.0.2", "--scheduler", "wrr"];

fn start() -> Leat {
    Leat::start(QUIET, SERVICE)
}

fn connect(leat: &Leat) -> UnixStream {
    let stream = UnixStream::connect(leat.api()).expect("leat listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit can be set");
    stream.set_write_timeout(Some(LIMIT)).expect("a limit can be set");
    stream
}

#[test]
fn the_status_is_json_with_every_part() {
    let leat = start();
    let status = leat.status();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert!(status["dpdk"].as_str().is_some_and(|dpdk| dpdk.starts_with("DPDK ")), "{status}");
    assert!(status["uptime_seconds"].is_u64(), "{status}");
    let port = &status["ports"][0];
    assert_eq!(
        [&port["name"], &port["port"], &port["received"]],
        [&json!("net_null0"), &json!(0), &json!(0)],
        "{port}"
    );
    let worker = &status["workers"][0];
    assert_eq!([&worker["lcore"], &worker["drops"], &worker["connections"]], [&json!(0), &json!({}), &json!(0)]);
    let service = &status["services"][0];
    let fields = ["name", "vip", "protocol", "port", "mode", "scheduler"].map(|name| service[name].clone());
    assert_eq!(Value::from(fields.to_vec()), json!(["tcp:10.0.0.10:8080", "10.0.0.10", "tcp", 8080, "fullnat", "wrr"]));
    let backend = &service["backends"][0];
    let figures = ["address", "port", "weight", "open", "opened", "reply_packets"].map(|name| backend[name].clone());
    assert_eq!(Value::from(figures.to_vec()), json!(["10.0.0.2", 8080, 1, 0, 0, 0]));
    let neighbor = json!({ "address": "10.0.0.2", "mac": null, "port": null, "is_static": false });
    assert_eq!(status["neighbors"], json!([neighbor]));

    let answer = exchange(leat.api(), "GET /api/v1/status HTTP/1.1\r\nHost: leat\r\nConnection: close\r\n\r\n");
    let head = answer.expect("leat answers").to_ascii_lowercase();
    assert!(head.contains("content-type: application/json"), "{head}");
}

#[test]
fn what_is_not_there_is_404_and_the_wrong_method_405() {
    let leat = start();
    for path in ["/api", "/api/v1", "/api/v1/nothing", "/api/v2/status", "/api/v1/status/"] {
        let (code, body) = http_get(leat.api(), path);
        let problem: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"));
        assert_eq!(
            (code, problem),
            (404, json!({ "error": "there is nothing here; docs/API.md says what there is" })),
            "{path}"
        );
    }
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let request = format!(
            "{method} /api/v1/status HTTP/1.1\r\nHost: leat\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
        );
        let answer = exchange(leat.api(), &request).expect("leat answers");
        assert!(answer.starts_with("HTTP/1.1 405 "), "{method}: {answer}");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an end of the header");
        assert!(head.to_ascii_lowercase().contains("\r\nallow: get"), "{head}");
        let problem: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{method}: {error}: {body}"));
        assert_eq!(problem, json!({ "error": "this cannot be done here; docs/API.md says what can" }), "{method}");
    }
}

#[test]
fn no_client_blocks_another() {
    let leat = start();
    let mut kept = Vec::new();
    // Some that say nothing, some that say half of something.
    for half in ["", "G", "GET /api/v1/status HTT", "GET /api/v1/status HTTP/1.1\r\nHost: leat\r\n"].repeat(10) {
        let mut stream = connect(&leat);
        stream.write_all(half.as_bytes()).expect("leat listens");
        kept.push(stream);
    }
    // One that asks and asks and never reads an answer, until no more goes into the socket.
    let mut deaf = connect(&leat);
    deaf.set_nonblocking(true).expect("a socket can be set so");
    while deaf.write(b"GET /api/v1/status HTTP/1.1\r\nHost: leat\r\n\r\n").is_ok() {}
    for garbage in ["\0\0\0\0\r\n\r\n", "HELLO\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\u{16}\u{3}\u{1}\r\n\r\n"] {
        let answer = exchange(leat.api(), garbage).expect("leat hangs up in good order");
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{garbage:?}: {answer}");
    }
    assert_eq!(leat.status()["services"][0]["name"], "tcp:10.0.0.10:8080");

    // Half a request, finished late, is answered all the same.
    let mut late = kept.pop().expect("there are some");
    late.write_all(b"Connection: close\r\n\r\n").expect("leat still listens");
    let mut answer = String::new();
    late.read_to_string(&mut answer).expect("leat answers");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    // And none of them holds up the end.
    leat.stop().success();
    drop((kept, deaf));
}

#[test]
fn a_connection_can_ask_twice() {
    let leat = start();
    let mut stream = connect(&leat);
    let request = "GET /api/v1/status HTTP/1.1\r\nHost: leat\r\n";
    write!(stream, "{request}\r\n{request}Connection: close\r\n\r\n").expect("leat listens");
    let mut answers = String::new();
    stream.read_to_string(&mut answers).expect("leat answers");
    assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 2, "{answers}");
}

#[test]
fn the_api_can_be_on_a_loopback_port() {
    // Asked for and given back: nobody else takes it within the moment.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    let api = format!("127.0.0.1:{port}");
    let prefix = unique("tcp_api");
    let mut leat = command(support::leat::binary());
    leat.args(QUIET).args(["--file-prefix", &prefix, "--"]).args(SERVICE).args(["--api", &api]);
    let mut leat = Process::spawn(&mut leat);
    leat.wait_for_output("'leat: ready'", LIMIT, |stdout, _| stdout.lines().any(|line| line == "leat: ready"));

    let mut stream = TcpStream::connect(&api).expect("leat listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit can be set");
    stream.write_all(b"GET /api/v1/status HTTP/1.1\r\nHost: leat\r\nConnection: close\r\n\r\n").expect("leat listens");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("leat answers");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    let taken =
        run_leat(&[QUIET, &["--file-prefix", &unique("tcp_api"), "--"], SERVICE, &["--api", &api]].concat()).code_is(1);
    assert!(taken.stderr.contains(&format!("leat: --api: cannot listen on {api}: ")), "{taken}");
    leat.stop(LIMIT).success();
}

/// Not a promise to the API's clients, but to the machine: idle connections that were closed cost nothing.
#[test]
fn a_client_that_went_away_is_forgotten() {
    let leat = start();
    let open_files =
        || fs::read_dir(Path::new("/proc").join(leat.id().to_string()).join("fd")).expect("leat runs").count();
    leat.status();
    let before = open_files();
    let clients: Vec<UnixStream> = (0..50).map(|_| connect(&leat)).collect();
    // Nearly all: the connection of the status may have been counted before.
    wait_for("the clients to be taken", LIMIT, || (open_files() >= before + 40).then_some(()));
    drop(clients);
    wait_for("all clients to be forgotten", LIMIT, || (open_files() <= before).then_some(()));
}

#[test]
fn a_browser_gets_a_page_that_loads_nothing_from_elsewhere() {
    let leat = start();
    let answer =
        exchange(leat.api(), "GET / HTTP/1.1\r\nHost: leat\r\nConnection: close\r\n\r\n").expect("leat answers");
    let (head, page) = answer.split_once("\r\n\r\n").expect("an end of the header");
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200 ") && head.contains("content-type: text/html; charset=utf-8"), "{head}");
    assert!(head.contains("content-security-policy: default-src 'none';"), "{head}");
    // What names an XML namespace is not loaded.
    let page = page.replace("http://www.w3.org/2000/svg", "");
    for foreign in ["http://", "https://", "//cdn", "src=", "@import", "url("] {
        assert!(!page.contains(foreign), "the page has {foreign}");
    }
    assert!(page.contains("/api/v1/status"), "it asks leat itself");
}

#[test]
fn a_web_page_cannot_change_anything() {
    let leat = start();
    for (method, path) in
        [("POST", "/api/v1/reload"), ("DELETE", "/api/v1/services/tcp:10.0.0.10:8080"), ("PUT", "/api/v1/config")]
    {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: leat\r\nOrigin: http://example.com\r\nConnection: close\r\n\r\n"
        );
        let answer = exchange(leat.api(), &request).expect("leat answers");
        assert!(answer.starts_with("HTTP/1.1 403 "), "{method} {path}: {answer}");
    }
    assert_eq!(leat.status()["services"].as_array().map(Vec::len), Some(1));
}

#[test]
fn what_is_sent_is_refused_by_the_rules_of_the_file() {
    let leat = start();
    let send = |method: &str, path: &str, body: &str| {
        let len = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: leat\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n{body}"
        );
        let answer = exchange(leat.api(), &request).expect("leat answers");
        let code: u16 = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        let (_, body) = answer.split_once("\r\n\r\n").expect("an end of the header");
        (code, body.to_owned())
    };
    let backends = "/api/v1/services/tcp:10.0.0.10:8080/backends";
    let backend = "/api/v1/services/tcp:10.0.0.10:8080/backends/10.0.0.2";
    let rows = [
        ("POST", backends, r#"{"address": "10.0.0.2"}"#, 400, "10.0.0.2"),
        ("POST", backends, r#"{"address": "10.0.0.10"}"#, 400, "is a VIP of leat's"),
        ("POST", backends, r#"{"adress": "10.0.0.3"}"#, 400, "did you mean address?"),
        ("POST", backends, "{", 400, "the body is not what it should be"),
        ("POST", backends, "", 400, "the body is not what it should be"),
        ("POST", backends, "[]", 400, "JSON object"),
        ("POST", "/api/v1/services/no/backends", r#"{"address": "10.0.0.3"}"#, 404, "there is no service"),
        ("PATCH", backend, r#"{"weight": 65536}"#, 400, "65536"),
        ("PATCH", backend, r#"{"weight": 1, "color": 2}"#, 400, "color"),
        ("PATCH", "/api/v1/services/tcp:10.0.0.10:8080/backends/10.0.0.7", r#"{"weight": 1}"#, 404, "has no backend"),
        ("PUT", "/api/v1/config", "[[service]]\nvip = 5\n", 400, "configuration:2:7"),
        ("PUT", "/api/v1/config", "\u{0}", 400, "configuration:1:1"),
        ("PUT", "/api/v1/config", "connections = 7\n", 409, "needs a restart"),
        ("POST", "/api/v1/reload", "", 409, "without --config"),
    ];
    for (method, path, body, code, message) in rows {
        let answer = send(method, path, body);
        let problem: Value =
            serde_json::from_str(&answer.1).unwrap_or_else(|error| panic!("{path}: {error}: {answer:?}"));
        let said = problem["error"].as_str().unwrap_or_default();
        assert!(answer.0 == code && said.contains(message), "{method} {path} {body:?}: {answer:?}");
    }
    assert_eq!(send("POST", backends, r#"{"address": "10.0.0.3", "weight": 4}"#).0, 201);
    assert_eq!(leat.status()["services"][0]["backends"][1]["weight"], 4);
}

#[test]
fn with_a_token_nobody_without_it_sees_or_changes_anything() {
    // Asked for and given back: nobody else takes it within the moment.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    let directory = support::TempDir::new("token");
    let (file, token) = (directory.join("leat.toml"), directory.join("token"));
    let text = format!(
        "api = \"127.0.0.1:{port}\"\napi_token_file = \"{}\"\n[[service]]\nname = \"web\"\nvip = \"10.0.0.10\"\nport = 80\n\
         backend = [{{ address = \"10.0.0.2\" }}]\n",
        token.display()
    );
    fs::write(&file, text).expect("the file can be written");
    let own = ["-c", file.to_str().expect("the path is text")];
    let start = |prefix: &str| {
        let mut leat = command(support::leat::binary());
        leat.args(QUIET).args(["--file-prefix", prefix, "--"]).args(own);
        leat
    };
    let missing = support::process::run(&mut start(&unique("token")), LIMIT).code_is(1);
    assert!(missing.stderr.contains("api_token_file: ") && missing.stderr.contains("No such file"), "{missing}");
    fs::write(&token, "0123456789abcdef0123456789abcdef\n").expect("the file can be written");
    let mut leat = Process::spawn(&mut start(&unique("token")));
    leat.wait_for_output("'leat: ready'", LIMIT, |stdout, _| stdout.lines().any(|line| line == "leat: ready"));

    let ask = |method: &str, path: &str, head: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("leat listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a limit can be set");
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: leat\r\n{head}Connection: close\r\n\r\n")
            .expect("leat listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("leat answers");
        answer
    };
    let drain = "/api/v1/services/web/backends/10.0.0.2/drain";
    let right = "Authorization: Bearer 0123456789abcdef0123456789abcdef\r\n";
    for head in ["", "Authorization: Bearer 0123456789abcdef0123456789abcdeg\r\n", "Authorization: Basic bGVhdA==\r\n"]
    {
        for (method, path) in [("GET", "/api/v1/status"), ("GET", "/metrics"), ("POST", drain), ("GET", "/nothing")] {
            let answer = ask(method, path, head);
            assert!(answer.starts_with("HTTP/1.1 401 "), "{method} {path} {head}: {answer}");
            assert!(answer.to_ascii_lowercase().contains("www-authenticate: bearer"), "{answer}");
        }
    }
    assert!(ask("GET", "/", "").starts_with("HTTP/1.1 200 "), "the page is nobody's secret");
    assert!(ask("GET", "/api/v1/status", right).starts_with("HTTP/1.1 200 "));
    // Its own page may change things, as it shows the token.
    let answer = ask("POST", drain, &format!("{right}Origin: http://127.0.0.1:{port}\r\n"));
    assert!(answer.contains("is drained"), "{answer}");

    let leatctl = |more: &[&str]| {
        let mut leatctl = command(env!("CARGO_BIN_EXE_leatctl"));
        leatctl.args(["--api", &format!("127.0.0.1:{port}")]).args(more).arg("services");
        support::process::run(&mut leatctl, LIMIT)
    };
    let refused = leatctl(&[]).code_is(1);
    assert!(refused.stderr.contains("show the token"), "{refused}");
    let shown = leatctl(&["--token-file", token.to_str().expect("the path is text")]).success();
    assert!(shown.stdout.contains("10.0.0.10:80"), "{shown}");
    let wrong = leatctl(&["--token-file", "/nothing/here"]).code_is(2);
    assert!(wrong.stderr.contains("--token-file: /nothing/here: No such file"), "{wrong}");
    leat.signal("TERM");
    leat.wait(LIMIT).success();
}

#[test]
fn silent_clients_lose_their_places_to_those_who_ask() {
    let leat = start();
    let half = "GET /api/v1/status HTTP/1.1\r\nHost: leat\r\n";
    let mut silent: Vec<_> = (0..256)
        .map(|number| {
            let mut stream = connect(&leat);
            // Some say nothing, some half of something.
            stream.write_all(&half.as_bytes()[..half.len() * (number % 2)]).expect("leat listens");
            stream
        })
        .collect();
    // Who comes now is hung up on, until the silent ones are.
    let answered = || {
        let answer = exchange(leat.api(), &format!("{half}Connection: close\r\n\r\n")).unwrap_or_default();
        answer.starts_with("HTTP/1.1 200 ").then_some(())
    };
    wait_for("a place", LIMIT, answered);
    for stream in &mut silent {
        let mut rest = Vec::new();
        // A reset is as good as an end.
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&rest));
    }
}

#[test]
fn the_openapi_document_is_what_leat_answers() {
    const FILE: &str = "docs/openapi.json";
    let leat = start();
    let (code, told) = http_get(leat.api(), "/api/v1/openapi.json");
    let told: Value = serde_json::from_str(&told).expect("the description is JSON");
    assert_eq!(code, 200, "{told}");
    let path = support::repository().join(FILE);
    if std::env::var_os("LEAT_WRITE_OPENAPI").is_some() {
        fs::write(&path, format!("{told:#}\n")).expect("the file can be written");
    }
    let written = fs::read_to_string(&path).expect("the file is there");
    let written: Value = serde_json::from_str(&written).expect("the file is JSON");
    assert_eq!(written, told, "{FILE} is old: run this test with LEAT_WRITE_OPENAPI=1 and look at what has changed");

    let methods = || told["paths"].as_object().into_iter().flatten().filter_map(|(_, it)| it.as_object()).flatten();
    let names: std::collections::BTreeSet<_> = methods().filter_map(|(_, it)| it["operationId"].as_str()).collect();
    assert_eq!(names.len(), methods().count(), "operations have names of their own: {names:?}");

    // Every path and method is there, and what is missing in a request is said in the words of the API.
    let paths = told["paths"].as_object().expect("paths are an object");
    assert!(paths.len() >= 20, "{}", paths.len());
    for (path, methods) in paths {
        let path = path.replace("{service}", "nothing").replace("{backend}", "10.9.9.9").replace("{vip}", "10.9.9.9");
        for method in methods.as_object().expect("methods are an object").keys() {
            let method = method.to_uppercase();
            let query = if path.ends_with("/trace") || path.ends_with("/capture") { "?color=red" } else { "" };
            let request = format!(
                "{method} {path}{query} HTTP/1.1\r\nHost: leat\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
            );
            let answer = exchange(leat.api(), &request).expect("leat answers");
            assert!(
                !answer.contains("there is nothing here") && !answer.contains(" 405 "),
                "{method} {path}: {answer}"
            );
        }
    }
}
