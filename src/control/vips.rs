//! Which VIPs leat answers for. One that is withdrawn is another's for now: so two instances can be a pair.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use crate::config::Config;

/// The VIPs that are withdrawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vips {
    withdrawn: BTreeSet<IpAddr>,
}

impl Vips {
    /// As `config` has it at the start: all or none.
    pub fn at_start(config: &Config) -> Self {
        Self { withdrawn: if config.standby { vips(config) } else { BTreeSet::new() } }
    }

    /// After the configuration has become `after`. A VIP that was there stays as it is; one that is new is as the others are:
    /// withdrawn if all of them are.
    #[must_use]
    pub fn after_reload(&self, before: &Config, after: &Config) -> Self {
        let (old, new) = (vips(before), vips(after));
        let is_standby = if old.is_empty() { after.standby } else { old.is_subset(&self.withdrawn) };
        let stays = |vip: &&IpAddr| if old.contains(vip) { self.withdrawn.contains(vip) } else { is_standby };
        Self { withdrawn: new.iter().filter(stays).copied().collect() }
    }

    /// With `vip`, or all of `config` if there is none, announced or withdrawn; nothing if there is no such VIP.
    pub fn with(&self, config: &Config, vip: Option<IpAddr>, is_announced: bool) -> Option<Self> {
        let all = vips(config);
        let meant = match vip {
            None => all,
            Some(vip) => BTreeSet::from([all.get(&vip).copied()?]),
        };
        let withdrawn = match is_announced {
            true => self.withdrawn.difference(&meant).copied().collect(),
            false => self.withdrawn.union(&meant).copied().collect(),
        };
        Some(Self { withdrawn })
    }

    /// The addresses that leat keeps silent about: the VIPs that are withdrawn, and the local addresses of services that have
    /// no other. Own addresses are not among them.
    pub fn silent(&self, config: &Config) -> HashSet<IpAddr> {
        let (mut silent, mut used) = (HashSet::new(), HashSet::new());
        for service in &config.services {
            let addresses = service.local_addresses.iter().copied().chain([service.vip]);
            if self.withdrawn.contains(&service.vip) {
                silent.extend(addresses);
            } else {
                used.extend(addresses);
            }
        }
        let interfaces = config.interfaces.iter().flat_map(|interface| &interface.addresses);
        used.extend(interfaces.chain(&config.addresses).map(|own| own.addr()));
        silent.retain(|address| !used.contains(address));
        silent
    }
}

/// All VIPs.
fn vips(config: &Config) -> BTreeSet<IpAddr> {
    config.services.iter().map(|service| service.vip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file;
    use crate::wire::ip::Octets as _;

    fn config(standby: bool, services: &[(u8, u8)]) -> Config {
        let services: Vec<_> = services
            .iter()
            .map(|(vip, local)| {
                format!("[[service]]\nvip = \"10.0.0.{vip}\"\nport = 80\nlocal_addresses = [\"10.0.0.{local}\"]\n")
            })
            .collect();
        let text = format!("standby = {standby}\n{}", services.concat());
        file::load("x", text.as_bytes()).unwrap_or_else(|error| panic!("{error}")).config
    }

    fn silent(vips: &Vips, config: &Config) -> Vec<u8> {
        let mut last: Vec<u8> = vips.silent(config).iter().map(|address| address.octets()[3]).collect();
        last.sort_unstable();
        last
    }

    #[test]
    fn a_standby_keeps_silent_until_it_is_told_to_speak() {
        let two = config(true, &[(10, 20), (11, 20)]);
        let standby = Vips::at_start(&two);
        assert_eq!(silent(&standby, &two), [10, 11, 20]);
        let one = standby.with(&two, Some([10, 0, 0, 10].into()), true).unwrap();
        assert_eq!(silent(&one, &two), [11], "the local address is in use again");
        assert_eq!(silent(&one.with(&two, None, true).unwrap(), &two), [0; 0]);
        assert_eq!(one.with(&two, Some([10, 0, 0, 20].into()), true), None, "no VIP");
        assert_eq!(silent(&Vips::at_start(&config(false, &[(10, 10)])), &two), [0; 0]);
    }

    #[test]
    fn a_reload_changes_nothing_about_vips_that_stay_and_new_ones_do_as_the_others_do() {
        let (before, after) = (config(true, &[(10, 10)]), config(true, &[(10, 10), (11, 11)]));
        let standby = Vips::at_start(&before);
        assert_eq!(silent(&standby.after_reload(&before, &after), &after), [10, 11]);
        let active = standby.with(&before, None, true).unwrap();
        assert_eq!(silent(&active.after_reload(&before, &after), &after), [0; 0]);
        let gone = config(false, &[]);
        assert_eq!(silent(&standby.after_reload(&before, &gone), &gone), [0; 0]);
        assert_eq!(silent(&standby.after_reload(&before, &gone).after_reload(&gone, &before), &before), [10]);
    }
}
