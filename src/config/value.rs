//! Single values: text or a number in, a type that cannot be wrong out, or a sentence that says what would be right.
//!
//! The sentences do not say where the value stands; who asks knows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{ApiAddress, MacSetting};
use crate::wire::MacAddr;

/// The longest timeout or persistence.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * DAY);

/// The longest name of a service.
const LONGEST_NAME: usize = 64;

/// The longest path that fits in `sockaddr_un` with its closing NUL (unix(7)).
const LONGEST_SOCKET_PATH: usize = 107;

/// The length of the prefix that makes an IPv6 address of one of IPv4 (RFC 4291 §2.5.5.2).
const MAPPED: u8 = 96;

const DAY: u64 = 24 * 60 * 60;

/// An address that one host can have, and be reached at through routers: neither a group's, nor everybody's, nor this machine's
/// inside.
pub(crate) fn host(field: &str, text: &str) -> Result<IpAddr, String> {
    let address = address(field, text)?;
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Err(format!(
            "{field} {address} is a link-local address, which means another host on each link; write a global one"
        )),
        _ => one_host(field, address),
    }
}

/// The address of a router on the link.
pub(crate) fn next_hop(field: &str, text: &str) -> Result<IpAddr, String> {
    one_host(field, address(field, text)?)
}

fn one_host(field: &str, address: IpAddr) -> Result<IpAddr, String> {
    let kind = match address {
        _ if address.is_unspecified() => "the unspecified address",
        _ if address.is_loopback() => "a loopback address, which never leaves a machine",
        _ if address.is_multicast() => "a multicast address",
        IpAddr::V4(v4) if v4.octets()[0] == 0 => "in 0.0.0.0/8, which no host has",
        IpAddr::V4(v4) if v4.is_broadcast() => "the broadcast address",
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => {
                return Err(format!("{field} {address} is an IPv4 address written in IPv6's way; write {v4}"));
            }
            None => return Ok(address),
        },
        IpAddr::V4(_) => return Ok(address),
    };
    Err(format!("{field} {address} is {kind}; write the address of one host"))
}

/// All addresses of the family of `hop`.
pub(crate) const fn everywhere(hop: IpAddr) -> IpNet {
    match hop {
        IpAddr::V4(_) => IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)),
        IpAddr::V6(_) => IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)),
    }
}

/// The usual length of the prefix of one link.
const fn usual_length(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 24,
        IpAddr::V6(_) => 64,
    }
}

/// An own address with the length of its prefix, such as 10.0.0.254/24 or 2001:db8::fe/64.
pub(crate) fn host_prefix(field: &str, text: &str) -> Result<IpNet, String> {
    let Some((address, length)) = text.split_once('/') else {
        let address = host(field, text)?;
        let usual = usual_length(address);
        return Err(format!("{field} {address} has no prefix length; write it as {address}/{usual}"));
    };
    let address = host(field, address)?;
    let prefix = prefix(field, address, length)?;
    // In the last two lengths every address is a host's (RFC 3021, RFC 6164).
    if prefix.prefix_len() + 1 < prefix.max_prefix_len() && address == prefix.network() {
        return Err(format!("{field} {prefix} is the address of the network itself; write a host's address in it"));
    }
    if is_broadcast(&prefix, address) {
        return Err(format!("{field} {prefix} is the broadcast address of its network; write a host's address in it"));
    }
    Ok(prefix)
}

/// Whether `address` is the one that means everybody in `prefix`. In IPv6 there is none.
pub(super) fn is_broadcast(prefix: &IpNet, address: IpAddr) -> bool {
    matches!(prefix, IpNet::V4(prefix) if prefix.prefix_len() < 31 && address == prefix.broadcast())
}

/// The destination of a route, such as 192.0.2.0/24 or 2001:db8:1::/48.
pub(crate) fn network(field: &str, text: &str) -> Result<IpNet, String> {
    let Some((network, length)) = text.split_once('/') else {
        let address = address(field, text)?;
        let whole = IpNet::from(address);
        return Err(format!("{field} {address} has no prefix length; write {whole} for this one host"));
    };
    let prefix = prefix(field, address(field, network)?, length)?;
    if prefix.trunc() != prefix {
        return Err(format!("{field} {prefix} has bits set beyond its prefix; write {}", prefix.trunc()));
    }
    if let IpNet::V6(v6) = prefix
        && let Some(v4) = v6.network().to_ipv4_mapped()
        && let Some(net) = v6.prefix_len().checked_sub(MAPPED).and_then(|length| Ipv4Net::new(v4, length).ok())
    {
        return Err(format!("{field} {prefix} has IPv4 addresses written in IPv6's way; write {net}"));
    }
    Ok(prefix)
}

fn prefix(field: &str, address: IpAddr, length: &str) -> Result<IpNet, String> {
    let digits = !length.is_empty() && length.len() <= 3 && length.bytes().all(|byte| byte.is_ascii_digit());
    let length: Option<u8> = if digits { length.parse().ok() } else { None };
    length.and_then(|length| IpNet::new(address, length).ok()).ok_or_else(|| {
        let (longest, usual) = (IpNet::from(address).max_prefix_len(), usual_length(address));
        format!("{field} has a prefix length that is not 0 to {longest}; write it as {address}/{usual}")
    })
}

fn address(field: &str, text: &str) -> Result<IpAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Some(inside) = text.strip_prefix('[').and_then(|text| text.split_once(']')).map(|(inside, _)| inside)
        && inside.parse::<Ipv6Addr>().is_ok()
    {
        return Err(format!("{field} {text:?} has brackets or a port, which do not belong here; write {inside}"));
    }
    if let Some((address, _)) = text.split_once('%')
        && address.trim_start_matches('[').parse::<Ipv6Addr>().is_ok()
    {
        return Err(format!(
            "{field} {text:?} has a zone, which means something on one machine only; write the address without it"
        ));
    }
    let begins_well = |separator| text.split_once(separator).is_some_and(|(a, _)| a.parse::<IpAddr>().is_ok());
    if begins_well(':') {
        return Err(format!("{field} {text:?} has a port, which does not belong here; write the address only"));
    }
    if begins_well('/') {
        return Err(format!(
            "{field} {text:?} has a prefix length, which does not belong here; write the address only"
        ));
    }
    let letters = |byte: u8| byte.is_ascii_alphabetic() && !text.contains(':');
    let names = if text.bytes().any(letters) { ", and names are not looked up" } else { "" };
    Err(format!("{field} {text:?} is not an IP address{names}; write it as 10.0.0.1 or 2001:db8::1"))
}

/// Takes `ADDR[:PORT]` apart, without looking at the address. One of IPv6 stands in brackets, or alone.
pub(crate) fn endpoint(text: &str) -> Result<(&str, Option<i128>), String> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok((text, None));
    }
    if let Some((inside, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        return match rest.strip_prefix(':') {
            _ if rest.is_empty() => Ok((inside, None)),
            Some(port) => Ok((inside, Some(number("port", port)?))),
            // The complaint about the whole is the one that helps.
            None => Ok((text, None)),
        };
    }
    // More than one colon is an attempt at IPv6, and its last part no port.
    match text.split_once(':') {
        Some((address, port)) if !port.contains(':') => Ok((address, Some(number("port", port)?))),
        _ => Ok((text, None)),
    }
}

/// A whole number written in decimal digits.
pub(crate) fn number(field: &str, text: &str) -> Result<i128, String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{field} {text:?} is not a whole number; write digits only"));
    }
    // What does not fit is out of every range, and the range's message is the better one.
    Ok(text.parse().unwrap_or(if text.starts_with('-') { i128::MIN } else { i128::MAX }))
}

/// A number from `low` to `high`.
pub(crate) fn in_range<T>(field: &str, given: i128, low: T, high: T) -> Result<T, String>
where
    T: TryFrom<i128> + PartialOrd + std::fmt::Display,
{
    match T::try_from(given) {
        Ok(number) if number >= low && number <= high => Ok(number),
        // Such a number was longer than i128 and is not what was written.
        _ if given == i128::MAX || given == i128::MIN => Err(format!("{field} is out of range; write {low} to {high}")),
        _ => Err(format!("{field} {given} is out of range; write {low} to {high}")),
    }
}

/// A name that a service may have.
pub(crate) fn service_name(text: &str) -> Result<(), String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-[]".contains(&byte);
    if (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(legal) {
        return Ok(());
    }
    Err(format!(
        "name {text:?} cannot be used; write 1 to {LONGEST_NAME} letters, digits, '.', '_', ':', '-' or brackets"
    ))
}

/// A port of TCP or UDP.
pub(crate) fn port(given: i128) -> Result<u16, String> {
    in_range("port", given, 1, u16::MAX)
}

/// A time such as `90s`, `5m`, `2h4m` or `1d`.
pub(crate) fn duration(field: &str, text: &str) -> Result<Duration, String> {
    let malformed = || {
        let bare = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let example = if bare { format!("\"{text}s\" for seconds") } else { "it as 90s, 5m, 2h4m or 1d".to_owned() };
        format!("{field} {text:?} is not a time; write {example}")
    };
    let mut rest = text;
    let mut seconds: u64 = 0;
    let mut units = [('d', DAY), ('h', 60 * 60), ('m', 60), ('s', 1)].into_iter();
    while !rest.is_empty() {
        let length = rest.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(malformed)?;
        let (digits, after) = rest.split_at(length);
        let letter = after.chars().next().ok_or_else(malformed)?;
        // Units come from large to small and each once: the search goes on where the last one ended.
        let (_, unit) = units.find(|(name, _)| *name == letter).ok_or_else(malformed)?;
        if digits.is_empty() {
            return Err(malformed());
        }
        let amount = digits.parse().unwrap_or(u64::MAX);
        seconds = seconds.saturating_add(unit.saturating_mul(amount));
        rest = &after[1..];
    }
    if text.is_empty() {
        return Err(malformed());
    }
    match Duration::from_secs(seconds) {
        Duration::ZERO => Err(format!("{field} {text:?} is no time at all; write 1s or more")),
        long if long > LONGEST => Err(format!("{field} {text:?} is longer than 365 days; write less")),
        duration => Ok(duration),
    }
}

/// A time such as [`duration`] reads, or one of milliseconds only, such as `500ms`.
pub(crate) fn short_duration(field: &str, text: &str) -> Result<Duration, String> {
    match text.strip_suffix("ms") {
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok(Duration::from_millis(digits.parse().unwrap_or(u64::MAX)))
        }
        _ => duration(field, text),
    }
}

/// A time in the form that [`duration`] or [`short_duration`] reads. What is less than a millisecond is left out.
pub(crate) fn show_duration(duration: Duration) -> String {
    if duration.subsec_millis() != 0 {
        return format!("{}ms", duration.as_millis());
    }
    let mut rest = duration.as_secs();
    let mut text = String::new();
    for (name, unit) in [('d', DAY), ('h', 60 * 60), ('m', 60), ('s', 1)] {
        if rest >= unit {
            text.push_str(&format!("{}{name}", rest / unit));
            rest %= unit;
        }
    }
    text
}

/// `auto` or the Ethernet address of one station.
pub(super) fn mac_setting(text: &str) -> Result<MacSetting, String> {
    match text {
        "auto" => Ok(MacSetting::Auto),
        _ => station(text).map(MacSetting::Fixed),
    }
}

/// The Ethernet address of one station.
pub(crate) fn station(text: &str) -> Result<MacAddr, String> {
    let mac: MacAddr = text.parse().map_err(|error| format!("mac {text:?} is {error}"))?;
    if !mac.is_unicast() {
        let kind = if mac == MacAddr::default() { "all zeros" } else { "a group address" };
        return Err(format!("mac {mac} is {kind}; write one station's address, such as 02:00:00:00:00:01"));
    }
    Ok(mac)
}

/// `unix:PATH` or `IP:PORT`.
pub(crate) fn api(text: &str) -> Result<ApiAddress, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return match path.len() {
            0 => Err("api \"unix:\" has no path; write it as unix:/run/leat/leat.sock".to_owned()),
            _ if path.contains('\0') => Err("api has a NUL in its path; write a path without".to_owned()),
            1..=LONGEST_SOCKET_PATH => Ok(ApiAddress::Unix(PathBuf::from(path))),
            long => Err(format!(
                "api has a path of {long} bytes, and a Unix socket takes {LONGEST_SOCKET_PATH}; write a shorter one"
            )),
        };
    }
    let Ok(address) = text.parse::<SocketAddr>() else {
        let advice = if text.starts_with(['/', '.']) {
            format!("unix:{text}")
        } else {
            "unix:PATH or IP:PORT, such as unix:/run/leat/leat.sock or 127.0.0.1:9406".to_owned()
        };
        return Err(format!("api {text:?} is not an address; write {advice}"));
    };
    if address.port() == 0 {
        return Err(format!("api {address} has port 0; write 1 to 65535"));
    }
    Ok(ApiAddress::Tcp(address))
}

/// Refuses an address that others reach when nobody has to show a token there.
pub(super) fn guarded(api: &ApiAddress, has_token: bool) -> Result<(), String> {
    match api {
        ApiAddress::Tcp(address) if !address.ip().is_loopback() && !has_token => Err(format!(
            "api {address}: others reach this address, so a token is needed; write api_token_file = \"/etc/leat/token\" in \
             the file, or api on 127.0.0.1:{} or unix:PATH",
            address.port()
        )),
        _ => Ok(()),
    }
}

/// The name of a user.
pub(crate) fn user(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(['\0', ':', '/']) {
        return Err(format!("user {text:?} is no user's name; write one of /etc/passwd, such as leat"));
    }
    Ok(text.to_owned())
}

/// The path of a file with a token.
pub(super) fn token_file(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() || text.contains('\0') {
        return Err("api_token_file has no path; write it as /etc/leat/token".to_owned());
    }
    Ok(PathBuf::from(text))
}

/// `IP:PORT`, on which figures may be read.
pub(super) fn metrics(text: &str) -> Result<SocketAddr, String> {
    let address = text
        .parse::<SocketAddr>()
        .map_err(|_| format!("metrics {text:?} is not an address; write IP:PORT, such as 127.0.0.1:9405"))?;
    match address.port() {
        0 => Err(format!("metrics {address} has port 0; write 1 to 65535")),
        _ => Ok(address),
    }
}

/// One of a few words. Those in `later` belong to later versions and are refused by name.
pub(crate) fn choice<T: Copy>(field: &str, text: &str, known: &[(&str, T)], later: &[&str]) -> Result<T, String> {
    if let Some((_, value)) = known.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let names = || known.iter().map(|(name, _)| *name);
    if later.contains(&text) {
        let are = if known.len() == 1 { "is" } else { "are" };
        return Err(format!("{field} {text:?} is not in this version; {} {are}", list(names(), "and")));
    }
    let guess = nearest(text, names()).map_or_else(String::new, |name| format!("did you mean {name}? "));
    Err(format!("{field} {text:?} is unknown; {guess}write {}", list(names(), "or")))
}

/// The name that was most likely meant, if any is close.
pub(super) fn nearest<'n>(text: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let lower = text.to_lowercase();
    names
        .map(|name| (strsim::damerau_levenshtein(&lower, name), name))
        .filter(|(distance, name)| *distance <= name.len() / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// `a, b and c`.
pub(super) fn list<'n>(names: impl Iterator<Item = &'n str>, word: &str) -> String {
    let names: Vec<&str> = names.collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} {word} {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        for (text, seconds) in
            [("90s", 90), ("5m", 300), ("2h4m", 7440), ("1d", 86_400), ("1d2h3m4s", 93_784), ("090s", 90)]
        {
            assert_eq!(duration("t", text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn times_that_are_none_are_refused() {
        for text in ["", "90", "s", "1.5h", "5 m", "4m2h", "1s1s", "-5s", "5ms", "5µ", "0s", "0h0m", "366d", "9e9s"] {
            assert!(duration("t", text).is_err(), "{text}");
        }
        assert!(duration("t", "99999999999999999999999d").unwrap_err().contains("365 days"));
        assert!(duration("t", "90").unwrap_err().contains("\"90s\""));
    }

    #[test]
    fn a_time_is_shown_as_it_can_be_read_back() {
        for text in ["1s", "1m30s", "2h4m", "365d", "1d1h1m1s"] {
            assert_eq!(show_duration(duration("t", text).unwrap()), text);
        }
        for text in ["500ms", "1500ms", "3s"] {
            assert_eq!(show_duration(short_duration("t", text).unwrap()), text);
        }
    }

    #[test]
    fn milliseconds_stand_alone() {
        for text in ["ms", "-5ms", "1s500ms", "1.5ms", "5 ms"] {
            assert!(short_duration("t", text).unwrap_err().contains("is not a time"), "{text}");
        }
        assert!(short_duration("t", "99999999999999999999999ms").unwrap() > LONGEST);
    }

    #[test]
    fn own_addresses_keep_their_host_bits_and_routes_have_none() {
        assert_eq!(host_prefix("a", "10.0.0.254/24").unwrap().to_string(), "10.0.0.254/24");
        assert_eq!(host_prefix("a", "10.0.0.0/31").unwrap().to_string(), "10.0.0.0/31");
        assert!(host_prefix("a", "10.0.0.0/24").unwrap_err().contains("network itself"));
        assert!(host_prefix("a", "10.0.0.255/24").unwrap_err().contains("broadcast"));
        assert!(host_prefix("a", "10.0.0.1/33").unwrap_err().contains("0 to 32"));
        assert!(host_prefix("a", "10.0.0.1/+8").unwrap_err().contains("0 to 32"));
        assert_eq!(network("to", "0.0.0.0/0").unwrap().to_string(), "0.0.0.0/0");
        assert!(network("to", "192.0.2.1/24").unwrap_err().contains("write 192.0.2.0/24"));
    }

    #[test]
    fn a_socket_path_may_be_107_bytes_long() {
        assert!(api(&format!("unix:/{}", "x".repeat(106))).is_ok());
        assert!(api(&format!("unix:/{}", "x".repeat(107))).unwrap_err().contains("108 bytes"));
    }

    #[test]
    fn only_a_near_miss_is_suggested() {
        let names = ["maglev", "rr", "wrr"];
        assert_eq!(nearest("Magelv", names.into_iter()), Some("maglev"));
        assert_eq!(nearest("random", names.into_iter()), None);
    }
}
