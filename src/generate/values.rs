//! Single values of the command line: text in, a value that cannot be wrong out, or a sentence that says what would be right.

use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::order::Order;
use super::plan::Protocol;
use super::sizes::Sizes;
use crate::config::value;
use crate::flow::Endpoint;

/// A time that is more than none.
pub(super) fn time(name: &str, text: &Option<String>) -> Result<Option<Duration>, String> {
    given(name, text, |text| match value::short_duration("time", text)? {
        Duration::ZERO => Err("it is no time at all; write 1ms or more".to_owned()),
        time => Ok(time),
    })
}

/// The value of an option, or a complaint that begins with the option as it was written.
pub(super) fn given<T>(
    name: &str,
    text: &Option<String>,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    let Some(text) = text else { return Ok(None) };
    read(text).map(Some).map_err(|complaint| format!("{name} {text}: {complaint}"))
}

/// `[PROTO:]ADDR:PORT`.
pub(super) fn service(text: &str) -> Result<(Protocol, IpAddr, u16), String> {
    let (protocol, rest) = match text.split_once(':') {
        Some((word, rest))
            if word.starts_with(|first: char| first.is_ascii_alphabetic())
                && word.bytes().all(|byte| byte.is_ascii_alphanumeric())
                && (rest.contains('.') || rest.starts_with('[')) =>
        {
            let known = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];
            (value::choice("protocol", word, &known, &[])?, rest)
        }
        _ => (Protocol::Tcp, text),
    };
    let (address, port) = value::endpoint(rest)?;
    let address = value::host("vip", address)?;
    let port = port.ok_or_else(|| format!("the port is missing; write {}", Endpoint(address, 8080)))?;
    Ok((protocol, address, value::port(port)?))
}

/// The clients that are there when nothing is said: the addresses that are set aside for measurements (RFC 2544 §C.2.2,
/// RFC 5180 §8).
pub(super) fn default_clients(vip: IpAddr) -> IpNet {
    match vip {
        IpAddr::V4(_) => Ipv4Net::new_assert([198, 18, 0, 0].into(), 15).into(),
        IpAddr::V6(_) => Ipv6Net::new_assert([0x2001, 2, 0, 0, 0, 0, 0, 0].into(), 48).into(),
    }
}

/// The prefix of clients of a service at `vip`.
pub(super) fn clients(text: &str, vip: IpAddr) -> Result<IpNet, String> {
    let prefix = value::network("clients", text)?;
    of_family("clients", prefix.addr(), vip, &default_clients(vip).to_string())?;
    // Its first host shows whether there can be any.
    if let IpNet::V6(prefix) = prefix {
        let first = prefix.addr().to_bits() | u128::from(prefix.prefix_len() < 127);
        value::host("clients", &Ipv6Addr::from_bits(first).to_string())?;
    }
    Ok(prefix)
}

/// The next hop towards `vip`.
pub(super) fn gateway(text: &str, vip: IpAddr) -> Result<IpAddr, String> {
    let address = value::next_hop("gateway", text)?;
    of_family("gateway", address, vip, if vip.is_ipv6() { "fe80::1" } else { "10.0.0.1" })?;
    Ok(address)
}

/// Refuses an address that is of the other version than the service's.
fn of_family(field: &str, address: IpAddr, vip: IpAddr, example: &str) -> Result<(), String> {
    if address.is_ipv6() == vip.is_ipv6() {
        return Ok(());
    }
    let name = |address: IpAddr| if address.is_ipv6() { "IPv6" } else { "IPv4" };
    Err(format!(
        "{field} {address} is of {}, and the service {vip} is of {}; write one of that, such as {example}",
        name(address),
        name(vip)
    ))
}

/// `FIRST-LAST`.
pub(super) fn ports(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let read = |text| value::port(value::number("port", text)?);
    let (first, last) = (read(first)?, read(last)?);
    if first > last {
        return Err(format!("the first port is behind the last one; write {last}-{first}"));
    }
    Ok((first, last))
}

/// `sequential`, `random`, `zipf` or `zipf=S`.
pub(super) fn order(text: &str) -> Result<Order, String> {
    if let Some(exponent) = text.strip_prefix("zipf=") {
        return decimal("exponent", exponent, 0.01, 10.0).map(Order::Zipf);
    }
    let known = [("sequential", Order::Sequential), ("random", Order::Random), ("zipf", Order::Zipf(1.0))];
    value::choice("order", text, &known, &[])
}

/// `imix`, or sizes in `range` with weights.
pub(super) fn sizes(text: &str, range: &RangeInclusive<u16>) -> Result<Sizes, String> {
    if text == "imix" {
        return Sizes::new(&Sizes::imix(range), range).map_err(|error| error.to_string());
    }
    let mix = text.split(',').map(|part| {
        let (size, weight) = part.split_once('*').unwrap_or((part, "1"));
        Ok((whole("size", size, 0, u64::MAX)?, whole("weight", weight, 0, u64::MAX)?))
    });
    Sizes::new(&mix.collect::<Result<Vec<_>, String>>()?, range).map_err(|error| error.to_string())
}

/// A whole number in digits.
pub(super) fn whole(field: &str, text: &str, low: u64, high: u64) -> Result<u64, String> {
    value::in_range(field, value::number(field, text)?, low, high)
}

/// A number with a point or without.
pub(super) fn decimal(field: &str, text: &str, low: f64, high: f64) -> Result<f64, String> {
    let is_written_so = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'-');
    match text.parse::<f64>() {
        Ok(number) if is_written_so && (low..=high).contains(&number) => Ok(number),
        Ok(_) if is_written_so => Err(format!("{field} {text} is out of range; write {low} to {high}")),
        _ => Err(format!("{field} {text:?} is not a number; write digits, such as 2 or 0.5")),
    }
}

/// A number with `k`, `M` or `G` behind it, or without.
pub(super) fn amount(field: &str, text: &str, low: f64, high: f64) -> Result<f64, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'k') => (&text[..text.len() - 1], 1e3),
        Some(b'M') => (&text[..text.len() - 1], 1e6),
        Some(b'G') => (&text[..text.len() - 1], 1e9),
        _ => (text, 1.0),
    };
    let number = decimal(field, digits, f64::MIN, f64::MAX)
        .map_err(|_| format!("{field} {text:?} is not a number; write digits, with k or M behind them: 500k, 1.5M"))?;
    let number = number * unit;
    if !(low..=high).contains(&number) {
        return Err(format!("{field} {text} is out of range; write {low} to {high}"));
    }
    Ok(number)
}
