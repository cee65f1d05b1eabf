//! Whether ports and steering go together.

/// How packets of TCP and UDP come from a port to the lcores that own their flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alignment {
    /// There is one lcore.
    Single,
    /// leat follows the port's receive-side scaling, which delivers them there.
    Rss,
    /// leat follows another port's, and this port does not do the same: most are handed over.
    HandOver,
    /// leat follows no port's: most are handed over.
    Modulo,
}

impl Alignment {
    /// Its name in the statistics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Single => "one lcore",
            Self::Rss => "rss",
            Self::HandOver => "hand-over",
            Self::Modulo => "port mod lcores",
        }
    }
}
