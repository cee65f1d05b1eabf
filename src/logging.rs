//! The log of all programs: one line an event on standard error, `RUST_LOG` to choose them.
//!
//! `LEAT_LOG_FORMAT=json` makes each line a JSON object with `time` (RFC 3339), `level` and `message`. What DPDK prints at the
//! start is DPDK's own, and stays text.

use std::io::Write as _;

use serde_json::json;

/// The environment variable that chooses the form of lines.
const FORMAT: &str = "LEAT_LOG_FORMAT";

/// Begins to log. To be called once, first of all.
///
/// # Errors
///
/// A sentence about what `LEAT_LOG_FORMAT` says, if leat knows no such form.
pub fn init() -> Result<(), String> {
    let mut builder = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"));
    match std::env::var(FORMAT).as_deref() {
        Err(_) | Ok("text" | "") => {
            builder.format_target(false);
        }
        Ok("json") => {
            builder.format(|line, record| {
                let time = line.timestamp_millis().to_string();
                let level = record.level().as_str().to_ascii_lowercase();
                writeln!(line, "{}", json!({ "time": time, "level": level, "message": record.args().to_string() }))
            });
        }
        Ok(other) => return Err(format!("{FORMAT}={other}: there is no such form of the log; write text or json")),
    }
    builder.init();
    Ok(())
}
