//! Conducts a run: from one phase to the next when everybody is ready for it, with a line each second.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError};
use dpdk_wrapper::Port;

use super::{EngineError, Phase, Shared};
use crate::generate::measure::Figures;
use crate::generate::plan::{NextHop, Plan, Traffic};
use crate::generate::report::{Opening, progress};

/// When nothing has come for so long, nothing is under way.
const QUIET: Duration = Duration::from_secs(1);

/// How long the balancer has to take in where its backends are, after it was told.
const INTRODUCTION: Duration = Duration::from_millis(500);

/// How often it is looked whether something has changed.
const LOOK: Duration = Duration::from_millis(5);

/// The time between two lines.
const LINE: Duration = Duration::from_secs(1);

/// Who conducts.
pub(super) struct Conductor {
    pub(super) shared: Arc<Shared>,
    pub(super) plan: Plan,
    pub(super) ports: Vec<Port>,
    /// The ports' names.
    pub(super) names: Vec<String>,
    pub(super) signals: Receiver<i32>,
    pub(super) quiet: bool,
}

/// What came of it.
pub(super) struct Outcome {
    /// Of the measurement alone.
    pub(super) figures: Figures,
    /// How long packets were sent.
    pub(super) sending: Duration,
    pub(super) opening: Option<Opening>,
}

/// A signal has come: what has been measured is all there will be.
struct Interrupted;

impl Conductor {
    /// Conducts to the end, and gives the ports back.
    pub(super) fn conduct(self) -> (Vec<Port>, Result<Outcome, EngineError>) {
        let outcome = self.run();
        self.shared.set_phase(Phase::Stop);
        (self.ports, outcome)
    }

    fn run(&self) -> Result<Outcome, EngineError> {
        let mut opening = None;
        let is_ready = match self.prepare()? {
            Ok(()) => self.open(&mut opening).is_ok(),
            Err(Interrupted) => false,
        };
        // Who is interrupted before has measured nothing.
        let before = self.figures();
        if is_ready {
            self.measure(&before);
        }
        let nanos = self.shared.stages.iter().map(|stage| stage.sending_nanos.value()).max().unwrap_or(0);
        let after = if is_ready { self.figures() } else { before };
        Ok(Outcome { figures: after.since(&before), sending: Duration::from_nanos(nanos), opening })
    }

    /// Waits for the lcores, the links and the next hop.
    fn prepare(&self) -> Result<Result<(), Interrupted>, EngineError> {
        while self.shared.stages.iter().any(|stage| stage.is_up.value() == 0) {
            if self.pause(LOOK).is_err() {
                return Ok(Err(Interrupted));
            }
        }
        self.say("leat-gen: ready");
        let Some(clients) = &self.plan.clients else { return Ok(Ok(())) };
        let deadline = Instant::now() + clients.wait;
        loop {
            // A driver that cannot tell is believed to have a link.
            let down = self.ports.iter().position(|port| port.link().is_ok_and(|link| !link.is_up));
            let error = match (down, clients.next_hop) {
                (Some(port), _) => EngineError::NoLink { port: self.names[port].clone(), wait: clients.wait },
                (None, NextHop::Address(address)) if self.shared.next_hop().is_none() => {
                    EngineError::NoNextHop { address, wait: clients.wait }
                }
                (None, _) if self.plan.backends.is_empty() => return Ok(Ok(())),
                (None, _) => return Ok(self.pause(INTRODUCTION)),
            };
            if Instant::now() >= deadline {
                return Err(error);
            }
            if self.pause(LOOK).is_err() {
                return Ok(Err(Interrupted));
            }
        }
    }

    /// Opens every flow by a SYN, if that is asked for.
    fn open(&self, opening: &mut Option<Opening>) -> Result<(), Interrupted> {
        let traffic = self.plan.clients.as_ref().map(|clients| clients.traffic);
        let Some(Traffic::Packets { open_rate: Some(_), .. }) = traffic else { return Ok(()) };
        self.shared.set_phase(Phase::Open);
        while !self.all_have_finished(Phase::Open) {
            self.pause(LOOK)?;
        }
        self.settle(Phase::Settle)?;
        let figures = self.figures();
        if figures.right < figures.sent {
            log::warn!(
                "{} of {} flows have no answer to their SYN, and their packets may be dropped; a lower --open-rate may help",
                figures.sent - figures.right,
                figures.sent
            );
        }
        *opening = Some(Opening { sent: figures.sent, answered: figures.right });
        Ok(())
    }

    /// Has everybody send until the end, and waits for what is under way then.
    fn measure(&self, before: &Figures) {
        let began = Instant::now();
        let end = self.plan.duration.map(|duration| began + duration);
        let (mut last, mut last_line) = (*before, began);
        self.shared.set_phase(Phase::Measure);
        loop {
            let now = Instant::now();
            if now >= last_line + LINE {
                let figures = self.figures();
                let line = progress(now - began, now - last_line, &figures.since(&last), &figures.since(before));
                if !self.quiet {
                    self.say(&line);
                }
                (last, last_line) = (figures, now);
            }
            // Who only plays backends never has finished.
            let has_sent_all = self.plan.clients.is_some() && self.all_have_finished(Phase::Measure);
            if has_sent_all || end.is_some_and(|end| now >= end) {
                break;
            }
            let left = end.map_or(LOOK, |end| end - now);
            if self.pause(left.min(LOOK)).is_err() {
                break;
            }
        }
        // A second signal ends the waiting.
        let _ = self.settle(Phase::Drain);
    }

    /// Sends nothing more, and waits until everything is back, or nothing has come for a while.
    fn settle(&self, phase: Phase) -> Result<(), Interrupted> {
        self.shared.set_phase(phase);
        if self.plan.clients.is_none() {
            return Ok(());
        }
        let (mut known, mut since) = (self.figures().returned(), Instant::now());
        while self.figures().missing() > 0 && since.elapsed() < QUIET {
            self.pause(LOOK)?;
            let returned = self.figures().returned();
            if returned != known {
                (known, since) = (returned, Instant::now());
            }
        }
        // What an lcore writes at the change of phase shall be there.
        self.pause(LOOK)
    }

    fn all_have_finished(&self, phase: Phase) -> bool {
        self.shared.stages.iter().all(|stage| stage.finished.value() == phase as u64)
    }

    fn figures(&self) -> Figures {
        Figures::read(&self.shared.counters)
    }

    /// Waits, unless there is a signal or an lcore has failed.
    fn pause(&self, time: Duration) -> Result<(), Interrupted> {
        match self.signals.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) if self.shared.phase() != Phase::Stop => Ok(()),
            _ => Err(Interrupted),
        }
    }

    fn say(&self, line: &str) {
        // Who does not read it does not want to know.
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}
