//! What the HTTP API answers, and what Prometheus reads.
//!
//! It reads what workers have counted, and leaves what is to be changed at the control thread's [`Desk`]: no client of it can
//! hold up a packet. `docs/API.md` is its reference.

mod connections;
mod vips;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request as HttpRequest, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Answer, Desk, Edit, Inquirer, Refusal, Request, Token};
use crate::config::file::MAX_SIZE;
use crate::metrics::{BackendStatus, CONTENT_TYPE, ServiceStatus, Source, Status, exposition};

/// What every handler can use.
#[derive(Clone)]
struct Office {
    source: Arc<Source>,
    desk: Desk,
    inquirer: Arc<Inquirer>,
}

/// All that the API can be asked, by those who show `token` where there is one.
pub fn api(source: Arc<Source>, desk: Desk, inquirer: Arc<Inquirer>, token: Option<Token>) -> Router {
    let guard = Guard(token);
    Router::new()
        .route("/api/v1/status", get(status))
        .route("/api/v1/ports", get(async |State(office): State<Office>| Json(office.source.status().ports)))
        .route("/api/v1/lcores", get(async |State(office): State<Office>| Json(office.source.status().workers)))
        .route("/api/v1/neighbors", get(async |State(office): State<Office>| Json(office.source.status().neighbors)))
        .route("/api/v1/drops", get(drops))
        .route("/api/v1/connections", get(connections::list).delete(connections::end))
        .route("/api/v1/explain", get(connections::explain))
        .route("/api/v1/trace", get(watch::trace))
        .route("/api/v1/capture", get(watch::capture))
        .route("/api/v1/vips", get(vips::list))
        .route("/api/v1/vips/announce", post(vips::announce_all))
        .route("/api/v1/vips/withdraw", post(vips::withdraw_all))
        .route("/api/v1/vips/{vip}/announce", post(vips::announce))
        .route("/api/v1/vips/{vip}/withdraw", post(vips::withdraw))
        .route("/api/v1/services", get(services).post(add_service))
        .route("/api/v1/services/{service}", get(service).delete(remove_service))
        .route("/api/v1/services/{service}/backends", get(backends).post(add_backend))
        .route(
            "/api/v1/services/{service}/backends/{backend}",
            get(backend).patch(change_backend).delete(remove_backend),
        )
        .route("/api/v1/services/{service}/backends/{backend}/drain", post(drain))
        .route("/api/v1/services/{service}/backends/{backend}/enable", post(enable))
        .route("/api/v1/config", get(show_config).put(apply_config))
        .route("/api/v1/config/check", post(check_config))
        .route("/api/v1/reload", post(reload))
        .route("/metrics", get(async |State(office): State<Office>| exposed(&office.source)))
        .route("/", get(page))
        .fallback(async || problem(StatusCode::NOT_FOUND, "there is nothing here; docs/API.md says what there is"))
        .method_not_allowed_fallback(not_so)
        .layer(DefaultBodyLimit::max(MAX_SIZE))
        .layer(middleware::from_fn(in_time))
        .layer(middleware::from_fn_with_state(guard, allowed))
        .with_state(Office { source, desk, inquirer })
}

/// What everybody may read who reaches the address for figures.
pub fn figures(source: Arc<Source>) -> Router {
    Router::new()
        .route("/metrics", get(async |State(source): State<Arc<Source>>| exposed(&source)))
        .route("/api/v1/status", get(async |State(source): State<Arc<Source>>| Json(source.status())))
        .route("/", get(page))
        .fallback(async || problem(StatusCode::NOT_FOUND, "there is nothing here; try / and /metrics"))
        .method_not_allowed_fallback(not_so)
        .with_state(source)
}

fn exposed(source: &Source) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], exposition(source.status())).into_response()
}

/// The page for people: all of it in one piece, and it may load nothing else.
async fn page() -> Response {
    const HEADERS: [(header::HeaderName, &str); 4] = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
             frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (HEADERS, include_str!("page.html")).into_response()
}

/// What a request that cannot be answered gets.
#[derive(Serialize)]
struct Problem<'a> {
    error: &'a str,
}

fn problem(code: StatusCode, error: &str) -> Response {
    (code, Json(Problem { error })).into_response()
}

async fn not_so() -> Response {
    problem(StatusCode::METHOD_NOT_ALLOWED, "this cannot be done here; docs/API.md says what can")
}

/// Who may ask.
#[derive(Clone, Debug)]
struct Guard(Option<Token>);

/// Refuses whoever does not show the token; without one, changes that a web page asks for: a browser sends such requests to
/// loopback addresses as well, whoever made the page, and it says so. The page itself is nobody's secret.
async fn allowed(State(guard): State<Guard>, request: HttpRequest, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    match &guard.0 {
        Some(token) if request.uri().path() != "/" => {
            let shown = request.headers().get(header::AUTHORIZATION).map(|shown| shown.as_bytes());
            if !shown.is_some_and(|shown| token.is_shown_by(shown)) {
                let refused = problem(StatusCode::UNAUTHORIZED, "show the token, as Authorization: Bearer TOKEN");
                return ([(header::WWW_AUTHENTICATE, "Bearer")], refused).into_response();
            }
        }
        Some(_) => {}
        None if !reads && request.headers().contains_key(header::ORIGIN) => {
            return problem(StatusCode::FORBIDDEN, "web pages may not change anything here");
        }
        None => {}
    }
    next.run(request).await
}

/// How long a question may take until its answer begins: a body that comes slowly, or a survey of a large table.
const PATIENCE: Duration = Duration::from_secs(60);

/// Gives up on questions that take too long.
async fn in_time(request: HttpRequest, next: Next) -> Response {
    match tokio::time::timeout(PATIENCE, next.run(request)).await {
        Ok(answer) => answer,
        Err(_) => problem(StatusCode::REQUEST_TIMEOUT, "this took longer than a minute"),
    }
}

async fn status(State(office): State<Office>) -> Json<Status> {
    Json(office.source.status())
}

async fn drops(State(office): State<Office>) -> Json<Value> {
    let mut sums = serde_json::Map::new();
    for worker in office.source.status().workers {
        for (reason, packets) in worker.drops {
            let before = sums.get(reason).and_then(Value::as_u64).unwrap_or_default();
            sums.insert(reason.to_owned(), json!(before + packets));
        }
    }
    Json(Value::Object(sums))
}

async fn services(State(office): State<Office>) -> Json<Vec<ServiceStatus>> {
    Json(office.source.status().services)
}

async fn service(State(office): State<Office>, Path(name): Path<String>) -> Response {
    match find_service(&office, &name) {
        Ok(service) => Json(service).into_response(),
        Err(refused) => refused,
    }
}

async fn backends(State(office): State<Office>, Path(name): Path<String>) -> Response {
    match find_service(&office, &name) {
        Ok(service) => Json(service.backends).into_response(),
        Err(refused) => refused,
    }
}

async fn backend(State(office): State<Office>, Path((name, backend)): Path<(String, String)>) -> Response {
    let service = match find_service(&office, &name) {
        Ok(service) => service,
        Err(refused) => return refused,
    };
    let is_it = |it: &BackendStatus| it.address == backend || format!("{}:{}", it.address, it.port) == backend;
    match service.backends.into_iter().find(is_it) {
        Some(backend) => Json(backend).into_response(),
        None => problem(StatusCode::NOT_FOUND, &format!("service {name:?} has no backend {backend}")),
    }
}

#[expect(clippy::result_large_err, reason = "the answer is sent at once")]
fn find_service(office: &Office, name: &str) -> Result<ServiceStatus, Response> {
    let found = office.source.status().services.into_iter().find(|service| service.name == name);
    found.ok_or_else(|| problem(StatusCode::NOT_FOUND, &format!("there is no service {name:?}")))
}

async fn add_service(State(office): State<Office>, body: Bytes) -> Response {
    match read(&body) {
        Ok(keys) => change(&office, Edit::AddService { keys }, StatusCode::CREATED).await,
        Err(refused) => refused,
    }
}

async fn remove_service(State(office): State<Office>, Path(service): Path<String>) -> Response {
    change(&office, Edit::RemoveService { service }, StatusCode::OK).await
}

async fn add_backend(State(office): State<Office>, Path(service): Path<String>, body: Bytes) -> Response {
    match read(&body) {
        Ok(keys) => change(&office, Edit::AddBackend { service, keys }, StatusCode::CREATED).await,
        Err(refused) => refused,
    }
}

/// What the JSON of a body says.
#[expect(clippy::result_large_err, reason = "the answer is sent at once")]
fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Response> {
    serde_json::from_slice(body).map_err(|error| {
        problem(
            StatusCode::BAD_REQUEST,
            &format!("the body is not what it should be: {error}; docs/API.md has examples"),
        )
    })
}

/// What can be changed about a backend.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BackendChange {
    weight: u16,
}

async fn change_backend(
    State(office): State<Office>,
    Path((service, backend)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    match read(&body) {
        Ok(BackendChange { weight }) => {
            change(&office, Edit::SetWeight { service, backend, weight }, StatusCode::OK).await
        }
        Err(refused) => refused,
    }
}

async fn remove_backend(State(office): State<Office>, Path((service, backend)): Path<(String, String)>) -> Response {
    change(&office, Edit::RemoveBackend { service, backend }, StatusCode::OK).await
}

async fn drain(State(office): State<Office>, Path((service, backend)): Path<(String, String)>) -> Response {
    change(&office, Edit::Drain { service, backend }, StatusCode::OK).await
}

async fn enable(State(office): State<Office>, Path((service, backend)): Path<(String, String)>) -> Response {
    change(&office, Edit::Enable { service, backend }, StatusCode::OK).await
}

async fn show_config(State(office): State<Office>) -> Response {
    ask(&office, Request::Show, StatusCode::OK).await
}

async fn apply_config(State(office): State<Office>, body: Bytes) -> Response {
    ask(&office, Request::Apply(body.into()), StatusCode::OK).await
}

async fn check_config(State(office): State<Office>, body: Bytes) -> Response {
    ask(&office, Request::Check(body.into()), StatusCode::OK).await
}

async fn reload(State(office): State<Office>) -> Response {
    ask(&office, Request::Reload, StatusCode::OK).await
}

async fn change(office: &Office, edit: Edit, done: StatusCode) -> Response {
    ask(office, Request::Edit(edit), done).await
}

async fn ask(office: &Office, request: Request, done: StatusCode) -> Response {
    match office.desk.ask(request).await {
        Ok(Answer::Text(text)) => ([(header::CONTENT_TYPE, "application/toml")], text).into_response(),
        Ok(Answer::Changed { what, warnings }) => {
            (done, Json(json!({ "changed": what, "warnings": warnings }))).into_response()
        }
        Err(refusal) => {
            let code = match refusal {
                Refusal::Missing(_) => StatusCode::NOT_FOUND,
                Refusal::Invalid(_) => StatusCode::BAD_REQUEST,
                Refusal::Conflict(_) => StatusCode::CONFLICT,
                Refusal::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            };
            problem(code, &refusal.to_string())
        }
    }
}
