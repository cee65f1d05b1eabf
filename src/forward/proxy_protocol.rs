//! The header of the PROXY protocol: before the first byte of a client's data, the backend reads who the client is
//! (Willy Tarreau, "The PROXY protocol, versions 1 & 2", 2020).

use std::io::Write as _;
use std::net::IpAddr;

use crate::flow::FlowKey;
use crate::service::ProxyVersion;

/// The longest header: version 1 has at most 107 bytes.
pub const LONGEST_PROXY_HEADER: usize = 108;

/// What version 2 begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, a connection of another's.
const PROXY: u8 = 0x21;
/// TCP over IPv4, and over IPv6.
const TCP_IPV4: u8 = 0x11;
const TCP_IPV6: u8 = 0x21;
/// Both addresses and ports of IPv4, and of IPv6.
const ADDRESSES_LEN: u16 = 12;
const ADDRESSES_LEN_IPV6: u16 = 36;

/// Writes the header for the client's connection `original`, and returns its length.
pub fn proxy_header(version: ProxyVersion, original: &FlowKey, into: &mut [u8; LONGEST_PROXY_HEADER]) -> usize {
    let FlowKey { src, dst, src_port, dst_port, .. } = original;
    let mut rest = &mut into[..];
    // What is written fits.
    let _ = match version {
        ProxyVersion::V1 => {
            let family = if src.is_ipv4() { 4 } else { 6 };
            write!(rest, "PROXY TCP{family} {src} {dst} {src_port} {dst_port}\r\n")
        }
        ProxyVersion::V2 => rest
            .write_all(&SIGNATURE)
            .and_then(|()| match (src, dst) {
                (IpAddr::V4(src), IpAddr::V4(dst)) => rest
                    .write_all(&[PROXY, TCP_IPV4])
                    .and_then(|()| rest.write_all(&ADDRESSES_LEN.to_be_bytes()))
                    .and_then(|()| rest.write_all([src.octets(), dst.octets()].as_flattened())),
                (src, dst) => rest
                    .write_all(&[PROXY, TCP_IPV6])
                    .and_then(|()| rest.write_all(&ADDRESSES_LEN_IPV6.to_be_bytes()))
                    .and_then(|()| rest.write_all([octets(*src), octets(*dst)].as_flattened())),
            })
            .and_then(|()| rest.write_all(&src_port.to_be_bytes()))
            .and_then(|()| rest.write_all(&dst_port.to_be_bytes())),
    };
    let left = rest.len();
    LONGEST_PROXY_HEADER - left
}

const fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Protocol;

    fn written(version: ProxyVersion, last: u8, port: u16) -> Vec<u8> {
        let original = FlowKey {
            src: [last; 4].into(),
            dst: [last; 4].into(),
            src_port: port,
            dst_port: port,
            protocol: Protocol::Tcp,
        };
        let mut header = [0xff; LONGEST_PROXY_HEADER];
        let len = proxy_header(version, &original, &mut header);
        header[..len].to_vec()
    }

    #[test]
    fn version_1_is_a_line_of_text() {
        assert_eq!(written(ProxyVersion::V1, 1, 9), b"PROXY TCP4 1.1.1.1 1.1.1.1 9 9\r\n");
        let longest = b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n";
        assert_eq!(written(ProxyVersion::V1, 255, 65535), longest);
    }

    #[test]
    fn version_2_is_28_bytes() {
        let expected = [
            0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, 0x21, 0x11, 0, 12, 7, 7, 7, 7, 7,
            7, 7, 7, 0x12, 0x34, 0x12, 0x34,
        ];
        assert_eq!(written(ProxyVersion::V2, 7, 0x1234), expected);
    }
}
