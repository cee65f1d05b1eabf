//! What stands behind the `?` of a question about connections or packets.
//!
//! The structs are for the description alone: the terms are read by [`Filter`], which knows what is wrong with them.

use axum::extract::Query;
use axum::http::StatusCode;
use axum::response::Response;
use utoipa::IntoParams;

use super::{Office, problem};
use crate::id::ServiceId;
use crate::inquiry::Filter;

/// The terms, as they come.
pub(super) type Terms = Query<Vec<(String, String)>>;

/// Terms about a flow.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "a description")]
pub(super) struct FlowTerms {
    /// tcp, udp or icmp
    protocol: Option<String>,
    /// ADDR, ADDR/LEN, ADDR:PORT or ADDR/LEN:PORT
    client: Option<String>,
    /// As client
    vip: Option<String>,
    /// As client
    backend: Option<String>,
    /// As client, for any side
    host: Option<String>,
    /// Its name
    service: Option<String>,
}

/// A term about connections.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "a description")]
pub(super) struct ConnectionTerms {
    /// Such as established
    state: Option<String>,
}

/// Terms about packets.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "a description")]
pub(super) struct PacketTerms {
    /// Only dropped ones: any, or a reason
    drop: Option<String>,
    /// So many, and no more
    count: Option<u64>,
    /// For so long, such as 30s
    time: Option<String>,
}

/// The filter that `terms` make.
#[expect(clippy::result_large_err, reason = "the answer is sent at once")]
pub(super) fn filter<'a>(terms: impl IntoIterator<Item = &'a (String, String)>) -> Result<Filter, Response> {
    let mut filter = Filter::default();
    let read = terms.into_iter().try_for_each(|(term, value)| filter.add(term, value));
    read.map(|()| filter).map_err(|error| problem(StatusCode::BAD_REQUEST, &error.to_string()))
}

/// The number of the service that `filter` names, if it names one. There must be such a service.
#[expect(clippy::result_large_err, reason = "the answer is sent at once")]
pub(super) fn service(office: &Office, filter: &Filter) -> Result<Option<ServiceId>, Response> {
    let Some(name) = &filter.service else { return Ok(None) };
    let snapshot = office.source.current.load();
    let found = snapshot.services().find(|(_, service)| service.name == *name);
    let missing = || problem(StatusCode::NOT_FOUND, &format!("there is no service {name:?}"));
    found.map(|(id, _)| Some(id)).ok_or_else(missing)
}
