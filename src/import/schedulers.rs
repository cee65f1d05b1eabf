//! IPVS's schedulers, and leat's that comes nearest to each.

use crate::scheduler::Algorithm;

/// What IPVS takes when nothing is said.
pub(super) const DEFAULT: &str = "wlc";

/// leat's scheduler in place of IPVS's `name`, and what is different, if anything is. `hashes_port` says whether the
/// flag `sh-port` or `mh-port` is set.
pub(super) fn nearest(name: &str, hashes_port: bool) -> (Algorithm, Option<String>) {
    let without_counterpart = |algorithm: Algorithm, what: &str| {
        (algorithm, Some(format!("{name} has no counterpart; {algorithm} is the nearest: {what}")))
    };
    match name {
        "rr" => (Algorithm::RoundRobin, None),
        "wrr" => (Algorithm::WeightedRoundRobin, None),
        "lc" => (Algorithm::LeastConnections, None),
        "wlc" => (Algorithm::WeightedLeastConnections, None),
        "sh" if hashes_port => (
            Algorithm::Maglev,
            Some("sh with sh-port hashes the client's address and port, as maglev does; sh hashes the address alone".to_owned()),
        ),
        "sh" => (Algorithm::SourceHash, None),
        "mh" if hashes_port => (Algorithm::Maglev, None),
        "mh" => (
            Algorithm::Maglev,
            Some(
                "mh without mh-port hashes the client's address alone, maglev the whole flow; write sh where a client is \
                 to keep its backend"
                    .to_owned(),
            ),
        ),
        "sed" => without_counterpart(Algorithm::WeightedLeastConnections, "it places connections by sed's own rule"),
        "nq" => without_counterpart(
            Algorithm::WeightedLeastConnections,
            "an idle backend does not come before a heavier one that is expected to be faster",
        ),
        "lblc" | "lblcr" => without_counterpart(
            Algorithm::WeightedLeastConnections,
            "one service has one destination, and nothing keeps it on one backend",
        ),
        "dh" => without_counterpart(
            Algorithm::SourceHash,
            "dh sends all that is for one address to one backend; sh keeps a client on one",
        ),
        "fo" => without_counterpart(
            Algorithm::WeightedLeastConnections,
            "all backends get connections, not the heaviest that is up alone; give the others weight 0 to hold them back",
        ),
        "ovf" => without_counterpart(
            Algorithm::WeightedLeastConnections,
            "all backends get connections by weight, not one after the other as they fill up",
        ),
        "twos" => without_counterpart(
            Algorithm::WeightedLeastConnections,
            "it looks at all backends, not at two that were drawn",
        ),
        _ => without_counterpart(Algorithm::WeightedLeastConnections, "it is what IPVS takes when nothing is said"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheduler_that_both_have_keeps_its_name_and_is_not_remarked_upon() {
        for name in ["rr", "wrr", "lc", "wlc", "sh"] {
            assert_eq!(nearest(name, false), (Algorithm::ALL.into_iter().find(|a| a.name() == name).unwrap(), None));
        }
        assert_eq!(nearest("mh", true), (Algorithm::Maglev, None));
    }

    #[test]
    fn what_is_different_is_said() {
        for (name, hashes_port, takes) in [
            ("mh", false, "maglev"),
            ("sh", true, "maglev"),
            ("sed", false, "wlc"),
            ("nq", false, "wlc"),
            ("lblc", false, "wlc"),
            ("lblcr", false, "wlc"),
            ("dh", false, "sh"),
            ("fo", false, "wlc"),
            ("ovf", false, "wlc"),
            ("twos", false, "wlc"),
            ("none-such", false, "wlc"),
        ] {
            let (algorithm, note) = nearest(name, hashes_port);
            assert_eq!(algorithm.name(), takes, "{name}");
            assert!(note.is_some_and(|note| note.contains(name)), "{name}");
        }
    }
}
