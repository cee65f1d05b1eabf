//! What a worker does between bursts, a little at a time: taking over snapshots, forgetting connections, asking for next
//! hops, sending what waited for one.

use std::time::Duration;

use super::known::Epilogue;
use super::{Context, Note, Pipeline, Tracer};
use crate::id::WorkerId;
use crate::io::{Output, Packet};
use crate::neighbor::{Announcement, LONGEST_QUESTION, Outcome, Outgoing, Targets, Waiting};
use crate::service::Snapshot;
use crate::time::{Instant, Tick};

/// The time between two rounds of upkeep.
const INTERVAL: Duration = Duration::from_millis(1);

/// A round looks at this share of the connection table, so that the whole table is seen about once a second…
const ROUNDS_PER_SWEEP: usize = 1000;

/// … unless the table is so large that a round would take more than some tens of microseconds.
const MOST_RECORDS_PER_ROUND: usize = 4096;

impl<P: Packet> Pipeline<P> {
    /// Takes over a new configuration. Connections keep what they have. One that differs from the last in who is alive,
    /// and in nothing else, need not be taken over.
    ///
    /// This takes a few microseconds, however large the configuration is: what is new is looked at when it is needed, or
    /// a little of it in each round of upkeep.
    pub fn adopt(&mut self, snapshot: &Snapshot) {
        let services = snapshot.parts().services.len();
        if services > self.turns.len() {
            self.turns.resize_with(services, Default::default);
            self.guards.resize_with(services, Default::default);
        }
        self.conntrack.adopt(snapshot.reserved_ports(), &snapshot.parts().timeouts);
        self.client_idle = Tick::count(snapshot.parts().timeouts.longest());
        self.resolver.adopt();
    }

    /// Does what is due, and says whether it was time for a round. Cheap when it was not: to be called after every burst,
    /// and when there is none.
    #[inline]
    pub fn upkeep<O: Output<P>, T: Tracer>(&mut self, context: &mut Context<'_, O, T>) -> bool {
        if context.now < self.next_upkeep {
            return false;
        }
        self.next_upkeep = context.now + INTERVAL;
        self.sweep(context.snapshot, context.now);
        self.run_errands(context);
        self.speak(context);
        self.release(context);
        self.expire_fragments(context);
        if self.id == WorkerId::FIRST {
            self.post(context);
        }
        true
    }

    /// Forgets connections whose time is over, and pools that nobody needs.
    fn sweep(&mut self, snapshot: &Snapshot, now: Instant) {
        let records = (self.conntrack.capacity() / ROUNDS_PER_SWEEP).clamp(64, MOST_RECORDS_PER_ROUND);
        let tick = now.tick();
        let Self { id: worker, hasher, flow_memory, guards, loads, errands, conntrack, .. } = self;
        let mut epilogue = Epilogue { snapshot, worker: *worker, hasher, flow_memory, guards, loads, tick };
        // Those for which there is no room have theirs looked at a little later.
        conntrack.sweep_and_ask(
            tick,
            records,
            |ended| epilogue.speak(ended),
            |index| {
                let _ = errands.try_push(index);
            },
        );
        self.conntrack.tidy(|pool| snapshot.needs_pool(pool));
        self.count().connections.set(self.conntrack.len() as u64);
    }

    /// Sends the ARP messages, and those of neighbour discovery, that are due.
    fn speak<O: Output<P>, T>(&mut self, context: &mut Context<'_, O, T>) {
        if self.id != WorkerId::FIRST {
            return;
        }
        let (snapshot, counters) = (context.snapshot, &self.counters[self.id.index()]);
        let targets = Targets { neighbors: snapshot.neighbors(), own: snapshot.announced() };
        self.resolver.poll(targets, context.now, snapshot.bell().rings(), |outgoing| {
            let port = match outgoing {
                Outgoing::Announce(Announcement { port, .. })
                | Outgoing::Probe(Announcement { port, .. })
                | Outgoing::Report(_, port, _)
                | Outgoing::Request { known: None, port, .. } => port,
                Outgoing::Request { known: Some(hop), .. } => Some(hop.port),
            };
            for out in snapshot.ports().iter().filter(|out| port.is_none_or(|only| only == out.id)) {
                let mut frame = [0; LONGEST_QUESTION];
                let len = outgoing.write(out.mac, &mut frame);
                if let Some(packet) = context.output.create(&frame[..len]) {
                    counters.originated.add(1);
                    context.output.transmit(packet, out.id);
                }
            }
        });
    }

    /// Sends the packets whose next hop was found, and drops those that waited for too long.
    #[inline]
    pub(super) fn release<O: Output<P>, T: Tracer>(&mut self, context: &mut Context<'_, O, T>) {
        if !self.waiting.is_empty() {
            self.release_waiting(context);
        }
    }

    #[cold]
    fn release_waiting<O: Output<P>, T: Tracer>(&mut self, context: &mut Context<'_, O, T>) {
        let mut waiting = std::mem::replace(&mut self.waiting, Waiting::closed());
        waiting.release(context.now, |outcome| {
            let (Outcome::Resolved(packet, _) | Outcome::Expired(packet)) = &outcome;
            if T::ENABLED {
                context.tracer.arrived(packet.data(), packet.ingress());
                context.tracer.note(Note::Waited);
            }
            match outcome {
                Outcome::Resolved(packet, hop) => {
                    self.send(packet, hop, context);
                }
                Outcome::Expired(packet) => {
                    let reason = Self::reason_of_unsent(&packet, context.snapshot);
                    self.drop(packet, reason, context);
                }
            }
        });
        self.waiting = waiting;
    }
}
