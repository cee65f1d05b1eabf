//! The ways to forward a packet, and the settings of those that have any.

use std::fmt;

/// How packets are forwarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Both addresses and ports are rewritten in both directions: a backend sees a local address of leat's as its
    /// client, and needs no configuration.
    #[default]
    Fullnat,
    /// The destination is rewritten and the client's address stays: a backend's way to its clients leads through leat.
    Nat,
    /// Only the Ethernet destination changes (direct server return): a backend is on the same link and holds the VIP.
    Dr,
    /// The packet whole inside an IPv4 packet to the backend (RFC 2003). A backend unpacks it and holds the VIP.
    Ipip,
    /// As `Ipip`, inside UDP (Generic UDP Encapsulation, draft-ietf-intarea-gue).
    Gue,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 5] = [Self::Fullnat, Self::Nat, Self::Dr, Self::Ipip, Self::Gue];

    /// Its name in the configuration and wherever it is shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fullnat => "fullnat",
            Self::Nat => "nat",
            Self::Dr => "dr",
            Self::Ipip => "ipip",
            Self::Gue => "gue",
        }
    }

    /// Whether replies do not pass leat: it sees the client's half of a connection only.
    pub const fn is_one_way(self) -> bool {
        !self.translates()
    }

    /// Whether packets travel inside others.
    pub const fn is_tunnel(self) -> bool {
        matches!(self, Self::Ipip | Self::Gue)
    }

    /// Whether addresses are rewritten, on the way to the backend and back.
    pub const fn translates(self) -> bool {
        matches!(self, Self::Fullnat | Self::Nat)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What packets travel inside, in the modes in which they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tunnel {
    /// An IPv4 header (RFC 2003).
    Ipip,
    /// An IPv4 and a UDP header, and in version 0 one of GUE's.
    Gue(Gue),
}

impl Tunnel {
    /// How many bytes of headers there are between the outer IP header and the packet inside.
    pub const fn between(self) -> u16 {
        const UDP: u16 = 8;
        match self {
            Self::Ipip => 0,
            Self::Gue(gue) => UDP + gue.version.header_len(),
        }
    }
}

/// The settings of mode `gue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gue {
    /// The UDP port that backends listen on, in host byte order; not 0.
    pub port: u16,
    /// What stands between the UDP header and the packet.
    pub version: GueVersion,
    /// Whether the outer UDP header has a checksum; without one it is 0 (RFC 768).
    pub checksum: bool,
}

impl Default for Gue {
    /// Port 6080, which IANA has assigned to GUE; version 0; no checksum.
    fn default() -> Self {
        Self { port: 6080, version: GueVersion::default(), checksum: false }
    }
}

/// The version of Generic UDP Encapsulation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GueVersion {
    /// A header of 4 bytes, then the packet.
    #[default]
    V0,
    /// The bare packet, right after the UDP header.
    V1,
}

impl GueVersion {
    /// The number that the configuration and the wire know it by.
    pub const fn number(self) -> u8 {
        match self {
            Self::V0 => 0,
            Self::V1 => 1,
        }
    }

    /// Bytes of GUE's own header.
    pub const fn header_len(self) -> u16 {
        match self {
            Self::V0 => 4,
            Self::V1 => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_is_of_one_kind() {
        let kinds = Mode::ALL.map(|mode| (mode.name(), mode.translates(), mode.is_one_way(), mode.is_tunnel()));
        assert_eq!(
            kinds,
            [
                ("fullnat", true, false, false),
                ("nat", true, false, false),
                ("dr", false, true, false),
                ("ipip", false, true, true),
                ("gue", false, true, true),
            ]
        );
    }

    #[test]
    fn a_tunnel_costs_its_headers() {
        assert_eq!(Tunnel::Ipip.between(), 0);
        assert_eq!(Tunnel::Gue(Gue::default()).between(), 12);
        assert_eq!(Tunnel::Gue(Gue { version: GueVersion::V1, ..Gue::default() }).between(), 8);
    }
}
