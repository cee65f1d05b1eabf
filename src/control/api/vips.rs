//! The VIPs, announced and withdrawn.

use std::collections::BTreeMap;
use std::net::IpAddr;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Changed, Office, Problem, ask, problem};
use crate::control::Request;

/// One VIP.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VipView {
    vip: String,
    /// Whether leat answers for it.
    announced: bool,
    /// The names of its services.
    services: Vec<String>,
}

/// The VIPs, and whether leat answers for them.
#[utoipa::path(get, path = "/api/v1/vips", operation_id = "vips", responses((status = 200, body = Vec<VipView>)))]
pub(super) async fn list(State(office): State<Office>) -> Json<Vec<VipView>> {
    let snapshot = office.source.current.load();
    let mut vips: BTreeMap<IpAddr, Vec<String>> = BTreeMap::new();
    for (_, service) in snapshot.services() {
        vips.entry(service.vip).or_default().push(service.name.clone());
    }
    let view = |(vip, services): (IpAddr, Vec<String>)| VipView {
        vip: vip.to_string(),
        announced: !snapshot.is_silent(vip),
        services,
    };
    Json(vips.into_iter().map(view).collect())
}

/// Answers for a VIP, and tells the link so.
#[utoipa::path(
    post,
    path = "/api/v1/vips/{vip}/announce",
    params(("vip" = String, Path)),
    responses((status = 200, body = Changed), (status = 400, body = Problem), (status = 404, body = Problem)),
)]
pub(super) async fn announce(State(office): State<Office>, Path(vip): Path<String>) -> Response {
    set(&office, Some(&vip), true).await
}

/// Leaves a VIP to somebody else.
#[utoipa::path(
    post,
    path = "/api/v1/vips/{vip}/withdraw",
    params(("vip" = String, Path)),
    responses((status = 200, body = Changed), (status = 400, body = Problem), (status = 404, body = Problem)),
)]
pub(super) async fn withdraw(State(office): State<Office>, Path(vip): Path<String>) -> Response {
    set(&office, Some(&vip), false).await
}

/// Answers for all VIPs.
#[utoipa::path(
    post,
    path = "/api/v1/vips/announce",
    responses((status = 200, body = Changed), (status = 400, body = Problem), (status = 404, body = Problem)),
)]
pub(super) async fn announce_all(State(office): State<Office>) -> Response {
    set(&office, None, true).await
}

/// Leaves all VIPs to somebody else.
#[utoipa::path(
    post,
    path = "/api/v1/vips/withdraw",
    responses((status = 200, body = Changed), (status = 400, body = Problem), (status = 404, body = Problem)),
)]
pub(super) async fn withdraw_all(State(office): State<Office>) -> Response {
    set(&office, None, false).await
}

async fn set(office: &Office, vip: Option<&str>, announced: bool) -> Response {
    let vip = match vip.map(str::parse).transpose() {
        Ok(vip) => vip,
        Err(_) => return problem(StatusCode::BAD_REQUEST, "write a VIP as 10.0.0.10"),
    };
    ask(office, Request::SetAnnounced { vip, announced }, StatusCode::OK).await
}
