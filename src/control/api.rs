//! What the HTTP API answers, and what Prometheus reads.
//!
//! It reads what workers have counted, and leaves what is to be changed at the control thread's [`Desk`]: no client of it can
//! hold up a packet. `docs/API.md` is its reference.

mod connections;
mod terms;
mod vips;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request as HttpRequest, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, Desk, Edit, Inquirer, Refusal, Request, Token};
use crate::config::file::MAX_SIZE;
use crate::flow::endpoint;
use crate::metrics::{
    BackendStatus, CONTENT_TYPE, NeighborStatus, PortStatus, ServiceStatus, Source, Status, WorkerStatus, exposition,
};

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
    let (router, _) = described().split_for_parts();
    router
        .route("/api/v1/openapi.json", get(async || Json(openapi())))
        .route("/metrics", get(async |State(office): State<Office>| exposed(&office.source)))
        .route("/", get(page))
        .fallback(async || problem(StatusCode::NOT_FOUND, "there is nothing here; docs/API.md says what there is"))
        .method_not_allowed_fallback(not_so)
        .layer(DefaultBodyLimit::max(MAX_SIZE))
        .layer(middleware::from_fn(in_time))
        .layer(middleware::from_fn_with_state(guard, allowed))
        .with_state(Office { source, desk, inquirer })
}

/// All that is described, each with its handler.
fn described() -> OpenApiRouter<Office> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(status))
        .routes(routes!(ports))
        .routes(routes!(lcores))
        .routes(routes!(neighbors))
        .routes(routes!(drops))
        .routes(routes!(connections::list, connections::end))
        .routes(routes!(connections::explain))
        .routes(routes!(watch::trace))
        .routes(routes!(watch::capture))
        .routes(routes!(vips::list))
        .routes(routes!(vips::announce_all))
        .routes(routes!(vips::withdraw_all))
        .routes(routes!(vips::announce))
        .routes(routes!(vips::withdraw))
        .routes(routes!(services, add_service))
        .routes(routes!(service, remove_service))
        .routes(routes!(backends, add_backend))
        .routes(routes!(backend, change_backend, remove_backend))
        .routes(routes!(drain))
        .routes(routes!(enable))
        .routes(routes!(show_config, apply_config))
        .routes(routes!(check_config))
        .routes(routes!(reload))
}

/// What the API can be asked, in OpenAPI 3.1.
pub fn openapi() -> utoipa::openapi::OpenApi {
    described().into_openapi()
}

/// The head of that.
#[derive(OpenApi)]
#[openapi(info(
    title = "leat",
    description = "What a running leat can be asked. Over TCP with a token, each request shows it: Authorization: Bearer TOKEN."
))]
struct Description;

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
#[derive(Serialize, ToSchema)]
struct Problem {
    /// What is wrong, in words.
    error: String,
}

/// What a change is answered with.
#[derive(Serialize, ToSchema)]
struct Changed {
    /// What has changed, in words.
    changed: String,
    /// What is legal and yet likely not meant.
    warnings: Vec<String>,
}

fn problem(code: StatusCode, error: &str) -> Response {
    (code, Json(Problem { error: error.to_owned() })).into_response()
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

/// Everything that is counted, at one moment.
#[utoipa::path(get, path = "/api/v1/status", responses((status = 200, body = Status)))]
async fn status(State(office): State<Office>) -> Json<Status> {
    Json(office.source.status())
}

/// The ports.
#[utoipa::path(get, path = "/api/v1/ports", responses((status = 200, body = Vec<PortStatus>)))]
async fn ports(State(office): State<Office>) -> Json<Vec<PortStatus>> {
    Json(office.source.status().ports)
}

/// The workers.
#[utoipa::path(get, path = "/api/v1/lcores", responses((status = 200, body = Vec<WorkerStatus>)))]
async fn lcores(State(office): State<Office>) -> Json<Vec<WorkerStatus>> {
    Json(office.source.status().workers)
}

/// The next hops.
#[utoipa::path(get, path = "/api/v1/neighbors", responses((status = 200, body = Vec<NeighborStatus>)))]
async fn neighbors(State(office): State<Office>) -> Json<Vec<NeighborStatus>> {
    Json(office.source.status().neighbors)
}

/// Dropped packets by reason, over all lcores.
#[utoipa::path(get, path = "/api/v1/drops", responses((status = 200, body = BTreeMap<String, u64>)))]
async fn drops(State(office): State<Office>) -> Json<BTreeMap<&'static str, u64>> {
    Json(office.source.status().drops())
}

/// The services, with their backends.
#[utoipa::path(get, path = "/api/v1/services", responses((status = 200, body = Vec<ServiceStatus>)))]
async fn services(State(office): State<Office>) -> Json<Vec<ServiceStatus>> {
    Json(office.source.status().services)
}

/// One service.
#[utoipa::path(
    get,
    path = "/api/v1/services/{service}",
    params(("service" = String, Path)),
    responses((status = 200, body = ServiceStatus), (status = 404, body = Problem)),
)]
async fn service(State(office): State<Office>, Path(name): Path<String>) -> Response {
    match find_service(&office, &name) {
        Ok(service) => Json(service).into_response(),
        Err(refused) => refused,
    }
}

/// A service's backends.
#[utoipa::path(
    get,
    path = "/api/v1/services/{service}/backends",
    params(("service" = String, Path)),
    responses((status = 200, body = Vec<BackendStatus>), (status = 404, body = Problem)),
)]
async fn backends(State(office): State<Office>, Path(name): Path<String>) -> Response {
    match find_service(&office, &name) {
        Ok(service) => Json(service.backends).into_response(),
        Err(refused) => refused,
    }
}

/// One backend; BACKEND is ADDR or ADDR:PORT.
#[utoipa::path(
    get,
    path = "/api/v1/services/{service}/backends/{backend}",
    params(("service" = String, Path), ("backend" = String, Path, description = "ADDR or ADDR:PORT")),
    responses((status = 200, body = BackendStatus), (status = 404, body = Problem)),
)]
async fn backend(State(office): State<Office>, Path((name, backend)): Path<(String, String)>) -> Response {
    let service = match find_service(&office, &name) {
        Ok(service) => service,
        Err(refused) => return refused,
    };
    let is_it = |it: &BackendStatus| it.address == backend || endpoint(&it.address, it.port) == backend;
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

/// Adds a service: the keys of the file's `[[service]]`, its backends as a list `backend`.
#[utoipa::path(
    post,
    path = "/api/v1/services",
    request_body = Object,
    responses((status = 201, body = Changed), (status = 400, body = Problem), (status = 409, body = Problem)),
)]
async fn add_service(State(office): State<Office>, body: Bytes) -> Response {
    match read(&body) {
        Ok(keys) => change(&office, Edit::AddService { keys }, StatusCode::CREATED).await,
        Err(refused) => refused,
    }
}

/// Removes a service; its connections go on until they end.
#[utoipa::path(
    delete,
    path = "/api/v1/services/{service}",
    params(("service" = String, Path)),
    responses((status = 200, body = Changed), (status = 404, body = Problem)),
)]
async fn remove_service(State(office): State<Office>, Path(service): Path<String>) -> Response {
    change(&office, Edit::RemoveService { service }, StatusCode::OK).await
}

/// Adds a backend: the keys of the file's `[[service.backend]]`.
#[utoipa::path(
    post,
    path = "/api/v1/services/{service}/backends",
    params(("service" = String, Path)),
    request_body = Object,
    responses((status = 201, body = Changed), (status = 400, body = Problem), (status = 404, body = Problem)),
)]
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
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BackendChange {
    /// Its share of new connections; 0 gets none.
    weight: u16,
}

/// Changes a backend's weight.
#[utoipa::path(
    patch,
    path = "/api/v1/services/{service}/backends/{backend}",
    params(("service" = String, Path), ("backend" = String, Path, description = "ADDR or ADDR:PORT")),
    request_body = BackendChange,
    responses(
        (status = 200, body = Changed),
        (status = 400, body = Problem),
        (status = 404, body = Problem),
        (status = 409, body = Problem),
    ),
)]
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

/// Removes a backend; its connections go on until they end.
#[utoipa::path(
    delete,
    path = "/api/v1/services/{service}/backends/{backend}",
    params(("service" = String, Path), ("backend" = String, Path, description = "ADDR or ADDR:PORT")),
    responses((status = 200, body = Changed), (status = 404, body = Problem), (status = 409, body = Problem)),
)]
async fn remove_backend(State(office): State<Office>, Path((service, backend)): Path<(String, String)>) -> Response {
    change(&office, Edit::RemoveBackend { service, backend }, StatusCode::OK).await
}

/// No new connections for a backend.
#[utoipa::path(
    post,
    path = "/api/v1/services/{service}/backends/{backend}/drain",
    params(("service" = String, Path), ("backend" = String, Path, description = "ADDR or ADDR:PORT")),
    responses((status = 200, body = Changed), (status = 404, body = Problem), (status = 409, body = Problem)),
)]
async fn drain(State(office): State<Office>, Path((service, backend)): Path<(String, String)>) -> Response {
    change(&office, Edit::Drain { service, backend }, StatusCode::OK).await
}

/// New connections again for a backend that was drained.
#[utoipa::path(
    post,
    path = "/api/v1/services/{service}/backends/{backend}/enable",
    params(("service" = String, Path), ("backend" = String, Path, description = "ADDR or ADDR:PORT")),
    responses((status = 200, body = Changed), (status = 404, body = Problem), (status = 409, body = Problem)),
)]
async fn enable(State(office): State<Office>, Path((service, backend)): Path<(String, String)>) -> Response {
    change(&office, Edit::Enable { service, backend }, StatusCode::OK).await
}

/// The configuration that runs, as a file.
#[utoipa::path(
    get,
    path = "/api/v1/config",
    responses((status = 200, body = String, content_type = "application/toml")),
)]
async fn show_config(State(office): State<Office>) -> Response {
    ask(&office, Request::Show, StatusCode::OK).await
}

/// Has a file run.
#[utoipa::path(
    put,
    path = "/api/v1/config",
    request_body(content = String, content_type = "application/toml"),
    responses((status = 200, body = Changed), (status = 400, body = Problem), (status = 409, body = Problem)),
)]
async fn apply_config(State(office): State<Office>, body: Bytes) -> Response {
    ask(&office, Request::Apply(body.into()), StatusCode::OK).await
}

/// What a file would change.
#[utoipa::path(
    post,
    path = "/api/v1/config/check",
    request_body(content = String, content_type = "application/toml"),
    responses((status = 200, body = Changed), (status = 400, body = Problem), (status = 409, body = Problem)),
)]
async fn check_config(State(office): State<Office>, body: Bytes) -> Response {
    ask(&office, Request::Check(body.into()), StatusCode::OK).await
}

/// Reads the file again that leat was started with.
#[utoipa::path(
    post,
    path = "/api/v1/reload",
    responses((status = 200, body = Changed), (status = 400, body = Problem), (status = 409, body = Problem)),
)]
async fn reload(State(office): State<Office>) -> Response {
    ask(&office, Request::Reload, StatusCode::OK).await
}

async fn change(office: &Office, edit: Edit, done: StatusCode) -> Response {
    ask(office, Request::Edit(edit), done).await
}

async fn ask(office: &Office, request: Request, done: StatusCode) -> Response {
    match office.desk.ask(request).await {
        Ok(Answer::Text(text)) => ([(header::CONTENT_TYPE, "application/toml")], text).into_response(),
        Ok(Answer::Changed { what, warnings }) => (done, Json(Changed { changed: what, warnings })).into_response(),
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
