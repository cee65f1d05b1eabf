//! The names under which the fields of [`Timeouts`] stand in a file.

use std::time::Duration;

use crate::conntrack::Timeouts;

/// Every timeout with its key, which is its field's name. Taking the struct apart makes a new field an error here.
pub(super) fn fields(timeouts: &mut Timeouts) -> [(&'static str, &mut Duration); 10] {
    let Timeouts {
        tcp_syn_sent,
        tcp_syn_received,
        tcp_established,
        tcp_closing,
        tcp_time_wait,
        tcp_reset,
        udp_unreplied,
        udp,
        udp_answered,
        icmp,
    } = timeouts;
    [
        ("tcp_syn_sent", tcp_syn_sent),
        ("tcp_syn_received", tcp_syn_received),
        ("tcp_established", tcp_established),
        ("tcp_closing", tcp_closing),
        ("tcp_time_wait", tcp_time_wait),
        ("tcp_reset", tcp_reset),
        ("udp_unreplied", udp_unreplied),
        ("udp", udp),
        ("udp_answered", udp_answered),
        ("icmp", icmp),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::{file, value};
    use super::*;

    #[test]
    fn the_reference_and_the_example_have_the_defaults_of_the_code() {
        let reference = include_str!("../../docs/CONFIGURATION.md");
        for (name, default) in fields(&mut Timeouts::default()) {
            let row = format!("| `{name}` | `{}` |", value::show_duration(*default));
            assert!(reference.contains(&row), "{row}");
        }
        let example = file::load("example", include_bytes!("../../docs/leat.example.toml")).unwrap();
        assert_eq!(example.config.timeouts, Timeouts::default());
    }

    #[test]
    fn each_key_sets_its_own_field() {
        let text: String = fields(&mut Timeouts::default())
            .iter()
            .enumerate()
            .map(|(index, (name, _))| format!("{name} = \"{}s\"\n", index + 1))
            .collect();
        let loaded = file::load("f", format!("[timeouts]\n{text}").as_bytes()).unwrap();
        let Timeouts { tcp_syn_sent, tcp_syn_received, tcp_established, tcp_closing, .. } = loaded.config.timeouts;
        let Timeouts { tcp_time_wait, tcp_reset, udp_unreplied, udp, udp_answered, icmp, .. } = loaded.config.timeouts;
        let read = [
            tcp_syn_sent,
            tcp_syn_received,
            tcp_established,
            tcp_closing,
            tcp_time_wait,
            tcp_reset,
            udp_unreplied,
            udp,
            udp_answered,
            icmp,
        ];
        assert_eq!(read.map(|time| time.as_secs()), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    }
}
