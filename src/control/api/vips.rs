//! The VIPs, announced and withdrawn.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use super::{Office, ask, problem};
use crate::control::Request;

/// One VIP.
#[derive(Debug, Serialize)]
pub(super) struct VipView {
    vip: String,
    /// Whether leat answers for it.
    announced: bool,
    /// The names of its services.
    services: Vec<String>,
}

pub(super) async fn list(State(office): State<Office>) -> Json<Vec<VipView>> {
    let snapshot = office.source.current.load();
    let mut vips: BTreeMap<Ipv4Addr, Vec<String>> = BTreeMap::new();
    for (_, service) in snapshot.services() {
        vips.entry(service.vip).or_default().push(service.name.clone());
    }
    let view = |(vip, services): (Ipv4Addr, Vec<String>)| VipView {
        vip: vip.to_string(),
        announced: !snapshot.is_silent(vip),
        services,
    };
    Json(vips.into_iter().map(view).collect())
}

pub(super) async fn announce(State(office): State<Office>, Path(vip): Path<String>) -> Response {
    set(&office, Some(&vip), true).await
}

pub(super) async fn withdraw(State(office): State<Office>, Path(vip): Path<String>) -> Response {
    set(&office, Some(&vip), false).await
}

pub(super) async fn announce_all(State(office): State<Office>) -> Response {
    set(&office, None, true).await
}

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
