//! What neighbour discovery says of a neighbour, and what is believed of it (RFC 4861 §7.2.3, §7.2.5).
//!
//! The RFC's states are not stored. A neighbour whose [`Hop`] is unknown is INCOMPLETE. One that has answered the last
//! question is REACHABLE, until it is asked for again. STALE is one that is to be asked for soon: leat has packets for its next hops
//! all the time, so it waits no longer than the RFC's DELAY does.

use std::sync::Arc;
use std::time::Duration;

use super::{Hop, Neighbor, Resolver};
use crate::id::PortId;
use crate::time::Instant;
use crate::wire::MacAddr;

/// How long a neighbour that is STALE is believed without a question (RFC 4861 §10: DELAY_FIRST_PROBE_TIME).
const DELAY: Duration = Duration::from_secs(5);

/// What a message says of the neighbour that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// Its Ethernet address, if the message says it.
    pub link: Option<MacAddr>,
    /// Flag S: it answers a question of leat's, so it can be reached.
    pub is_solicited: bool,
    /// Flag O: what was known before is replaced.
    pub overrides: bool,
}

impl Advertised {
    /// What a solicitation of the neighbour's own says: where it is, and not that it can be reached (§7.2.3).
    pub const fn by_asking(link: MacAddr) -> Self {
        Self { link: Some(link), is_solicited: false, overrides: true }
    }
}

impl Resolver {
    /// Takes in what was said of a neighbour on port `ingress`. `neighbors` are those at its address.
    pub fn advertised(&mut self, neighbors: &[Arc<Neighbor>], said: Advertised, ingress: PortId, now: Instant) {
        if said.link.is_some_and(|link| !link.is_unicast()) {
            return;
        }
        for neighbor in neighbors.iter().filter(|neighbor| !neighbor.is_static() && neighbor.may_be_on(ingress)) {
            neighbor.advertised(said, ingress, now);
            self.look_by(neighbor.asking.next());
        }
    }
}

impl Neighbor {
    fn advertised(&self, said: Advertised, ingress: PortId, now: Instant) {
        let Advertised { link, is_solicited, overrides } = said;
        let known = self.hop();
        let told = match (link, known) {
            (Some(mac), _) => Hop { mac, port: ingress },
            // An answer to a question that went to its address alone need not say it (§4.4).
            (None, Some(known)) if known.port == ingress => known,
            (None, _) => return,
        };
        let is_new = known != Some(told);
        if is_new && known.is_some() && !overrides {
            // Somebody else may speak for it. Whether it is where it was, it is asked itself.
            if self.asking.is_answered() {
                self.asking.doubt(now + DELAY);
            }
            return;
        }
        if is_new {
            self.learn(told);
        }
        self.probes.note_heard();
        if is_solicited {
            self.asking.note_heard(now);
        } else {
            self.asking.note_alive();
            if is_new {
                self.asking.begin_anew(now + DELAY);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbor::{Outgoing, Targets};

    const PORT: PortId = PortId(0);
    const OLD: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
    const NEW: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    /// A state of RFC 4861 §7.3.2, as leat has it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum State {
        Incomplete,
        Reachable,
        Stale,
    }
    use State::{Incomplete, Reachable, Stale};

    /// A neighbour in `state` at second 100, and who asks for it.
    fn neighbor_in(state: State) -> (Resolver, Vec<Arc<Neighbor>>) {
        let [address, asker] = ["2001:db8::2", "2001:db8::fe"].map(|text| text.parse().unwrap());
        let neighbors = vec![Arc::new(Neighbor::new(address, asker, None, 1))];
        let mut resolver = Resolver::default();
        let ask = |resolver: &mut Resolver, now| {
            resolver.poll(Targets { neighbors: &neighbors, own: &[] }, now, 0, |_| {});
        };
        ask(&mut resolver, at(100));
        let heard = Advertised { link: Some(OLD), is_solicited: state == Reachable, overrides: true };
        if state != Incomplete {
            resolver.advertised(&neighbors, heard, PORT, at(100));
        }
        (resolver, neighbors)
    }

    /// What state `neighbor` is in at second 100.
    fn state(neighbor: &Neighbor) -> State {
        match neighbor.hop() {
            None => Incomplete,
            Some(_) if neighbor.asking.next() <= at(105) => Stale,
            Some(_) => Reachable,
        }
    }

    /// All of RFC 4861 §7.2.5 and its table in appendix C.
    #[test]
    fn flags_decide_what_is_believed_of_an_advertisement() {
        let (s, o) = (true, true);
        #[rustfmt::skip]
        let rows = [
            // state, Ethernet address, S, O; state and address then
            (Incomplete, None,       s,  o, Incomplete, None),
            (Incomplete, Some(NEW), !s, !o, Stale,      Some(NEW)),
            (Incomplete, Some(NEW), !s,  o, Stale,      Some(NEW)),
            (Incomplete, Some(NEW),  s, !o, Reachable,  Some(NEW)),
            (Incomplete, Some(NEW),  s,  o, Reachable,  Some(NEW)),
            (Reachable,  Some(NEW), !s, !o, Stale,      Some(OLD)),
            (Reachable,  Some(NEW),  s, !o, Stale,      Some(OLD)),
            (Stale,      Some(NEW), !s, !o, Stale,      Some(OLD)),
            (Stale,      Some(NEW),  s, !o, Stale,      Some(OLD)),
            (Reachable,  Some(NEW), !s,  o, Stale,      Some(NEW)),
            (Reachable,  Some(NEW),  s,  o, Reachable,  Some(NEW)),
            (Stale,      Some(NEW), !s,  o, Stale,      Some(NEW)),
            (Stale,      Some(NEW),  s,  o, Reachable,  Some(NEW)),
            (Reachable,  Some(OLD), !s, !o, Reachable,  Some(OLD)),
            (Reachable,  Some(OLD), !s,  o, Reachable,  Some(OLD)),
            (Stale,      Some(OLD), !s, !o, Stale,      Some(OLD)),
            (Stale,      Some(OLD), !s,  o, Stale,      Some(OLD)),
            (Stale,      Some(OLD),  s, !o, Reachable,  Some(OLD)),
            (Stale,      Some(OLD),  s,  o, Reachable,  Some(OLD)),
            (Reachable,  None,      !s, !o, Reachable,  Some(OLD)),
            (Stale,      None,      !s,  o, Stale,      Some(OLD)),
            (Stale,      None,       s, !o, Reachable,  Some(OLD)),
            (Reachable,  Some(MacAddr::BROADCAST), s, o, Reachable, Some(OLD)),
        ];
        for row @ (before, link, is_solicited, overrides, after, mac) in rows {
            let (mut resolver, neighbors) = neighbor_in(before);
            assert_eq!(state(&neighbors[0]), before, "{row:?}");
            resolver.advertised(&neighbors, Advertised { link, is_solicited, overrides }, PORT, at(100));
            assert_eq!(neighbors[0].hop().map(|hop| hop.mac), mac, "{row:?}");
            assert_eq!(state(&neighbors[0]), after, "{row:?}");
        }
    }

    #[test]
    fn a_question_tells_where_its_asker_is_and_not_that_it_can_be_reached() {
        for (before, link, after) in [
            (Incomplete, NEW, Stale),
            (Reachable, NEW, Stale),
            (Reachable, OLD, Reachable),
            (Stale, OLD, Stale),
            (Stale, NEW, Stale),
        ] {
            let (mut resolver, neighbors) = neighbor_in(before);
            resolver.advertised(&neighbors, Advertised::by_asking(link), PORT, at(100));
            assert_eq!((state(&neighbors[0]), neighbors[0].hop()), (after, Some(Hop { mac: link, port: PORT })));
        }
    }

    #[test]
    fn one_that_is_doubted_is_asked_itself_and_its_answer_is_believed() {
        let (mut resolver, neighbors) = neighbor_in(Reachable);
        let asked = |resolver: &mut Resolver, seconds| {
            let mut sent = Vec::new();
            resolver.poll(Targets { neighbors: &neighbors, own: &[] }, at(seconds), 0, |it| sent.push(it));
            sent
        };
        let claim = Advertised { link: Some(NEW), is_solicited: false, overrides: false };
        resolver.advertised(&neighbors, claim, PORT, at(101));
        // However often it is said.
        resolver.advertised(&neighbors, claim, PORT, at(104));
        assert_eq!(asked(&mut resolver, 105), []);
        let questions = asked(&mut resolver, 106);
        let known = Some(Hop { mac: OLD, port: PORT });
        assert!(matches!(questions[..], [Outgoing::Request { known: at, .. }] if at == known), "{questions:?}");
        let answer = Advertised { link: Some(OLD), is_solicited: true, overrides: true };
        resolver.advertised(&neighbors, answer, PORT, at(106));
        assert_eq!(asked(&mut resolver, 135), []);
    }

    #[test]
    fn a_link_local_address_is_another_routers_on_each_port() {
        let router = |port| {
            Arc::new(Neighbor::new("fe80::1".parse().unwrap(), "2001:db8::fe".parse().unwrap(), Some(PortId(port)), 1))
        };
        let neighbors = [router(0), router(1)];
        let said = |link| Advertised { link: Some(link), is_solicited: true, overrides: true };
        let mut resolver = Resolver::default();
        resolver.advertised(&neighbors, said(OLD), PortId(0), at(1));
        assert_eq!((neighbors[0].hop(), neighbors[1].hop()), (Some(Hop { mac: OLD, port: PortId(0) }), None));
        resolver.advertised(&neighbors, said(NEW), PortId(1), at(2));
        assert_eq!(neighbors.map(|it| it.hop().unwrap().mac), [OLD, NEW]);
    }

    #[test]
    fn somebody_who_speaks_for_a_neighbor_is_no_sign_that_it_is_alive() {
        let (mut resolver, neighbors) = neighbor_in(Reachable);
        let probe = neighbors[0].want_probe();
        neighbors[0].probes.note_sent(probe);
        for (link, overrides, is_answered) in [(NEW, false, false), (OLD, false, true)] {
            resolver.advertised(
                &neighbors,
                Advertised { link: Some(link), is_solicited: false, overrides },
                PORT,
                at(101),
            );
            assert_eq!(neighbors[0].is_answered(probe), is_answered);
        }
    }
}
