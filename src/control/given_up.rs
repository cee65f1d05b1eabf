//! Addresses of leat's that somebody else has (RFC 4862): the first worker finds out, and the control side takes them out of use.

use std::collections::HashSet;
use std::net::IpAddr;

use super::Line;
use super::ways::GivenUp;
use crate::config::Config;
use crate::service::Snapshot;

/// What has been found out since `snapshot` was made.
pub(super) fn found(snapshot: &Snapshot) -> GivenUp {
    let all = snapshot.announced().iter();
    all.filter_map(|announced| Some((announced.announcement().address, announced.holder()?))).collect()
}

/// Those of `given_up` that are in `config`: what was taken out of the file and comes back to it later is tried again.
pub(super) fn still_there(given_up: &GivenUp, config: &Config) -> GivenUp {
    let interfaces = config.interfaces.iter().flat_map(|interface| &interface.addresses);
    let own = interfaces.chain(&config.addresses).map(|own| own.addr());
    let local = config.services.iter().flat_map(|service| &service.local_addresses).copied();
    let all: HashSet<IpAddr> = own.chain(local).collect();
    given_up.iter().filter(|(address, _)| all.contains(*address)).map(|(address, hop)| (*address, *hop)).collect()
}

/// What the log says of those in `now` that are new.
pub(super) fn news(now: &GivenUp, before: &GivenUp) -> impl Iterator<Item = Line> {
    now.iter().filter(|(address, _)| !before.contains_key(*address)).map(|(address, hop)| Line {
        level: log::Level::Warn,
        text: format!(
            "{address}: the station at {} on port {} has this address already: leat does not use it (RFC 4862). Give one of \
             the two another, and start leat again",
            hop.mac, hop.port.0
        ),
    })
}
