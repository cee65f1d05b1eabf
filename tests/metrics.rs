//! The figures for Prometheus, read by Prometheus' own Python library.
#![cfg(feature = "dpdk")]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;
use support::{
    LIMIT,
    leat::{Leat, http_get},
    process::{Process, command},
    unique,
};

const QUIET: &[&str] = &["-l", "0", "--no-pci", "--vdev=net_null0,no-rx=1"];

/// The families of `page` by name: type, and for each sample its name, labels and value.
fn parsed(page: &str) -> BTreeMap<String, Value> {
    const READ: &str = "
import json, sys
from prometheus_client.parser import text_string_to_metric_families as families
out = {f.name: {'type': f.type, 'help': f.documentation, 'samples': [[s.name, s.labels, s.value] for s in f.samples]}
       for f in families(sys.stdin.read())}
print(json.dumps(out))";
    let mut python = Command::new("/usr/bin/python3")
        .args(["-c", READ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("scripts/install.sh installs it");
    python.stdin.take().expect("it was asked for").write_all(page.as_bytes()).expect("python3 reads");
    let output = python.wait_with_output().expect("python3 ends");
    assert!(output.status.success(), "it is no page of Prometheus':\n{page}");
    serde_json::from_slice(&output.stdout).expect("the script prints JSON")
}

/// The value of the one sample `name` that has all of `labels`.
fn sample(families: &BTreeMap<String, Value>, name: &str, labels: &[(&str, &str)]) -> f64 {
    let samples = families.values().flat_map(|family| family["samples"].as_array().expect("a list"));
    let has = |sample: &&Value| sample[0] == *name && labels.iter().all(|(label, value)| sample[1][*label] == *value);
    let found: Vec<_> = samples.filter(has).collect();
    assert_eq!(found.len(), 1, "{name} {labels:?}: {found:?}");
    found[0][2].as_f64().expect("a number")
}

#[test]
fn prometheus_reads_every_part() {
    let service = &["--vip", "10.0.0.10:8080", "--backend", "10.0.0.2", "--backend", "10.0.0.3,weight=7"];
    let leat = Leat::start(QUIET, service);
    let (code, page) = http_get(leat.api(), "/metrics");
    assert_eq!(code, 200, "{page}");
    let families = parsed(&page);
    for (name, family) in &families {
        assert!(name.starts_with("leat_"), "{name}");
        assert!(family["help"].as_str().is_some_and(|help| help.ends_with('.')), "{name}: {family}");
        assert!(family["type"] == "counter" || family["type"] == "gauge", "{name}: {family}");
    }
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    assert_eq!(sample(&families, "leat_build_info", &version), 1.0);
    assert_eq!(sample(&families, "leat_port_up", &[("port", "0"), ("name", "net_null0")]), 1.0);
    assert!(sample(&families, "leat_lcore_polls_total", &[("lcore", "0")]) > 0.0);
    assert_eq!(sample(&families, "leat_lcore_connections_limit", &[("lcore", "0")]), 1_048_576.0);
    let backend = [("service", "tcp:10.0.0.10:8080"), ("backend", "10.0.0.3:8080")];
    assert_eq!(sample(&families, "leat_backend_weight", &backend), 7.0);
    assert_eq!(sample(&families, "leat_backend_connections_opened_total", &backend), 0.0);
    assert_eq!(sample(&families, "leat_backend_source_ports_limit", &backend), 64_512.0);
    let info = [("vip", "10.0.0.10"), ("mode", "fullnat"), ("scheduler", "maglev"), ("protocol", "tcp")];
    assert_eq!(sample(&families, "leat_service_info", &info), 1.0);
    assert_eq!(sample(&families, "leat_neighbor_resolved", &[("address", "10.0.0.2")]), 0.0);
}

/// Every name of a figure that stands in `text`, as samples are called.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("leat_")).map(ToOwned::to_owned).collect()
}

#[test]
fn the_page_the_dashboard_and_the_documentation_speak_of_the_same_figures() {
    let directory = tempfile::tempdir().expect("a folder for the file");
    let file = directory.path().join("leat.toml");
    let backend = "[[service.backend]]\naddress = \"10.0.0.2\"\n";
    let text = format!("[[service]]\nvip = \"10.0.0.10\"\nport = 80\nhealth = {{ type = \"arp\" }}\n{backend}");
    fs::write(&file, text).expect("it can be written");
    let leat = Leat::start(QUIET, &["-c", file.to_str().expect("text")]);
    let families = parsed(&http_get(leat.api(), "/metrics").1);
    let mut there: BTreeSet<String> = families
        .iter()
        .map(|(name, family)| if family["type"] == "counter" { format!("{name}_total") } else { name.clone() })
        .collect();
    // Nothing was dropped yet, so this one may have no sample.
    there.insert("leat_dropped_packets_total".to_owned());

    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let dashboard = read("docs/grafana/leat.json");
    serde_json::from_str::<Value>(&dashboard).expect("the dashboard is JSON");
    let unknown: Vec<_> = names(&dashboard).difference(&there).cloned().collect();
    assert!(unknown.is_empty(), "the dashboard asks for what there is not: {unknown:?}");

    // The guide writes some names in short, after an ellipsis.
    let guide = read("docs/METRICS.md").replace("…_", "leat_lcore_");
    let (said, there) = (names(&guide), &there);
    let missing: Vec<_> = there.difference(&said).collect();
    assert!(missing.is_empty(), "docs/METRICS.md does not explain {missing:?}");
    let unknown: Vec<_> = said.difference(there).collect();
    assert!(unknown.is_empty(), "docs/METRICS.md explains what there is not: {unknown:?}");
}

#[test]
fn figures_have_an_address_of_their_own_that_tells_nothing_else() {
    // Asked for and given back: nobody else takes it within the moment.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    let address = format!("127.0.0.1:{port}");
    let directory = tempfile::tempdir().expect("a folder for the file");
    let file = directory.path().join("leat.toml");
    fs::write(&file, format!("metrics = \"{address}\"\n")).expect("it can be written");
    let leat = Leat::start(QUIET, &["-c", file.to_str().expect("text")]);

    let get = |path: &str| {
        let mut stream = TcpStream::connect(&address).expect("leat listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a limit can be set");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: leat\r\nConnection: close\r\n\r\n").expect("leat listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("leat answers");
        answer
    };
    let answer = get("/metrics");
    let (head, page) = answer.split_once("\r\n\r\n").expect("an end of the header");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.to_ascii_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(page.contains("leat_uptime_seconds"), "{page}");
    for path in ["/api/v1/services", "/api/v1/config", "/metrics/", "/.."] {
        let answer = get(path);
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
    }

    // A second one cannot have it, and says what.
    let mut second = command(support::leat::binary());
    second.args(QUIET).args(["--file-prefix", &unique("metrics"), "--", "-c"]).arg(&file);
    second.args(["--api", &format!("unix:{}", directory.path().join("second.sock").display())]);
    let second = Process::spawn(&mut second).wait(LIMIT).code_is(1);
    assert!(second.stderr.contains(&format!("leat: metrics: cannot listen on {address}: ")), "{second}");
    leat.stop().success();
}
