//! What happens now, on the whole terminal: rates of services, backends and lcores, drops, load.

mod rates;
mod screen;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use super::{Client, Common, Failure};
use rates::{Rates, Sample};

/// `leatctl top`.
#[derive(Args, Debug)]
pub struct Top {
    /// Seconds between two looks
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
    /// Print it so many times, as text below each other, instead of on the whole terminal
    #[arg(long)]
    times: Option<u64>,
}

/// `leatctl top`.
pub fn top(common: &Common, wanted: &Top) -> Result<ExitCode, Failure> {
    let client = Client::new(common)?;
    let interval = Duration::from_secs(wanted.interval);
    if let Some(times) = wanted.times {
        return printed(&client, interval, times);
    }
    if !std::io::stdout().is_terminal() {
        return Err(Failure::Unusable("top needs a terminal; --times N prints it N times".to_owned()));
    }
    let mut before = look(&client)?;
    let mut terminal = ratatui::try_init().map_err(|error| Failure::Unusable(format!("the terminal: {error}")))?;
    let shown = (|| {
        let mut rates = Rates::default();
        let mut next = Instant::now() + interval;
        loop {
            terminal
                .draw(|frame| screen::draw(frame, &rates))
                .map_err(|error| Failure::Unusable(format!("the terminal: {error}")))?;
            let left = next.saturating_duration_since(Instant::now());
            if event::poll(left).unwrap_or(false) {
                match event::read() {
                    Ok(Event::Key(key)) if key.kind == KeyEventKind::Press => {
                        let is_end = matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
                            || key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
                        if is_end {
                            return Ok(ExitCode::SUCCESS);
                        }
                    }
                    Ok(_) => {}
                    Err(_) => return Ok(ExitCode::SUCCESS),
                }
            } else {
                let now = look(&client)?;
                rates = Rates::between(&before, &now);
                before = now;
                next = Instant::now() + interval;
            }
        }
    })();
    ratatui::restore();
    shown
}

/// The same as text, `times` times.
fn printed(client: &Client<'_>, interval: Duration, times: u64) -> Result<ExitCode, Failure> {
    use std::io::Write as _;
    let mut before = look(client)?;
    for _ in 0..times {
        std::thread::sleep(interval);
        let now = look(client)?;
        if writeln!(std::io::stdout(), "{}", screen::text(&Rates::between(&before, &now))).is_err() {
            // A reader that has gone away has read enough.
            break;
        }
        before = now;
    }
    Ok(ExitCode::SUCCESS)
}

fn look(client: &Client<'_>) -> Result<Sample, Failure> {
    Ok(Sample { status: client.get("/api/v1/status")?, at: Instant::now() })
}
