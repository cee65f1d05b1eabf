//! When answers, or their absence, change what is thought of a backend.

/// What is thought of one backend, and how firmly.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    rise: u8,
    fall: u8,
    is_up: bool,
    /// How many probes in a row have spoken against `is_up`.
    against: u8,
    /// Whether any probe has ever been decided in its favour.
    is_proven: bool,
}

/// What one more probe has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A backend that was taken as up is.
    Proven,
    /// It is up again.
    Up,
    /// It is down.
    Down,
}

impl Verdict {
    /// A backend that nobody has probed yet: up until it is proven down.
    pub(super) const fn new(rise: u8, fall: u8) -> Self {
        Self { rise, fall, is_up: true, against: 0, is_proven: false }
    }

    /// The same, where it takes so many probes from now on to change it.
    pub(super) const fn with(self, rise: u8, fall: u8) -> Self {
        Self { rise, fall, ..self }
    }

    /// Takes in one probe that was answered, or was not.
    pub(super) fn observe(&mut self, is_answered: bool) -> Option<News> {
        let was_proven = self.is_proven;
        self.is_proven |= is_answered;
        if is_answered == self.is_up {
            self.against = 0;
            return (is_answered && !was_proven).then_some(News::Proven);
        }
        self.against += 1;
        if self.against < if self.is_up { self.fall } else { self.rise } {
            return None;
        }
        self.against = 0;
        self.is_up = is_answered;
        Some(if is_answered { News::Up } else { News::Down })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each probe is a sign: `+` answered, `-` not. What follows is the news at each: `u` up, `d` down, `p` proven.
    fn story(rise: u8, fall: u8, probes: &str) -> String {
        let mut verdict = Verdict::new(rise, fall);
        probes
            .chars()
            .map(|sign| match verdict.observe(sign == '+') {
                None => '.',
                Some(News::Proven) => 'p',
                Some(News::Up) => 'u',
                Some(News::Down) => 'd',
            })
            .collect()
    }

    #[test]
    fn the_verdict_changes_after_so_many_in_a_row_and_is_told_once() {
        for (rise, fall, probes, news) in [
            (1, 1, "++--++--", "p.d.u.d."),
            (1, 1, "---", "d.."),
            (1, 3, "+--+---", "p.....d"),
            (3, 1, "+-++-+++", "pd.....u"),
            (2, 2, "-+-+-+-+", ".p......"),
            (2, 2, "--+-+-++", ".d.....u"),
            (255, 1, "-+", "d."),
        ] {
            assert_eq!(story(rise, fall, probes), news, "rise {rise}, fall {fall}: {probes}");
        }
    }
}
