//! The rates on a terminal.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table};

use super::rates::{LcoreRates, Rates, ServiceRates};
use crate::metrics::columns;

const SERVICE_HEAD: [&str; 5] = ["service / backend", "open", "new/s", "packets/s", "bits/s"];
const LCORE_HEAD: [&str; 7] = ["lcore", "load", "packets/s", "dropped/s", "cycles/packet", "connections", "of"];

/// Cells of the bar of a load.
const BAR: usize = 20;

/// Draws `rates` on the whole terminal.
pub(super) fn draw(frame: &mut Frame<'_>, rates: &Rates) {
    let lcores = rates.lcores.len() as u16 + 2;
    let drops = rates.drops.len().clamp(1, 6) as u16 + 2;
    let [title, lcore_area, drop_area, service_area] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(lcores),
        Constraint::Length(drops),
        Constraint::Fill(1),
    ])
    .areas(frame.area());
    let help = Span::styled("  q ends", Style::new().fg(Color::DarkGray));
    let first = if rates.title.is_empty() { "leat: looking …".to_owned() } else { rates.title.clone() };
    frame.render_widget(Paragraph::new(Line::from(vec![Span::styled(first, bold()), help])), title);

    let rows = rates.lcores.iter().map(|lcore| {
        let [number, load, rest @ ..] = lcore_cells(lcore);
        let full = (lcore.load * BAR as f64).round() as usize;
        let bar = format!("{}{}", "█".repeat(full), "░".repeat(BAR - full));
        let mut cells = vec![Cell::from(number), Cell::from(format!("{bar} {load:>6}")).style(heat(lcore.load))];
        cells.extend(rest.map(right));
        Row::new(cells)
    });
    let widths = [5, BAR as u16 + 7, 12, 12, 14, 12, 12].map(Constraint::Length);
    frame.render_widget(Table::new(rows, widths).header(head(&LCORE_HEAD, 2)), lcore_area);

    let mut lines = vec![Line::styled("dropped/s", Style::new().add_modifier(Modifier::UNDERLINED))];
    lines.extend(
        rates.drops.iter().take(6).map(|(reason, rate)| Line::from(format!("{:>12}  {reason}", number(*rate)))),
    );
    if rates.drops.is_empty() {
        lines.push(Line::from("        none"));
    }
    frame.render_widget(Paragraph::new(lines), drop_area);

    let rows = rates.services.iter().map(|service| {
        let [name, rest @ ..] = service_cells(service);
        let style = match service {
            ServiceRates { is_down: true, .. } => Style::new().fg(Color::Red),
            ServiceRates { is_backend: true, .. } => Style::new(),
            _ => bold(),
        };
        let mut cells = vec![Cell::from(name)];
        cells.extend(rest.map(right));
        Row::new(cells).style(style)
    });
    let widths = [Constraint::Fill(1)].into_iter().chain([10, 12, 12, 12].map(Constraint::Length));
    frame.render_widget(Table::new(rows, widths).header(head(&SERVICE_HEAD, 1)), service_area);
}

/// The same as lines of text.
pub(super) fn text(rates: &Rates) -> String {
    let lcores = columns(&LCORE_HEAD, 0, rates.lcores.iter().map(|lcore| lcore_cells(lcore).into()));
    let drops = rates.drops.iter().map(|(reason, rate)| vec![reason.clone(), number(*rate)]);
    let drops = columns(&["reason", "dropped/s"], 1, drops);
    let services = columns(&SERVICE_HEAD, 1, rates.services.iter().map(|service| service_cells(service).into()));
    format!("{}\n\n{lcores}\n{drops}\n{services}", rates.title)
}

fn lcore_cells(lcore: &LcoreRates) -> [String; 7] {
    [
        lcore.lcore.to_string(),
        format!("{:.1}%", 100.0 * lcore.load),
        number(lcore.packets),
        number(lcore.dropped),
        lcore.cycles_per_packet.map_or("-".to_owned(), |cycles| format!("{cycles:.0}")),
        lcore.connections.to_string(),
        lcore.capacity.to_string(),
    ]
}

fn service_cells(service: &ServiceRates) -> [String; 5] {
    let indent = if service.is_backend { "  " } else { "" };
    let down = if service.is_down { " (down)" } else { "" };
    [
        format!("{indent}{}{down}", service.name),
        service.open.to_string(),
        number(service.opened),
        number(service.packets),
        number(service.bits),
    ]
}

/// A rate in few characters, such as 12.3M.
fn number(rate: f64) -> String {
    let units = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
    match units.iter().find(|(unit, _)| rate >= *unit) {
        Some((unit, letter)) => format!("{:.1}{letter}", rate / unit),
        None if rate == 0.0 || rate >= 10.0 => format!("{rate:.0}"),
        None => format!("{rate:.1}"),
    }
}

fn head(names: &[&str], left: usize) -> Row<'static> {
    let cells = names.iter().enumerate().map(|(at, name)| match at < left {
        true => Cell::from((*name).to_owned()),
        false => right((*name).to_owned()),
    });
    Row::new(cells.collect::<Vec<_>>()).style(Style::new().add_modifier(Modifier::UNDERLINED))
}

fn right(text: String) -> Cell<'static> {
    Cell::from(Line::from(text).right_aligned())
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn heat(load: f64) -> Style {
    Style::new().fg(match load {
        load if load < 0.6 => Color::Green,
        load if load < 0.85 => Color::Yellow,
        _ => Color::Red,
    })
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn rates() -> Rates {
        Rates {
            title: "leat 1, up for 7 s".to_owned(),
            services: vec![
                ServiceRates { name: "web (10.0.0.10:80)".to_owned(), packets: 1_234_567.0, ..ServiceRates::default() },
                ServiceRates {
                    name: "10.0.0.2:80".to_owned(),
                    is_backend: true,
                    is_down: true,
                    ..ServiceRates::default()
                },
            ],
            lcores: vec![LcoreRates { lcore: 1, load: 0.5, ..LcoreRates::default() }],
            drops: vec![("stray_reply".to_owned(), 2.5)],
        }
    }

    fn drawn(width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, &rates())).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn everything_stands_on_a_terminal_of_the_usual_size() {
        let screen = drawn(100, 24);
        for expected in
            ["web (10.0.0.10:80)", "1.2M", "10.0.0.2:80 (down)", "██████████░░░░░░░░░░  50.0%", "2.5  stray_reply"]
        {
            assert!(screen.contains(expected), "{expected}: {screen}");
        }
    }

    #[test]
    fn a_tiny_terminal_is_no_reason_to_fall_over() {
        for (width, height) in [(1, 1), (10, 3), (300, 2)] {
            drawn(width, height);
        }
    }

    #[test]
    fn as_text_it_says_the_same() {
        let text = text(&rates());
        assert!(text.contains("stray_reply") && text.contains("1.2M") && text.contains("50.0%"), "{text}");
    }

    #[test]
    fn rates_are_short() {
        let shown = [0.0, 0.25, 12.0, 999.0, 1500.0, 2_000_000.0, 3.1e9].map(number);
        assert_eq!(shown, ["0", "0.2", "12", "999", "1.5k", "2.0M", "3.1G"]);
    }
}
