//! The rules of what leat says in TCP beside passing on: in whose place it answers, by which numbers, and about whom.

use super::super::draft::DraftService;
use super::super::problem::Problems;
use super::super::value;
use super::checked;
use crate::service::{ClientAddress, Mode, ProxyVersion, SequenceNumbers, ServiceProtocol, SynProxy};

/// The kind of the option that holds a client's address, where nothing else is said: for experiments (RFC 4727), and what
/// the modules that read it expect.
const TOA_KIND: u8 = 254;

/// The least kind that may be chosen: below are those that TCP needs (RFC 9293 §3.2, RFC 7323, RFC 2018, RFC 5925).
const LEAST_TOA_KIND: u8 = 31;

/// Whether leat answers SYNs in place of the backends.
pub(super) fn syn_proxy(
    draft: &DraftService,
    mode: Mode,
    protocol: ServiceProtocol,
    problems: &Problems,
) -> Option<SynProxy> {
    let known: Vec<_> = SynProxy::ALL.iter().map(|what| (what.name(), *what)).collect();
    checked(problems, &draft.context, &draft.extras.syn_proxy, SynProxy::default(), |text| {
        let chosen = value::choice("syn_proxy", text, &known, &[])?;
        match chosen {
            SynProxy::Off => {}
            _ if protocol == ServiceProtocol::Udp => {
                return Err("syn_proxy is about TCP, and the protocol is udp; leave it out".to_owned());
            }
            _ if mode.is_one_way() => {
                return Err(format!(
                    "syn_proxy \"{}\" needs the backends' answers to pass leat, and in mode {mode} they do not; write off, or \
                     mode fullnat or nat",
                    chosen.name()
                ));
            }
            _ => {}
        }
        Ok(chosen)
    })
}

/// Whose initial sequence numbers the backends see.
pub(super) fn sequence_numbers(
    draft: &DraftService,
    mode: Mode,
    protocol: ServiceProtocol,
    problems: &Problems,
) -> Option<SequenceNumbers> {
    let known: Vec<_> = SequenceNumbers::ALL.iter().map(|what| (what.name(), *what)).collect();
    checked(problems, &draft.context, &draft.extras.sequence_numbers, SequenceNumbers::default(), |text| {
        let chosen = value::choice("sequence_numbers", text, &known, &[])?;
        belongs_to_fullnat("sequence_numbers", mode, protocol == ServiceProtocol::Udp, protocol)?;
        Ok(chosen)
    })
}

/// How the backends are told who their client is.
pub(super) fn client_address(
    draft: &DraftService,
    mode: Mode,
    protocol: ServiceProtocol,
    problems: &Problems,
) -> Option<ClientAddress> {
    let known = [
        ("none", ClientAddress::Hidden),
        ("toa", ClientAddress::Option(TOA_KIND)),
        ("proxy_v1", ClientAddress::Proxy(ProxyVersion::V1)),
        ("proxy_v2", ClientAddress::Proxy(ProxyVersion::V2)),
    ];
    let chosen = checked(problems, &draft.context, &draft.extras.client_address, ClientAddress::default(), |text| {
        let chosen = value::choice("client_address", text, &known, &[])?;
        if chosen != ClientAddress::Hidden {
            belongs_to_fullnat("client_address", mode, protocol != ServiceProtocol::Tcp, protocol)?;
        }
        Ok(chosen)
    });
    let kind = checked(problems, &draft.context, &draft.extras.toa_kind, TOA_KIND, |kind| {
        if chosen.is_some_and(|chosen| !matches!(chosen, ClientAddress::Option(_))) {
            return Err("toa_kind is for client_address \"toa\"; leave it out, or write that".to_owned());
        }
        value::in_range("toa_kind", *kind, LEAST_TOA_KIND, u8::MAX)
    });
    Some(match (chosen?, kind?) {
        (ClientAddress::Option(_), kind) => ClientAddress::Option(kind),
        (other, _) => other,
    })
}

fn belongs_to_fullnat(field: &str, mode: Mode, wrong: bool, protocol: ServiceProtocol) -> Result<(), String> {
    if wrong {
        return Err(format!("{field} is about TCP, and the protocol is {protocol}; leave it out"));
    }
    if mode != Mode::Fullnat {
        return Err(format!(
            "{field} is for mode fullnat, and in mode {mode} the backends see the client itself; leave it out"
        ));
    }
    Ok(())
}
