//! Connections, listed, counted, ended, and what a new one would get.

use std::net::IpAddr;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::terms::{self, ConnectionTerms, FlowTerms, Terms};
use super::{Office, Problem, problem};
use crate::conntrack::Connection;
use crate::flow::{Endpoint, FlowKey, Protocol};
use crate::id::WorkerId;
use crate::inquiry::{Filter, Grounds, Outlook, Question, Survey};
use crate::service::{Service, Snapshot};
use crate::time::Instant;

/// Connections that are listed when nobody says how many.
const LISTED: usize = 1000;
/// The most that can be listed.
const MOST_LISTED: usize = 100_000;

/// Some of the connections.
#[derive(Debug, Serialize, ToSchema)]
struct Connections {
    /// How many match, over all workers.
    matched: u64,
    /// Those that are listed.
    connections: Vec<ConnectionView>,
}

/// How many connections were ended.
#[derive(Debug, Serialize, ToSchema)]
struct Ended {
    ended: u64,
}

/// One connection.
#[derive(Debug, Serialize, ToSchema)]
struct ConnectionView {
    protocol: String,
    /// Where the client is.
    client: String,
    /// Where it sends to.
    vip: String,
    /// The source towards the backend; nothing where that is the client.
    local: Option<String>,
    backend: Option<String>,
    service: Option<String>,
    state: &'static str,
    /// Whole seconds since its last packet.
    idle_seconds: u64,
    /// The lcore that has it.
    lcore: usize,
}

/// What would become of a client's packet, and why.
#[derive(Debug, Default, Serialize, ToSchema)]
struct Explanation {
    /// The client's packet.
    flow: String,
    service: Option<String>,
    mode: Option<String>,
    scheduler: Option<String>,
    /// The lcore that decides.
    lcore: Option<usize>,
    /// `known`: it belongs to a connection; `new`: it would open one; `dropped`.
    outcome: &'static str,
    backend: Option<String>,
    /// Why, in words.
    why: String,
    /// The connection that it belongs to.
    connection: Option<ConnectionView>,
}

/// The connections for which all terms hold.
#[utoipa::path(
    get,
    path = "/api/v1/connections",
    operation_id = "connections",
    params(
        FlowTerms,
        ConnectionTerms,
        ("limit" = Option<usize>, Query, description = "list so many, 1000 by default"),
    ),
    responses((status = 200, body = Connections), (status = 400, body = Problem), (status = 404, body = Problem)),
)]
pub(super) async fn list(State(office): State<Office>, Query(terms): Terms) -> Response {
    let (limits, terms): (Vec<_>, Vec<_>) = terms.iter().partition(|(term, _)| term == "limit");
    let mut limit = LISTED;
    for (_, value) in limits {
        match value.parse() {
            Ok(number) if number <= MOST_LISTED => limit = number,
            _ => {
                let message = format!("limit={value}: write a number up to {MOST_LISTED}");
                return problem(StatusCode::BAD_REQUEST, &message);
            }
        }
    }
    let filter = match terms::filter(terms) {
        Ok(filter) => filter,
        Err(refused) => return refused,
    };
    match survey(&office, filter, limit, false).await {
        Ok(found) => Json(found).into_response(),
        Err(refused) => refused,
    }
}

/// Ends the connections for which all terms hold; at least one is needed.
#[utoipa::path(
    delete,
    path = "/api/v1/connections",
    operation_id = "end_connections",
    params(FlowTerms, ConnectionTerms),
    responses((status = 200, body = Ended), (status = 400, body = Problem), (status = 404, body = Problem)),
)]
pub(super) async fn end(State(office): State<Office>, Query(terms): Terms) -> Response {
    let filter = match terms::filter(&terms) {
        Ok(filter) => filter,
        Err(refused) => return refused,
    };
    if filter.is_empty() {
        return problem(
            StatusCode::BAD_REQUEST,
            "say which connections are to be ended, such as ?client=10.0.0.1:40000",
        );
    }
    match survey(&office, filter, 0, true).await {
        Ok(Connections { matched: 0, .. }) => problem(StatusCode::NOT_FOUND, "there is no such connection"),
        Ok(Connections { matched, .. }) => {
            log::info!("changed by the API: {matched} connections ended");
            Json(Ended { ended: matched }).into_response()
        }
        Err(refused) => refused,
    }
}

async fn survey(office: &Office, filter: Filter, limit: usize, ends: bool) -> Result<Connections, Response> {
    let service = terms::service(office, &filter)?;
    let asked = office.inquirer.ask(|| Question::Survey(Survey::new(filter.clone(), service, limit, ends))).await;
    let answers = asked.map_err(|error| problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()))?;
    let mut found = Connections { matched: 0, connections: Vec::new() };
    let scene = Scene::of(office);
    for (worker, answer) in answers.iter().enumerate() {
        let Question::Survey(survey) = answer else { continue };
        found.matched += survey.matched();
        let room = limit - found.connections.len();
        found.connections.extend(survey.found().iter().take(room).map(|it| scene.view(it, worker)));
    }
    Ok(found)
}

/// What would become of a flow's first packet, and why.
#[utoipa::path(
    get,
    path = "/api/v1/explain",
    params(
        ("client" = String, Query, description = "ADDR:PORT"),
        ("vip" = String, Query, description = "ADDR:PORT"),
        ("protocol" = Option<String>, Query, description = "tcp, which it is by default, or udp"),
    ),
    responses((status = 200, body = Explanation), (status = 400, body = Problem)),
)]
pub(super) async fn explain(State(office): State<Office>, Query(terms): Terms) -> Response {
    let flow = match flow(&terms) {
        Ok(flow) => flow,
        Err(message) => return problem(StatusCode::BAD_REQUEST, &message),
    };
    let answers = match office.inquirer.ask(|| Question::Explain { flow, outlook: Outlook::Unasked }).await {
        Ok(answers) => answers,
        Err(error) => return problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    };
    let outlooks: Vec<Outlook> = answers
        .iter()
        .filter_map(|answer| match answer {
            Question::Explain { outlook, .. } => Some(*outlook),
            _ => None,
        })
        .collect();
    // Who has the connection decides; else who would have it.
    let decides = |outlook: &Outlook| !matches!(outlook, Outlook::Elsewhere { .. } | Outlook::Unasked);
    let known = outlooks.iter().position(|outlook| matches!(outlook, Outlook::Known(_)));
    let worker = known.or_else(|| outlooks.iter().position(decides)).unwrap_or_default();
    let scene = Scene::of(&office);
    let outlook = outlooks.get(worker).copied().unwrap_or(Outlook::Unasked);
    Json(scene.explanation(&flow, outlook, worker)).into_response()
}

/// The flow that `terms` name.
fn flow(terms: &[(String, String)]) -> Result<FlowKey, String> {
    let (mut protocol, mut client, mut vip) = (Protocol::Tcp, None, None);
    for (term, value) in terms {
        match term.as_str() {
            "client" => client = Some(endpoint("client", value)?),
            "vip" => vip = Some(endpoint("vip", value)?),
            "protocol" => {
                protocol = match value.as_str() {
                    "tcp" => Protocol::Tcp,
                    "udp" => Protocol::Udp,
                    _ => return Err(format!("protocol={value}: there are tcp and udp")),
                }
            }
            other => return Err(format!("{other:?} is no term; there are protocol, client and vip")),
        }
    }
    let missing = || "say which flow: ?client=ADDR:PORT&vip=ADDR:PORT, and protocol=udp if it is not TCP".to_owned();
    let ((src, src_port), (dst, dst_port)) = client.zip(vip).ok_or_else(missing)?;
    if src.is_ipv4() != dst.is_ipv4() {
        return Err(format!("client {src} and vip {dst} are of two versions of IP, and a flow is of one"));
    }
    Ok(FlowKey { src, dst, src_port, dst_port, protocol })
}

fn endpoint(term: &str, value: &str) -> Result<(IpAddr, u16), String> {
    let read = value.parse::<std::net::SocketAddr>().ok().filter(|it| it.port() != 0);
    let read = read
        .map(|it| (it.ip(), it.port()))
        .filter(|(address, _)| address.to_canonical() == *address && !value.contains('%'));
    read.ok_or_else(|| format!("{term}={value}: write ADDR:PORT, such as 10.0.0.1:80 or [2001:db8::1]:80"))
}

/// What is needed to speak of connections.
struct Scene {
    snapshot: std::sync::Arc<Snapshot>,
    lcores: Vec<usize>,
    now: Instant,
}

impl Scene {
    fn of(office: &Office) -> Self {
        Self {
            snapshot: office.source.current.load(),
            lcores: office.source.lcores.clone(),
            now: Instant::ZERO + office.source.started.elapsed(),
        }
    }

    fn view(&self, connection: &Connection, worker: usize) -> ConnectionView {
        let original = connection.original_key();
        let backend = self.snapshot.backend(connection.backend());
        let service = backend.and_then(|backend| self.snapshot.service(backend.service));
        let local = connection.has_replies().then(|| connection.reply_key());
        let local =
            local.map(|reply| (reply.dst, reply.dst_port)).filter(|it| *it != (original.src, original.src_port));
        // Its port is what the client chose where the service has none.
        let port_of = |port: u16| if port == 0 { original.dst_port } else { port };
        ConnectionView {
            protocol: original.protocol.to_string(),
            client: Endpoint(original.src, original.src_port).to_string(),
            vip: Endpoint(original.dst, original.dst_port).to_string(),
            local: local.map(|(address, port)| Endpoint(address, port).to_string()),
            backend: backend.map(|backend| Endpoint(backend.address, port_of(backend.port)).to_string()),
            service: service.map(|service| service.name.clone()),
            state: connection.state().name(),
            // The workers' clock and this one began within a second of each other.
            idle_seconds: u64::from(self.now.tick().since(connection.last_seen()).min(1 << 31)) / 10,
            lcore: self.lcore(worker),
        }
    }

    fn explanation(&self, flow: &FlowKey, outlook: Outlook, worker: usize) -> Explanation {
        let mut explanation = Explanation { flow: flow.to_string(), outcome: "dropped", ..Explanation::default() };
        match outlook {
            Outlook::Unasked | Outlook::NoService => {
                let is_vip = self.snapshot.services().any(|(_, service)| service.vip == flow.dst);
                explanation.why = match is_vip {
                    true => format!("no service of VIP {} has {} port {}", flow.dst, flow.protocol, flow.dst_port),
                    false => format!("{} is no VIP of a service", flow.dst),
                };
            }
            Outlook::Elsewhere { service, owner } => {
                explanation.name(self.snapshot.service(service));
                explanation.lcore = Some(self.lcore(owner.index()));
                "its worker did not say".clone_into(&mut explanation.why);
            }
            Outlook::Refused { service, reason } => {
                explanation.name(service.and_then(|service| self.snapshot.service(service)));
                explanation.lcore = service.map(|_| self.lcore(worker));
                explanation.why = format!("{} ({})", reason.description(), reason.name());
            }
            Outlook::Known(connection) => {
                let view = self.view(&connection, worker);
                let backend = self.snapshot.backend(connection.backend());
                explanation.name(backend.and_then(|backend| self.snapshot.service(backend.service)));
                explanation.outcome = "known";
                explanation.lcore = Some(view.lcore);
                explanation.backend.clone_from(&view.backend);
                explanation.why = format!("it belongs to a connection in state {}", view.state);
                explanation.connection = Some(view);
            }
            Outlook::New { service, backend, grounds } => {
                explanation.name(self.snapshot.service(service));
                explanation.outcome = "new";
                explanation.lcore = Some(self.lcore(worker));
                let backend = self.snapshot.backend(backend);
                explanation.backend = backend.map(|it| Endpoint(it.address, it.port).to_string());
                explanation.why = match grounds {
                    Grounds::Remembered => "this flow had it before, and the service remembers flows".to_owned(),
                    Grounds::Persistent => "this client had it before, and persistence keeps it".to_owned(),
                    Grounds::Instead(full) => {
                        let full = self.snapshot.backend(full).map(|it| Endpoint(it.address, it.port).to_string());
                        format!("backend {} has as many connections as it may", full.unwrap_or_default())
                    }
                    Grounds::Chosen(why) => why.to_string(),
                };
            }
        }
        explanation
    }

    /// DPDK's number of a worker's lcore.
    fn lcore(&self, worker: usize) -> usize {
        self.lcores.get(worker).copied().unwrap_or(usize::from(WorkerId::FIRST.0))
    }
}

impl Explanation {
    fn name(&mut self, service: Option<&Service>) {
        let Some(service) = service else { return };
        self.service = Some(service.name.clone());
        self.mode = Some(service.mode.to_string());
        self.scheduler = Some(service.schedule.algorithm().to_string());
    }
}
