//! Values of directives: words in, numbers and times out, or a failure that names the line and the keyword.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::super::note::Place;
use super::tree::Directive;
use crate::config::{Failure, value};

/// Times are numbers of seconds; more than this is none that anybody means.
const LONGEST: f64 = 1e9;

impl Directive {
    /// Its keyword and values, as the input has them.
    pub(super) fn shown(&self) -> String {
        self.words.join(" ")
    }

    /// The first value.
    pub(super) fn value(&self) -> Result<&str, Failure> {
        self.values()
            .first()
            .map(String::as_str)
            .ok_or_else(|| self.place.failure(format_args!("{} has no value; write one after it", self.keyword())))
    }

    /// The first value as a whole number.
    pub(super) fn number<T>(&self, low: T, high: T) -> Result<T, Failure>
    where
        T: TryFrom<i128> + PartialOrd + std::fmt::Display,
    {
        number(&self.place, self.keyword(), self.value()?, low, high)
    }

    /// The first value as a number of seconds, which may have a fraction.
    pub(super) fn time(&self) -> Result<Duration, Failure> {
        let text = self.value()?;
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        match text.parse::<f64>() {
            Ok(seconds) if is_plain && seconds <= LONGEST => Ok(Duration::from_secs_f64(seconds)),
            _ => Err(self.place.failure(format_args!(
                "{} {text:?} is not a number of seconds; write digits, as in 3 or 2.5",
                self.keyword()
            ))),
        }
    }

    /// Whether it is switched on; a keyword alone is.
    pub(super) fn is_on(&self) -> Result<bool, Failure> {
        match self.values().first().map(String::as_str) {
            None | Some("true" | "on" | "yes") => Ok(true),
            Some("false" | "off" | "no") => Ok(false),
            Some(other) => Err(self
                .place
                .failure(format_args!("{} {other:?} is neither on nor off; write true or false", self.keyword()))),
        }
    }
}

/// A whole number.
pub(super) fn number<T>(place: &Place, field: &str, text: &str, low: T, high: T) -> Result<T, Failure>
where
    T: TryFrom<i128> + PartialOrd + std::fmt::Display,
{
    value::number(field, text)
        .and_then(|given| value::in_range(field, given, low, high))
        .map_err(|reason| place.failure(reason))
}

/// A port that may be left out: 0 is none.
pub(super) fn port(directive: &Directive, text: Option<&String>) -> Result<u16, Failure> {
    text.map_or(Ok(0), |text| number(&directive.place, "port", text, 0, u16::MAX))
}

/// An IP address, or why it is none that leat can have.
pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| {
        if text.split('%').next().is_some_and(|text| text.parse::<Ipv6Addr>().is_ok()) {
            format!("{text:?} has a zone, which means something on one machine only")
        } else {
            format!("{text:?} is not an IP address, and names are not looked up")
        }
    })
}
