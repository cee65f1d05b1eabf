//! What a worker answers to questions about its connections, a little between bursts.

use super::{Packet, Pipeline};
use crate::counters::DropReason;
use crate::flow::FlowKey;
use crate::inquiry::{Outlook, Survey};
use crate::service::{Mode, Snapshot};
use crate::time::Instant;
use crate::wire::ip;

/// Records that a survey looks at between two bursts.
const RECORDS_AT_ONCE: usize = 4096;

/// Connections that a survey ends between two bursts.
const ENDS_AT_ONCE: usize = 256;

impl<P: Packet> Pipeline<P> {
    /// Goes on with `survey`, and says whether it is finished.
    pub fn survey(&mut self, survey: &mut Survey, snapshot: &Snapshot, now: Instant) -> bool {
        let tick = now.tick();
        let mut ending = arrayvec::ArrayVec::<_, ENDS_AT_ONCE>::new();
        let mut next = survey.at + RECORDS_AT_ONCE;
        for (index, connection) in self.conntrack.records(survey.at, RECORDS_AT_ONCE) {
            if self.conntrack.is_over(&connection, tick) || !survey.wants(&connection, snapshot) {
                continue;
            }
            if survey.ends && ending.try_push(index).is_err() {
                next = index.at();
                break;
            }
            survey.take_in(&connection);
        }
        for index in ending {
            self.end(index, snapshot, tick);
        }
        survey.at = next;
        next >= self.conntrack.used()
    }

    /// What this worker would do with a client's packet of `flow` that would open a connection.
    pub fn outlook(&self, flow: &FlowKey, snapshot: &Snapshot, now: Instant) -> Outlook {
        let (hash, tick) = (self.hasher.hash(flow), now.tick());
        if let Some((index, _)) = self.conntrack.find(&flow.pack(), hash) {
            let connection = self.conntrack.connection(index);
            if !self.conntrack.is_over(&connection, tick) {
                return Outlook::Known(connection);
            }
        }
        let refused = |service, reason| Outlook::Refused { service, reason };
        if !ip::is_station(flow.src) || snapshot.owns_anywhere(flow.src) {
            return refused(None, DropReason::Ipv4Source);
        }
        let Some(id) = snapshot.service_for(flow) else { return Outlook::NoService };
        let Some(service) = snapshot.service(id) else { return Outlook::NoService };
        let owner = self.owner_of_original(flow, hash, service);
        if owner != self.id {
            return Outlook::Elsewhere { service: id, owner };
        }
        if service.is_removed {
            return refused(Some(id), DropReason::NoService);
        }
        if service.mode == Mode::Nat && snapshot.is_backend_of(flow.src, service) {
            return refused(Some(id), DropReason::BackendAsClient);
        }
        // A copy: to ask is not to choose.
        let mut turn = self.turns.get(id.index()).copied().unwrap_or_default();
        match self.select(flow, hash, id, service, tick, snapshot, &mut turn) {
            Some((backend, grounds)) => Outlook::New { service: id, backend, grounds },
            None if snapshot.takes_connections(id) => refused(Some(id), DropReason::BackendsFull),
            None => refused(Some(id), DropReason::NoBackend),
        }
    }
}
