//! The command line.

use std::net::IpAddr;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use ipnet::IpNet;

use super::mss;
use crate::config::value;
use crate::wire::ip;

/// IANA's port of GUE.
const GUE_PORT: u16 = 6080;

/// The smallest MSS that Linux works with, and the largest that an IPv4 packet has room for.
const MSS: std::ops::RangeInclusive<i64> = mss::LEAST as i64..=65_495;

/// The longest name of an interface (IFNAMSIZ, without the closing NUL).
const LONGEST_NAME: usize = 15;

/// leat-agent's options. The texts are the help.
#[derive(Debug, Parser)]
#[command(
    name = "leat-agent",
    version = concat!(env!("CARGO_PKG_VERSION"), " (", env!("LEAT_REVISION"), ")"),
    about = "leat-agent, for the backends of leat's modes ipip and gue: takes packets out of the tunnel and gives them to this host",
    after_help = "Without --ipip and --gue it receives both. SIGUSR1 prints what was counted, and so does the end.",
    max_term_width = 110
)]
pub struct Options {
    /// A virtual address of IPv4 or IPv6 to receive for, repeatable; it is put on the device, and no host on the network
    /// hears of it by ARP or neighbour discovery
    #[arg(long, value_name = "ADDR", required = true, value_parser = vip)]
    vip: Vec<IpAddr>,

    /// Receive IP in IP, over IPv4 and IPv6 (protocol 4, and 41 for a VIP of IPv6)
    #[arg(long)]
    ipip: bool,

    /// Receive GUE on this UDP port, over IPv4 and IPv6 (default 6080)
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "6080",
          value_parser = clap::value_parser!(u16).range(1..))]
    gue: Option<u16>,

    /// Take tunnel packets from these addresses only, repeatable (default: from anyone): leat's own addresses
    #[arg(long, value_name = "ADDR[/LEN]", value_parser = network)]
    from: Vec<IpNet>,

    /// Take tunnel packets that come in by this interface only (default: by any)
    #[arg(long, value_name = "NAME", value_parser = interface)]
    interface: Option<String>,

    /// The TUN device that is made, with the VIPs on it
    #[arg(long, value_name = "NAME", default_value = "leat0", value_parser = interface)]
    device: String,

    /// Have clients of the VIPs send at most so many bytes in a segment, and those of IPv6 20 fewer, so that the tunnel's
    /// headers fit too: with an MTU of 1500, 1440 for ipip and 1428 for gue; 20 less where tunnels are over IPv6
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(MSS))]
    mss: Option<u16>,
}

/// A whole, valid instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Addresses to receive for, each once, at least one.
    pub vips: Vec<IpAddr>,
    /// Whether to receive IP in IP.
    pub ipip: bool,
    /// The UDP port to receive GUE on.
    pub gue: Option<u16>,
    /// Who may send tunnel packets; anyone when it is empty.
    pub from: Vec<IpNet>,
    /// By which interface they may come in.
    pub interface: Option<String>,
    /// Name of the TUN device.
    pub device: String,
    /// The largest MSS to announce to clients of IPv4.
    pub mss: Option<u16>,
}

impl Settings {
    /// The UDP port that counts as a tunnel in inner packets, whether GUE is received or not.
    pub fn gue_port(&self) -> u16 {
        self.gue.unwrap_or(GUE_PORT)
    }
}

impl Options {
    /// Checks what no single option can know.
    ///
    /// # Errors
    /// What is wrong, for [`clap::Error::exit`].
    pub fn settings(self) -> Result<Settings, clap::Error> {
        let Self { vip: vips, ipip, gue, from, interface, device, mss } = self;
        if let Some(twice) = vips.iter().enumerate().find_map(|(at, vip)| vips[..at].contains(vip).then_some(vip)) {
            let message = format!("--vip {twice} is given twice; name each address once");
            return Err(Self::command().error(ErrorKind::ArgumentConflict, message));
        }
        if interface.as_deref() == Some(&device) {
            let message = format!(
                "--interface {device} is the device that leat-agent makes; name the one that tunnel packets come in by"
            );
            return Err(Self::command().error(ErrorKind::ArgumentConflict, message));
        }
        let both = !ipip && gue.is_none();
        Ok(Settings {
            vips,
            ipip: ipip || both,
            gue: if both { Some(GUE_PORT) } else { gue },
            from,
            interface,
            device,
            mss,
        })
    }
}

fn vip(text: &str) -> Result<IpAddr, String> {
    value::host("the VIP", text)
}

fn network(text: &str) -> Result<IpNet, String> {
    const FIELD: &str = "the source";
    if !text.contains('/') {
        return value::host(FIELD, text).map(Into::into);
    }
    let network = value::network(FIELD, text)?;
    if ip::is_link_local(network.network()) {
        return Err(format!(
            "{FIELD} {network} has link-local addresses, which mean other hosts on each link; write global ones"
        ));
    }
    Ok(network)
}

/// A name that the kernel takes, and that is not one of the folders beside the interfaces' in /proc/sys.
fn interface(name: &str) -> Result<String, String> {
    if name.is_empty() || name.len() > LONGEST_NAME {
        return Err(format!("an interface's name has 1 to {LONGEST_NAME} bytes"));
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        return Err("write letters, digits, '.', '_' and '-'".to_owned());
    }
    if [".", "..", "all", "default"].contains(&name) {
        return Err("no interface can have this name".to_owned());
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(arguments: &str) -> Settings {
        Options::try_parse_from(["leat-agent"].into_iter().chain(arguments.split_whitespace()))
            .unwrap()
            .settings()
            .unwrap()
    }

    #[test]
    fn both_tunnels_are_received_unless_one_is_named() {
        for (arguments, ipip, gue) in [
            ("", true, Some(6080)),
            ("--ipip", true, None),
            ("--gue", false, Some(6080)),
            ("--gue 7000", false, Some(7000)),
            ("--gue --ipip", true, Some(6080)),
        ] {
            let settings = settings(&format!("--vip 20.0.0.1 {arguments}"));
            assert_eq!((settings.ipip, settings.gue), (ipip, gue), "{arguments}");
        }
    }

    #[test]
    fn everything_that_can_be_set() {
        let all = "--vip 20.0.0.1 --vip 2001:db8::10 --from 10.0.0.254 --from 10.1.0.0/16 --from 2001:db8::fe \
                   --from 2001:db8:1::/48 --interface eth0.7 --device l-0 --mss 1428";
        let from = ["10.0.0.254/32", "10.1.0.0/16", "2001:db8::fe/128", "2001:db8:1::/48"];
        assert_eq!(
            settings(all),
            Settings {
                vips: vec![[20, 0, 0, 1].into(), "2001:db8::10".parse().unwrap()],
                ipip: true,
                gue: Some(6080),
                from: from.map(|net| net.parse().unwrap()).into(),
                interface: Some("eth0.7".to_owned()),
                device: "l-0".to_owned(),
                mss: Some(1428),
            }
        );
        assert_eq!(settings("--vip 20.0.0.1").device, "leat0");
    }
}
