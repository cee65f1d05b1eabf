//! keepalived's checkers, and the probe of leat's that does most of what each does.

use std::net::IpAddr;
use std::time::Duration;

use super::super::check::{self, Check, Kind, Probe};
use super::super::found::VirtualServer;
use super::super::note::Place;
use super::tree::Directive;
use super::values;
use crate::config::{Failure, show_duration};

const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
const DEFAULT_RETRY: u32 = 1;
const DEFAULT_DNS_RETRY: u32 = 3;

/// Whether this is a checker's keyword.
pub(super) fn is_checker(word: &str) -> bool {
    word.ends_with("_CHECK") || word == "HTTP_GET" || word == "SSL_GET"
}

/// What a virtual server says for its real servers, these for their checkers, and each of these for itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    interval: Option<Duration>,
    timeout: Option<Duration>,
    retry: Option<u32>,
    delay_before_retry: Option<(Place, Duration)>,
    host: Option<String>,
}

impl Settings {
    /// Whether the directive is one of them. `whose` is the real server or checker that it stands in.
    pub(super) fn read(&mut self, one: &Directive, server: &mut VirtualServer, whose: &str) -> Result<bool, Failure> {
        let mut leave_out = |reason: &str| {
            let what = if whose.is_empty() { one.shown() } else { format!("{whose}: {}", one.shown()) };
            server.leave_out(&one.place, &what, reason);
        };
        match one.keyword() {
            "delay_loop" => self.interval = Some(one.time()?),
            "connect_timeout" => self.timeout = Some(one.time()?),
            "retry" | "nb_get_retry" => self.retry = Some(one.number(0, u32::MAX)?),
            "delay_before_retry" => self.delay_before_retry = Some((one.place.clone(), one.time()?)),
            "virtualhost" => self.host = Some(one.value()?.to_owned()),
            "warmup" => {
                one.time()?;
                leave_out("leat spreads its first probes by itself");
            }
            "alpha" if one.is_on()? => leave_out("a backend is up in leat until its first probes have failed"),
            // With false it is as leat does. A failed backend keeps its connections in leat, as with inhibit_on_failure.
            "alpha" => {}
            "inhibit_on_failure" => {
                one.is_on()?;
            }
            "log_all_failures" => {
                if one.is_on()? {
                    leave_out("leat logs when a backend goes down or up");
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// What a checker says besides [`Settings`].
#[derive(Default)]
struct Own<'d> {
    port: Option<u16>,
    urls: Vec<&'d Directive>,
}

/// The check that does most of what the checker does.
pub(super) fn read(
    directive: &Directive,
    defaults: &Settings,
    address: IpAddr,
    whose: &str,
    server: &mut VirtualServer,
) -> Result<Option<Check>, Failure> {
    let title = directive.keyword();
    let whose = format!("{whose}: {title}");
    let mut settings = defaults.clone();
    let mut own = Own::default();
    for one in &directive.block {
        if !settings.read(one, server, &whose)? {
            read_own(one, address, &whose, server, &mut own)?;
        }
    }
    let place = &directive.place;
    let is_taken = |kind: Kind, retry: u32, server: &mut VirtualServer| {
        let probe = probe(kind, retry, &settings, own.port, place, &whose, server);
        Some(Check { place: place.clone(), title: title.to_owned(), probe })
    };
    let check = match title {
        "TCP_CHECK" => is_taken(Kind::Tcp, DEFAULT_RETRY, server),
        "PING_CHECK" => is_taken(Kind::Icmp, DEFAULT_RETRY, server),
        "HTTP_GET" => match http(&own.urls, &settings, &whose, server)? {
            Some(kind) => is_taken(kind, DEFAULT_RETRY, server),
            None => {
                server.leave_out(place, &whose, "it has no url to ask for");
                None
            }
        },
        "SSL_GET" => {
            server.change(
                place,
                &whose,
                "leat's health checks do not speak TLS, so no url is asked for; type tcp sees whether the port is open",
            );
            is_taken(Kind::Tcp, DEFAULT_RETRY, server)
        }
        "SMTP_CHECK" => {
            server.change(place, &whose, "leat does not speak SMTP; type tcp sees whether the port is open");
            is_taken(Kind::Tcp, DEFAULT_RETRY, server)
        }
        "UDP_CHECK" => {
            server.change(place, &whose, "leat does not probe UDP ports; type icmp sees whether the host is there");
            is_taken(Kind::Icmp, DEFAULT_RETRY, server)
        }
        "DNS_CHECK" => {
            server.change(place, &whose, "leat does not ask for names; type icmp sees whether the host is there");
            is_taken(Kind::Icmp, DEFAULT_DNS_RETRY, server)
        }
        "MISC_CHECK" => {
            server.leave_out(place, &whose, "leat runs no scripts; types tcp, http and icmp are what it has");
            None
        }
        "FILE_CHECK" => {
            server.leave_out(place, &whose, "leat reads no files");
            None
        }
        "BFD_CHECK" => {
            server.leave_out(place, &whose, "BFD has no counterpart; type icmp sees whether the host is there");
            None
        }
        _ => {
            server.leave_out(place, &whose, "a checker that is not known here");
            None
        }
    };
    Ok(check)
}

fn read_own<'d>(
    one: &'d Directive,
    address: IpAddr,
    whose: &str,
    server: &mut VirtualServer,
    own: &mut Own<'d>,
) -> Result<(), Failure> {
    let what = format!("{whose}: {}", one.shown());
    let mut leave_out = |reason: &str| server.leave_out(&one.place, &what, reason);
    match one.keyword() {
        "connect_port" => own.port = Some(one.number(1, u16::MAX)?),
        "connect_ip" => {
            if values::address(one.value()?) != Ok(address) {
                leave_out("leat probes the backend's own address");
            }
        }
        "bindto" | "bind_if" | "bind_port" => leave_out("leat's probes leave from an own address of leat's"),
        "fwmark" => leave_out("leat's packets do not pass the host's firewall"),
        "url" => own.urls.push(one),
        "host" => smtp_host(one, address, whose, server, own)?,
        "helo_name" => {}
        "http_protocol" => leave_out("leat chooses the version of HTTP"),
        "fast_recovery" => leave_out("one url is asked for, so there is nothing to wait for"),
        "enable_sni" | "sni_name" | "tls_compliant" => leave_out("leat's health checks do not speak TLS"),
        "payload" | "require_reply" | "min_reply_length" | "max_reply_length" => {
            leave_out("leat does not probe UDP ports")
        }
        // What is left out as a whole needs no list of its parts.
        "misc_path" | "user" | "misc_dynamic" | "track_file" | "weight" | "dynamic" | "type" | "name" => {}
        "misc_timeout" => {
            one.time()?;
        }
        _ => leave_out("a keyword that is not known here"),
    }
    Ok(())
}

/// `host` of an SMTP_CHECK: another address or port to ask.
fn smtp_host(
    directive: &Directive,
    address: IpAddr,
    whose: &str,
    server: &mut VirtualServer,
    own: &mut Own<'_>,
) -> Result<(), Failure> {
    let (mut asked, mut port) = (Ok(address), None);
    for one in &directive.block {
        match one.keyword() {
            "connect_ip" => asked = values::address(one.value()?),
            "connect_port" => port = Some(one.number(1, u16::MAX)?),
            _ => {
                let what = format!("{whose}: host: {}", one.shown());
                server.leave_out(&one.place, &what, "leat's probes leave from an own address of leat's");
            }
        }
    }
    if asked == Ok(address) {
        own.port = port;
    } else {
        server.leave_out(&directive.place, &format!("{whose}: host"), "leat probes the backend's own address");
    }
    Ok(())
}

fn probe(
    kind: Kind,
    default_retry: u32,
    settings: &Settings,
    port: Option<u16>,
    place: &Place,
    whose: &str,
    server: &mut VirtualServer,
) -> Probe {
    let asked = (settings.interval.unwrap_or(DEFAULT_INTERVAL), settings.timeout.unwrap_or(DEFAULT_TIMEOUT));
    // leat counts in milliseconds.
    let whole = |time: Duration| Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let (interval, timeout, note) = check::fit(whole(asked.0), whole(asked.1));
    if let Some(note) = note {
        server.change(place, whose, note);
    }
    if let Some((place, delay)) = &settings.delay_before_retry
        && whole(*delay) != interval
    {
        let reason = format!(
            "leat probes again after its interval, {}, whether the last answer came or not",
            show_duration(interval)
        );
        server.leave_out(place, &format!("{whose}: delay_before_retry"), reason);
    }
    let tries = settings.retry.unwrap_or(default_retry).saturating_add(1);
    let fall = u8::try_from(tries).unwrap_or(u8::MAX);
    if u32::from(fall) != tries {
        server.change(place, &format!("{whose}: retry"), "255 missing answers are the most that leat counts");
    }
    Probe { kind, interval, timeout, fall, port }
}

/// What to ask for: the first of several.
fn http(
    urls: &[&Directive],
    settings: &Settings,
    whose: &str,
    server: &mut VirtualServer,
) -> Result<Option<Kind>, Failure> {
    let mut taken = None;
    for url in urls {
        let Some(path) = url.block.iter().find(|one| one.keyword() == "path") else { continue };
        if taken.is_some() {
            let what = format!("{whose}: url {}", path.value()?);
            server.leave_out(&url.place, &what, "a backend has one health check, and the first url is taken");
            continue;
        }
        taken = Some(read_url(url, path.value()?, settings, whose, server)?);
    }
    Ok(taken)
}

fn read_url(
    url: &Directive,
    path: &str,
    settings: &Settings,
    whose: &str,
    server: &mut VirtualServer,
) -> Result<Kind, Failure> {
    let mut status = None;
    let mut host = settings.host.clone();
    let mut text = None;
    let is_given = |word: &str| url.block.iter().any(|one| one.keyword() == word);
    for one in &url.block {
        let what = format!("{whose}: url {path}: {}", one.shown());
        match one.keyword() {
            "path" => {}
            "status_code" => {
                status = Some(status_code(one)?);
            }
            "virtualhost" => host = Some(one.value()?.to_owned()),
            "digest" => server.leave_out(
                &one.place,
                &what,
                "leat does not compare digests; status is looked at, and body finds a text",
            ),
            "regex" => {
                let has_options = ["regex_no_match", "regex_options", "regex_min_offset", "regex_max_offset"]
                    .into_iter()
                    .any(is_given);
                if has_options
                    || one.value()?.contains(['\\', '^', '$', '.', '|', '?', '*', '+', '(', ')', '[', ']', '{', '}'])
                {
                    server.leave_out(&one.place, &what, "body is a text, not a regular expression");
                } else {
                    text = Some(one.value()?.to_owned());
                }
            }
            "regex_no_match" | "regex_options" | "regex_min_offset" | "regex_max_offset" | "regex_stack" => {}
            "tls_compliant" => server.leave_out(&one.place, &what, "leat's health checks do not speak TLS"),
            _ => server.leave_out(&one.place, &what, "a keyword that is not known here"),
        }
    }
    // What keepalived takes where nothing is said.
    let status = status.unwrap_or_else(|| "200-299".to_owned());
    Ok(Kind::Http { path: path.to_owned(), status, host, text })
}

/// The statuses to expect, as leat writes them.
fn status_code(directive: &Directive) -> Result<String, Failure> {
    directive.value()?;
    let mut ranges = Vec::new();
    for word in directive.values() {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        let code = |text| values::number(&directive.place, "status_code", text, 100, 599_u16);
        let (first, last) = (code(first)?, code(last)?);
        ranges.push(if first == last { first.to_string() } else { format!("{first}-{last}") });
    }
    Ok(ranges.join(","))
}
