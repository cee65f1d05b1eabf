//! What the HTTP API answers, and what Prometheus reads.
//!
//! It only ever reads what workers have counted: no client of it can hold up a packet.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use crate::metrics::{CONTENT_TYPE, Source, Status, exposition};

/// All that the API can be asked.
pub fn api(source: Arc<Source>) -> Router {
    Router::new()
        .route("/api/v1/status", get(status))
        .route("/metrics", get(metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(read_only)
        .with_state(source)
}

/// What everybody may read who reaches the address for figures.
pub fn figures(source: Arc<Source>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .fallback(no_such_figures)
        .method_not_allowed_fallback(read_only)
        .with_state(source)
}

async fn metrics(State(source): State<Arc<Source>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], exposition(source.status()))
}

async fn no_such_figures() -> (StatusCode, Json<Problem>) {
    (StatusCode::NOT_FOUND, Json(Problem { error: "there is nothing here; try /metrics" }))
}

async fn status(State(source): State<Arc<Source>>) -> Json<Status> {
    Json(source.status())
}

/// What a request that cannot be answered gets.
#[derive(Serialize)]
struct Problem {
    error: &'static str,
}

async fn not_found() -> (StatusCode, Json<Problem>) {
    (StatusCode::NOT_FOUND, Json(Problem { error: "there is nothing here; try /api/v1/status" }))
}

async fn read_only() -> (StatusCode, Json<Problem>) {
    (StatusCode::METHOD_NOT_ALLOWED, Json(Problem { error: "this can only be read: use GET" }))
}
