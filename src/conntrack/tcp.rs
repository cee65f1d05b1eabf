//! TCP as one in the middle sees it: states from the segments of both sides, and which segments can be the sides' own.
//!
//! A segment is judged by the rules of Guido van Rooij, "Real Stateful TCP Packet Filtering in IP Filter" (2000), as
//! firewalls use them. What a side may send is bounded by what its peer has acknowledged and the window it gave; what it
//! may repeat, by the peer's largest window; its acknowledgements, by what the peer has sent. A segment out of these
//! bounds changes nothing here and is still forwarded: the receiver answers it as RFC 9293 §3.10.7.4 and RFC 5961 say,
//! and the peer's reaction to that answer is what this side learns from.
//!
//! Retransmissions, keep-alives (RFC 9293 §3.8.4), probes of a closed window (§3.8.6.1) and data beyond a hole are
//! inside the bounds. A connection may be picked up in its middle, and one side may be out of sight for ever; then less
//! is known and more is believed, except of a RST.

use super::track::{Change, Direction, Observed, State, Track};
use crate::flow::Protocol;

const ORIGINAL: usize = Direction::Original as usize;
const REPLY: usize = Direction::Reply as usize;

/// The largest window there is (RFC 7323 §2.2): what a side with an unknown window is taken to have.
const LARGEST_WINDOW: u32 = (u16::MAX as u32) << LARGEST_SHIFT;
/// RFC 7323 §2.3: a larger shift is read as this.
const LARGEST_SHIFT: u8 = 14;
/// In place of a shift: the SYN had no window scale option.
const NO_SHIFT: u8 = 15;
/// How far an acknowledgement may lie behind what was sent, where the acknowledging side's window is smaller: IP Filter's
/// allowance, about one unscaled window and a segment.
const OLDEST_ACK: u32 = 66_000;

/// Bits of [`Track::facts`]. The first four come in pairs: the bit of the reply is twice the bit of the original.
mod fact {
    pub(super) const FIN: u8 = 1 << 0;
    pub(super) const BOTH_FINS: u8 = FIN | FIN << 1;
    /// This side has acknowledged the other's SYN.
    pub(super) const ACKED: u8 = 1 << 2;
    pub(super) const BOTH_ACKED: u8 = ACKED | ACKED << 1;
    /// Windows are shifted: both SYNs had the option, or nothing is known.
    pub(super) const SCALED: u8 = 1 << 4;
    /// The handshake was not seen.
    pub(super) const PICKED_UP: u8 = 1 << 5;
    /// The backend's segments do not pass here.
    pub(super) const ONE_WAY: u8 = 1 << 6;
    /// The backend has ended it: the RST that was believed came as its, or, without one, the first FIN, or one that crossed the
    /// client's. Then its half rests in TIME-WAIT.
    pub(super) const ENDED_BY_REPLY: u8 = 1 << 7;
}

/// Whose segments pass here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Both sides'.
    Both,
    /// The client's only: the backend answers it directly.
    OriginalOnly,
}

/// What conntrack reads of a TCP segment (RFC 9293 §3.1). All numbers in host byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The byte of control bits, as in the header: [`Segment::FIN`] and its like.
    pub flags: u8,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number; meaningful with [`Segment::ACK`].
    pub ack: u32,
    /// Window, as it stands in the header.
    pub window: u16,
    /// Bytes of data.
    pub payload_len: u16,
    /// The shift of a SYN's window scale option (RFC 7323 §2.2), where it has one.
    pub window_scale: Option<u8>,
}

impl Segment {
    /// No more data from the sender.
    pub const FIN: u8 = 1 << 0;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 1 << 1;
    /// Reset the connection.
    pub const RST: u8 = 1 << 2;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 1 << 4;

    /// Whether all of `flags` are set.
    #[inline(always)]
    const fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// The sequence number after this segment's last. SYN and FIN take one each (RFC 9293 §3.4).
    #[inline(always)]
    const fn end(&self) -> u32 {
        let controls = self.has(Self::SYN) as u32 + self.has(Self::FIN) as u32;
        self.seq.wrapping_add(self.payload_len as u32).wrapping_add(controls)
    }
}

impl Track {
    /// A connection after its first segment, the client's: a SYN, or with any other segment a connection whose beginning
    /// was not seen. The latter must have ACK and not RST, or nothing useful is learnt.
    pub fn tcp(first: &Segment, sight: Sight) -> Self {
        let mut track = Self::blank(Protocol::Tcp, State::SynSent);
        if sight == Sight::OriginalOnly {
            // What cannot be seen is taken as done.
            track.facts = fact::ONE_WAY | fact::ACKED << REPLY;
        }
        if first.has(Segment::SYN) {
            track.start(first);
        } else {
            track.pick_up(first);
        }
        track
    }

    /// Takes in one segment of a TCP connection.
    #[inline]
    pub(super) fn observe_segment(&mut self, direction: Direction, segment: &Segment) -> Observed {
        if segment.has(Segment::RST) {
            return self.observe_reset(direction, segment);
        }
        if segment.has(Segment::SYN) {
            return self.observe_syn(direction, segment);
        }
        // RFC 9293 §3.10.7.4, fifth check: without ACK a segment is dropped.
        if !segment.has(Segment::ACK) || !self.accepts(direction, segment) {
            return Observed::FOREIGN;
        }
        if self.state == State::Established && !segment.has(Segment::FIN) {
            // All below is done already, or for those that end a connection.
            self.learn(direction, segment);
            return Observed::ORDINARY;
        }
        if self.state == State::TimeWait || self.state == State::Reset && !self.refutes_reset(direction, segment) {
            return Observed::ORDINARY;
        }
        let handshake_was_done = self.facts & fact::BOTH_ACKED == fact::BOTH_ACKED;
        self.facts |= fact::ACKED << direction as usize;
        if segment.has(Segment::FIN) {
            self.note_who_ends(direction, segment);
            self.facts |= fact::FIN << direction as usize;
        }
        if !handshake_was_done && self.facts & fact::BOTH_ACKED == fact::BOTH_ACKED {
            self.agree_on_scales();
        }
        self.learn(direction, segment);
        Observed { in_window: true, change: self.enter(self.state_by_facts()) }
    }

    /// Takes in `segment`, which has ACK and neither SYN, FIN nor RST, if the connection is established and accepts it, as
    /// [`Self::observe_segment`] would; otherwise changes nothing. (At a distance of just 2³¹ it leaves it to that one, which may
    /// decide otherwise.)
    #[inline(always)]
    pub(super) fn pass_segment(&mut self, direction: Direction, segment: &Segment) -> bool {
        let (sender, receiver) = (direction as usize, direction.opposite() as usize);
        if self.state != State::Established {
            return false;
        }
        if !self.has_seen(sender) || !self.has_seen(receiver) {
            let is_accepted = self.accepts(direction, segment);
            if is_accepted {
                self.learn(direction, segment);
            }
            return is_accepted;
        }
        // What follows is both of them, where both sides are known: all their questions are whether a distance on the circle is negative,
        // and one look at the signs of all distances answers them.
        let window = |side: usize, window: u16| u32::from(window) << self.shift(side);
        let (end, ack) = (segment.end(), segment.ack);
        let theirs = window(receiver, self.max_windows[receiver]);
        let distances = self.max_ends[sender].wrapping_sub(segment.seq)
            | end.wrapping_sub(self.ends[sender]).wrapping_add(theirs)
            | self.ends[receiver].wrapping_sub(ack)
            | ack
                .wrapping_sub(self.ends[receiver])
                .wrapping_add(window(sender, self.max_windows[sender]).max(OLDEST_ACK));
        if distances.cast_signed() < 0 {
            return false;
        }
        let limit = ack.wrapping_add(window(sender, segment.window));
        raise(&mut self.ends[sender], end);
        raise(&mut self.max_ends[receiver], limit);
        self.max_windows[sender] = self.max_windows[sender].max(segment.window);
        true
    }

    /// Notes who closes first, at a FIN of a side that has sent none (RFC 9293 §3.6).
    fn note_who_ends(&mut self, direction: Direction, fin: &Segment) {
        match (direction, self.facts & fact::BOTH_FINS) {
            (Direction::Original, 0) => self.facts &= !fact::ENDED_BY_REPLY,
            (Direction::Reply, 0) => self.facts |= fact::ENDED_BY_REPLY,
            // Both at the same time: it does not acknowledge the client's.
            (Direction::Reply, fact::FIN) if is_after(self.ends[ORIGINAL], fin.ack) => {
                self.facts |= fact::ENDED_BY_REPLY;
            }
            _ => {}
        }
    }

    /// Whether the backend may have the connection in TIME-WAIT: it is over, and the backend has closed first.
    pub(super) const fn rests_at_backend(&self) -> bool {
        matches!(self.state, State::TimeWait) && self.facts & fact::ENDED_BY_REPLY != 0
    }

    /// A RST counts where the receiver could take it: with a number inside its window, or, before that window is known,
    /// with an acknowledgement of the SYN that it answers (RFC 9293 §3.5.2, §3.10.7.3). RFC 5961 §3.2 has the receiver
    /// believe only the very next number; which one that is cannot be seen from here, so a false RST may cost the
    /// connection its long timeout until it is refuted.
    fn observe_reset(&mut self, direction: Direction, segment: &Segment) -> Observed {
        let (sender, receiver) = (direction as usize, direction.opposite() as usize);
        let believable = match (self.state, direction) {
            _ if segment.has(Segment::SYN) => false,
            // It is over already; RFC 1337: a RST must not cut TIME-WAIT short.
            (State::TimeWait | State::Reset, _) => return Observed::FOREIGN,
            (State::SynSent, Direction::Reply) => {
                segment.has(Segment::ACK) && is_within(segment.ack, self.max_ends[ORIGINAL], self.ends[ORIGINAL])
            }
            (State::SynSent, Direction::Original) => {
                is_within(segment.seq, self.max_ends[ORIGINAL].wrapping_sub(1), self.ends[ORIGINAL])
            }
            // The window is not known: nothing but the next number will do (RFC 5961 §3.2).
            _ if self.facts & fact::PICKED_UP != 0 || !self.has_seen(receiver) => segment.seq == self.ends[sender],
            _ => {
                let limit = self.max_ends[sender];
                is_within(segment.seq, limit.wrapping_sub(self.window(receiver)), limit)
            }
        };
        if !believable {
            return Observed::FOREIGN;
        }
        match direction {
            Direction::Original => self.facts &= !fact::ENDED_BY_REPLY,
            Direction::Reply => self.facts |= fact::ENDED_BY_REPLY,
        }
        Observed { in_window: true, change: self.enter(State::Reset) }
    }

    fn observe_syn(&mut self, direction: Direction, segment: &Segment) -> Observed {
        if segment.has(Segment::FIN) {
            return Observed::FOREIGN;
        }
        let answers = segment.has(Segment::ACK);
        match (self.state, direction) {
            (State::SynSent, Direction::Original) if !answers => {
                if segment.seq.wrapping_add(1) == self.max_ends[ORIGINAL] {
                    // Sent again, perhaps without the data that the first one carried (RFC 7413 §4.2).
                    raise(&mut self.ends[ORIGINAL], segment.end());
                } else {
                    // The client has begun anew, and nobody has answered the old SYN.
                    self.start(segment);
                }
                Observed::ORDINARY
            }
            (State::SynSent, Direction::Reply) if self.facts & fact::ONE_WAY == 0 => self.observe_answer(segment),
            (State::SynReceived, _) => self.observe_repeated_syn(direction, segment),
            (State::TimeWait | State::Reset, Direction::Original) if !answers => self.observe_reopening(segment),
            // Without the backend's half, its FIN and its challenge to a new SYN stay unseen: the client's word must do.
            (State::Parting, Direction::Original) if !answers => self.observe_reopening(segment),
            // RFC 5961 §4.2: once synchronised, a SYN is answered with a challenge and changes nothing.
            _ => Observed::FOREIGN,
        }
    }

    /// The backend's SYN: with ACK the usual answer, without it a simultaneous open (RFC 9293 §3.5, figure 7).
    fn observe_answer(&mut self, segment: &Segment) -> Observed {
        let mut limit = self.ends[ORIGINAL];
        if segment.has(Segment::ACK) {
            // RFC 9293 §3.10.7.3: an unacceptable ACK is answered with a RST.
            if !is_within(segment.ack, self.max_ends[ORIGINAL], self.ends[ORIGINAL]) {
                return Observed::FOREIGN;
            }
            limit = segment.ack;
            self.facts |= fact::ACKED << REPLY;
        }
        // RFC 7323 §2.2: the window of a SYN is never shifted.
        self.max_ends[ORIGINAL] = limit.wrapping_add(segment.window.into());
        self.ends[REPLY] = segment.end();
        self.max_ends[REPLY] = segment.end().wrapping_add(self.max_windows[ORIGINAL].into());
        self.max_windows[REPLY] = segment.window.max(1);
        self.offer_scale(REPLY, segment.window_scale);
        Observed { in_window: true, change: self.enter(State::SynReceived) }
    }

    /// A SYN when both sides have sent theirs: the same one again, the acknowledging one of a simultaneous open, or one
    /// that a backend with SYN cookies has made anew because it keeps no memory of the first (RFC 4987 §3.6).
    fn observe_repeated_syn(&mut self, direction: Direction, segment: &Segment) -> Observed {
        let answers = segment.has(Segment::ACK);
        let sender = direction as usize;
        if answers && !self.acks_plausibly(direction, segment) {
            return Observed::FOREIGN;
        }
        if segment.end() != self.ends[sender] {
            let first_was_not_taken = self.facts & fact::ACKED == 0;
            if direction == Direction::Original || !answers || !first_was_not_taken {
                return Observed::FOREIGN;
            }
            self.ends[REPLY] = segment.end();
            self.max_ends[REPLY] = segment.end().wrapping_add(self.max_windows[ORIGINAL].into());
            self.max_windows[REPLY] = segment.window.max(1);
            self.offer_scale(REPLY, segment.window_scale);
        }
        if answers {
            self.facts |= fact::ACKED << sender;
            raise(&mut self.max_ends[1 - sender], segment.ack.wrapping_add(segment.window.into()));
            if self.facts & fact::BOTH_ACKED == fact::BOTH_ACKED {
                self.agree_on_scales();
            }
        }
        Observed { in_window: true, change: self.enter(self.state_by_facts()) }
    }

    /// A client's SYN on a connection that is over (RFC 9293 §3.6.1, §3.10.7.4). It is not in the old one's window.
    fn observe_reopening(&self, segment: &Segment) -> Observed {
        // The refused SYN itself, sent again before the refusal reached the client.
        if segment.end() == self.ends[ORIGINAL] {
            return Observed::FOREIGN;
        }
        let keep_port = !is_after(self.ends[ORIGINAL], segment.seq);
        Observed { in_window: false, change: Some(Change::Reopen { keep_port }) }
    }

    /// RFC 7857 §2.2: a connection that goes on after a RST is kept. Only the side in whose name the RST came can refute
    /// it: what the other side sends may have been on its way already.
    const fn refutes_reset(&self, direction: Direction, segment: &Segment) -> bool {
        let by_reply = self.facts & fact::ENDED_BY_REPLY != 0;
        let handshake_was_done = self.facts & fact::BOTH_ACKED == fact::BOTH_ACKED;
        handshake_was_done && by_reply == matches!(direction, Direction::Reply) && !segment.has(Segment::FIN)
    }

    /// Begins with the client's SYN. Until it is answered, `max_ends` holds the number after the bare SYN: the least that
    /// an answer acknowledges.
    fn start(&mut self, syn: &Segment) {
        self.ends[ORIGINAL] = syn.end();
        self.max_ends[ORIGINAL] = syn.seq.wrapping_add(1);
        self.max_windows[ORIGINAL] = syn.window.max(1);
        self.offer_scale(ORIGINAL, syn.window_scale);
    }

    /// Begins in the middle of a connection, with a segment of the client's. Shifts were agreed in the SYNs, so the
    /// largest is assumed.
    fn pick_up(&mut self, segment: &Segment) {
        self.facts |= fact::PICKED_UP | fact::SCALED | fact::BOTH_ACKED;
        if segment.has(Segment::FIN) {
            self.facts |= fact::FIN;
        }
        self.scales = LARGEST_SHIFT << 4 | LARGEST_SHIFT;
        self.ends = [segment.end(), segment.ack];
        self.max_ends = [segment.end(), segment.ack];
        self.learn(Direction::Original, segment);
        self.state = self.state_by_facts();
    }

    /// Whether a segment that has ACK and neither SYN nor RST can be the sender's own.
    #[inline(always)]
    fn accepts(&self, direction: Direction, segment: &Segment) -> bool {
        let (sender, receiver) = (direction as usize, direction.opposite() as usize);
        if !self.has_seen(sender) && self.facts & fact::PICKED_UP == 0 {
            return false;
        }
        if !self.has_seen(receiver) {
            let is_expected = self.facts & (fact::ONE_WAY | fact::PICKED_UP) != 0;
            let distance = segment.seq.wrapping_sub(self.ends[sender]).cast_signed().unsigned_abs();
            return is_expected && distance <= LARGEST_WINDOW;
        }
        let oldest = self.ends[sender].wrapping_sub(self.window(receiver));
        !is_after(segment.seq, self.max_ends[sender])
            && !is_after(oldest, segment.end())
            && self.acks_plausibly(direction, segment)
    }

    /// Whether the acknowledgement is of what the peer has sent, and not of long ago (RFC 5961 §5.2).
    #[inline(always)]
    fn acks_plausibly(&self, direction: Direction, segment: &Segment) -> bool {
        let (sender, receiver) = (direction as usize, direction.opposite() as usize);
        // The first segment of a side that was not seen before: how far back it acknowledges is yet to be learnt.
        if !self.has_seen(sender) {
            return true;
        }
        let oldest = self.ends[receiver].wrapping_sub(self.window(sender).max(OLDEST_ACK));
        is_within(segment.ack, oldest, self.ends[receiver])
    }

    /// Takes over what an accepted segment says of its sender's progress and window.
    #[inline(always)]
    fn learn(&mut self, direction: Direction, segment: &Segment) {
        let (sender, receiver) = (direction as usize, direction.opposite() as usize);
        if self.has_seen(receiver) {
            raise(&mut self.ends[sender], segment.end());
        } else {
            // With no window to judge by, one stray segment must not outweigh those that follow.
            self.ends[sender] = segment.end();
        }
        if !self.has_seen(sender) {
            // Its acknowledgement may cover what its peer sent before this connection was picked up.
            raise(&mut self.ends[receiver], segment.ack);
        }
        self.max_windows[sender] = self.max_windows[sender].max(segment.window).max(1);
        let window = u32::from(segment.window) << self.shift(sender);
        raise(&mut self.max_ends[receiver], segment.ack.wrapping_add(window));
    }

    /// The state that what has been seen so far amounts to, a RST aside.
    const fn state_by_facts(&self) -> State {
        match self.facts & fact::BOTH_FINS {
            fact::BOTH_FINS => State::TimeWait,
            0 if self.facts & fact::BOTH_ACKED == fact::BOTH_ACKED => State::Established,
            0 => State::SynReceived,
            _ if self.facts & fact::ONE_WAY != 0 => State::Parting,
            _ => State::Closing,
        }
    }

    fn enter(&mut self, state: State) -> Option<Change> {
        let was_open = self.state.is_open();
        self.state = state;
        match (was_open, state.is_open()) {
            (true, false) => Some(Change::Closed),
            (false, true) => Some(Change::Restored),
            _ => None,
        }
    }

    fn offer_scale(&mut self, side: usize, scale: Option<u8>) {
        let shift = scale.map_or(NO_SHIFT, |shift| shift.min(LARGEST_SHIFT));
        self.scales = self.scales & !(0xf << (4 * side)) | shift << (4 * side);
    }

    /// The shift that this side's SYN offered, if it did.
    pub(super) const fn offered_scale(&self, direction: Direction) -> Option<u8> {
        match self.scales >> (4 * direction as usize) & 0xf {
            NO_SHIFT => None,
            shift => Some(shift),
        }
    }

    /// After the handshake: windows are shifted if both SYNs offered it (RFC 7323 §2.2). Those of the SYNs were not.
    fn agree_on_scales(&mut self) {
        let shifts = [self.scales & 0xf, self.scales >> 4];
        if shifts.contains(&NO_SHIFT) || self.facts & fact::ONE_WAY != 0 {
            return;
        }
        self.facts |= fact::SCALED;
        for (window, shift) in self.max_windows.iter_mut().zip(shifts) {
            *window = window.div_ceil(1 << shift);
        }
    }

    #[inline(always)]
    const fn shift(&self, side: usize) -> u8 {
        if self.facts & fact::SCALED == 0 { 0 } else { self.scales >> (4 * side) & 0xf }
    }

    /// The largest window that `side` has advertised, in bytes.
    #[inline(always)]
    fn window(&self, side: usize) -> u32 {
        u32::from(self.max_windows[side]) << self.shift(side)
    }

    #[inline(always)]
    const fn has_seen(&self, side: usize) -> bool {
        self.max_windows[side] != 0
    }
}

/// Whether `a` comes after `b` on the circle of sequence numbers (RFC 9293 §3.4).
#[inline(always)]
const fn is_after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}

/// Whether `number` lies in `first..=last` on that circle.
#[inline(always)]
const fn is_within(number: u32, first: u32, last: u32) -> bool {
    !is_after(first, number) && !is_after(number, last)
}

#[inline(always)]
fn raise(number: &mut u32, to: u32) {
    if is_after(to, *number) {
        *number = to;
    }
}

#[cfg(test)]
#[path = "tcp_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "tcp_pass_tests.rs"]
mod pass_tests;
