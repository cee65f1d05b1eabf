//! Tells those who watch of the packets that they want to hear of.
//!
//! As long as somebody watches, every packet takes the whole way through the pipeline and is looked at here. What is
//! expensive, the words, is only done for packets that somebody may want.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use arrayvec::ArrayVec;

use crate::flow::{Endpoint, FlowKey};
use crate::id::PortId;
use crate::inquiry::{Fate, Record, Side, Watch};
use crate::pipeline::{End, Note, Story, Tracer, flow_of};
use crate::time::Instant;

/// How many may watch at the same time.
const MOST_WATCHES: usize = 4;

/// One worker's eyes for all who watch.
pub struct Spy {
    worker: usize,
    watches: ArrayVec<Arc<Watch>, MOST_WATCHES>,
    now: Instant,
    facts: Facts,
    /// Whether somebody may want to hear of the packet.
    is_wanted: bool,
    story: Story,
    record: Record,
}

/// What is known of a packet by now.
#[derive(Default)]
struct Facts {
    /// What its own headers say.
    frame: Option<FlowKey>,
    /// The same where it is a client's; else the key of the client's packets of its connection, once that is known.
    original: Option<FlowKey>,
    /// What it left as.
    after: Option<FlowKey>,
    /// The name of its service, empty as long as that is not known. Its memory is used again for each packet.
    service: String,
    backend: Option<(IpAddr, u16)>,
    /// Whether nothing more will be known of it.
    is_all: bool,
}

impl Spy {
    /// The eyes of worker number `worker` on this lcore.
    pub fn new(worker: usize, lcore: u32) -> Self {
        Self {
            worker,
            watches: ArrayVec::new(),
            now: Instant::ZERO,
            facts: Facts::default(),
            is_wanted: false,
            story: Story::new(lcore),
            record: Record { lcore, ..Record::default() },
        }
    }

    /// Whether somebody watches.
    #[inline(always)]
    pub fn is_asked(&self) -> bool {
        !self.watches.is_empty()
    }

    /// Has `watch` told from now on, and says whether there is room for it.
    pub fn begin(&mut self, watch: &Arc<Watch>, now: Instant) -> bool {
        self.dismiss();
        if let Some(channel) = watch.channels().get(self.worker) {
            let today = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            channel.set_epoch((today.as_nanos() as u64).saturating_sub(now.as_nanos()));
        }
        self.watches.try_push(Arc::clone(watch)).is_ok()
    }

    /// Forgets those that nobody reads any more.
    pub fn dismiss(&mut self) {
        self.watches.retain(|watch| !watch.is_over());
    }

    /// What follows happens at `now`.
    pub const fn at(&mut self, now: Instant) {
        self.now = now;
    }

    /// Looks again whether somebody may want the packet.
    fn decide(&mut self) {
        self.is_wanted = self.watches.iter().any(|watch| self.facts.may_match(watch));
    }

    fn arrived(&mut self, frame: &[u8], port: PortId) {
        self.facts.begin(flow_of(frame));
        self.decide();
        if !self.is_wanted {
            return;
        }
        let record = &mut self.record;
        (record.nanos, record.ingress, record.before_len) = (self.now.as_nanos(), port.0, frame.len() as u32);
        record.before.clear();
        record.before.extend_from_slice(&frame[..frame.len().min(Record::MOST_BYTES)]);
        record.verdict.clear();
        self.story.begin(frame, port);
    }

    fn note(&mut self, note: Note<'_>) {
        if !self.is_wanted {
            return;
        }
        match &note {
            Note::Service(service) => {
                self.facts.service.clone_from(&service.name);
                self.facts.original = self.facts.frame;
                self.decide();
            }
            Note::Known { original, service, backend, .. } => {
                self.facts.original = Some(*original);
                self.facts.service.push_str(service.map_or("", |service| &service.name));
                self.facts.backend = Some(*backend);
                self.decide();
            }
            Note::Remembered(address, port) | Note::Persistent(address, port) | Note::Chosen { address, port, .. } => {
                self.facts.backend = Some((*address, *port));
                self.decide();
            }
            _ => {}
        }
        if self.is_wanted {
            self.story.note(note);
        }
    }

    fn ended(&mut self, frame: &[u8], end: End) {
        if !self.is_wanted {
            return;
        }
        self.facts.is_all = true;
        self.facts.after = flow_of(frame);
        let matches = |watch: &&Arc<Watch>| self.facts.may_match(watch) && is_fate(watch.fate, end);
        if !self.watches.iter().any(|watch| matches(&watch)) {
            return;
        }
        let record = &mut self.record;
        record.egress = match end {
            End::Transmitted(hop) => Some(hop.port),
            End::Held(_) | End::Gathered | End::HandedOver(_) | End::Dropped(_) => None,
        };
        record.after_len = frame.len() as u32;
        record.after.clear();
        record.after.extend_from_slice(&frame[..frame.len().min(Record::MOST_BYTES)]);
        self.facts.verdict(end, &mut record.verdict);
        record.story.clear();
        record.story.push_str(self.story.end(frame, end));
        for watch in self.watches.iter().filter(matches) {
            if let Some(channel) = watch.channels().get(self.worker) {
                channel.tell(&self.record);
            }
        }
    }
}

fn is_fate(fate: Fate, end: End) -> bool {
    match (fate, end) {
        (Fate::Any, _) | (Fate::Dropped, End::Dropped(_)) => true,
        (Fate::DroppedFor(wanted), End::Dropped(reason)) => wanted == reason,
        _ => false,
    }
}

impl Facts {
    /// Of another packet nothing is known but what its headers say.
    fn begin(&mut self, frame: Option<FlowKey>) {
        let mut service = std::mem::take(&mut self.service);
        service.clear();
        *self = Self { frame, service, ..Self::default() };
    }

    /// Whether somebody may want the packet: what is not known yet may still fit, and in the end does not.
    fn may_match(&self, watch: &Watch) -> bool {
        let filter = &watch.filter;
        let service = filter.service.as_ref().is_none_or(|wanted| {
            let is_unknown = self.service.is_empty() && !self.is_all;
            is_unknown || *wanted == self.service
        });
        let backend = match (filter.backend, self.backend) {
            (Some(wanted), Some((address, port))) => wanted.is(address, port),
            (Some(wanted), None) => !self.is_all || self.has(|at, port| wanted.is(at, port)),
            (None, _) => true,
        };
        let protocol = match (filter.protocol, self.frame) {
            (Some(wanted), Some(frame)) => wanted == frame.protocol,
            (Some(_), None) => false,
            (None, _) => true,
        };
        let host = filter.host.is_none_or(|host| !self.is_all || self.has(|at, port| host.is(at, port)));
        service && backend && protocol && host && self.may_be_from_to(filter.client, filter.vip)
    }

    /// Whether it may be of a flow between such a client and such a VIP.
    fn may_be_from_to(&self, client: Option<Side>, vip: Option<Side>) -> bool {
        let fits = |original: &FlowKey| {
            client.is_none_or(|client| client.is(original.src, original.src_port))
                && vip.is_none_or(|vip| vip.is(original.dst, original.dst_port))
        };
        match (self.original, self.frame) {
            (Some(original), _) => fits(&original),
            _ if client.is_none() && vip.is_none() => true,
            (None, Some(frame)) => !self.is_all || fits(&frame) || fits(&frame.reversed()),
            (None, None) => false,
        }
    }

    /// Whether it has or had an address for which `is_it` says yes.
    fn has(&self, is_it: impl Fn(IpAddr, u16) -> bool) -> bool {
        [self.frame, self.original, self.after]
            .into_iter()
            .flatten()
            .any(|key| is_it(key.src, key.src_port) || is_it(key.dst, key.dst_port))
    }

    /// What became of it, in a line.
    fn verdict(&self, end: End, line: &mut String) {
        line.clear();
        // Writing to a string cannot fail.
        if !self.service.is_empty() {
            let _ = write!(line, "service {}, ", self.service);
        }
        if let Some((address, port)) = self.backend {
            let _ = write!(line, "backend {}, ", Endpoint(address, port));
        }
        let _ = write!(line, "{end}");
    }
}

/// A spy beside another listener.
pub struct Spied<'a, T> {
    /// The other one.
    pub other: &'a mut T,
    /// The spy.
    pub spy: &'a mut Spy,
}

impl<T: Tracer> Tracer for Spied<'_, T> {
    const ENABLED: bool = true;

    fn arrived(&mut self, frame: &[u8], port: PortId) {
        self.other.arrived(frame, port);
        self.spy.arrived(frame, port);
    }

    fn note(&mut self, note: Note<'_>) {
        self.other.note(note);
        self.spy.note(note);
    }

    fn ended(&mut self, frame: &[u8], end: End) {
        self.other.ended(frame, end);
        self.spy.ended(frame, end);
    }
}
