//! EAL's arguments: what leat adds to them, so that it starts on a machine where nothing was prepared.
//!
//! EAL reads its arguments with getopt_long(3), and so does this module: `--name value` and `--name=value`, names cut
//! short where that is unambiguous, `-m512` and `-m 512`. What it does not know it leaves to EAL.

use std::fs;
use std::path::Path;

use Takes::{Maybe, Nothing, Value};

use super::problem::Failure;

/// Where the kernel counts hugepages, for [`free_hugepage_bytes`].
pub const HUGEPAGES: &str = "/sys/kernel/mm/hugepages";

/// Whether an option is followed by a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Value,
    /// Only as `--name=value`.
    Maybe,
}

/// EAL's long options in DPDK 22.11 to 24.11.
const LONG: [(&str, Takes); 39] = [
    ("allow", Value),
    ("base-virtaddr", Value),
    ("block", Value),
    ("create-uio-dev", Nothing),
    ("file-prefix", Value),
    ("force-max-simd-bitwidth", Value),
    ("help", Nothing),
    ("huge-dir", Value),
    ("huge-unlink", Maybe),
    ("huge-worker-stack", Maybe),
    ("in-memory", Nothing),
    ("iova-mode", Value),
    ("lcores", Value),
    ("legacy-mem", Nothing),
    ("log-color", Maybe),
    ("log-level", Value),
    ("log-timestamp", Maybe),
    ("main-lcore", Value),
    ("match-allocations", Nothing),
    ("mbuf-pool-ops-name", Value),
    ("no-hpet", Nothing),
    ("no-huge", Nothing),
    ("no-pci", Nothing),
    ("no-shconf", Nothing),
    ("no-telemetry", Nothing),
    ("proc-type", Value),
    ("single-file-segments", Nothing),
    ("socket-limit", Value),
    ("socket-mem", Value),
    ("syslog", Value),
    ("telemetry", Nothing),
    ("trace", Value),
    ("trace-bufsz", Value),
    ("trace-dir", Value),
    ("trace-mode", Value),
    ("vdev", Value),
    ("vfio-intr", Value),
    ("vfio-vf-token", Value),
    ("vmware-tsc-map", Nothing),
];

/// EAL's options of one letter that are followed by a value, and those that are not.
const SHORT_WITH_VALUE: &str = "abcdlmnrsS";
const SHORT_ALONE: &str = "hv";

/// The options that say where memory comes from. Who gives one has decided, and leat adds none.
const MEMORY: [&str; 10] = [
    "m",
    "socket-mem",
    "socket-limit",
    "no-huge",
    "in-memory",
    "legacy-mem",
    "huge-dir",
    "huge-unlink",
    "single-file-segments",
    "match-allocations",
];

/// Arguments that EAL can be started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed {
    /// The arguments, without the program's name.
    pub args: Vec<String>,
    /// What was added and why, a sentence each.
    pub notes: Vec<String>,
}

/// Adds what the user left open: memory, and a file prefix of this process's own, so that two instances can run side
/// by side. `pid` is this process.
///
/// # Errors
/// An option without its value, which would swallow what is added; and `--no-huge` together with `--in-memory`, which
/// EAL refuses in words about an option that nobody wrote.
pub fn complete(mut args: Vec<String>, free_hugepages: bool, pid: u32) -> Result<Completed, Failure> {
    let given = options(&args)?;
    let has = |name: &str| given.iter().any(|(given, _)| *given == name);
    if has("no-huge") && has("in-memory") {
        return Err(Failure::new(
            "--no-huge and --in-memory exclude each other; write --no-huge without hugepages, --in-memory with them",
        ));
    }
    let mut added: Vec<String> = Vec::new();
    let mut notes = Vec::new();
    if !MEMORY.iter().any(|name| has(name)) {
        if free_hugepages {
            added.push("--in-memory".to_owned());
            notes.push("added --in-memory: hugepages are taken without a mounted hugetlbfs".to_owned());
        } else {
            added.extend(["--no-huge", "-m", "512"].map(str::to_owned));
            if !has("no-shconf") {
                added.push("--no-shconf".to_owned());
            }
            notes.push(format!("no hugepages are free: added {}", added.join(" ")));
        }
    }
    if !has("file-prefix") {
        added.push(format!("--file-prefix=leat-{pid}"));
    }
    args.extend(added);
    Ok(Completed { args, notes })
}

/// What `--vdev` says in `args`, as often as it is there: a device's name, and its own arguments behind a comma.
pub fn virtual_devices(args: &[String]) -> impl Iterator<Item = &str> {
    args.iter().enumerate().filter_map(|(at, arg)| {
        let long = arg.strip_prefix("--")?;
        let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
        let (name, _) = in_full(name)?;
        (name == "vdev").then(|| value.or_else(|| args.get(at + 1).map(String::as_str)))?
    })
}

/// The options of `args`, in order: each by its name, without dashes and in full, with its value, which is empty where it
/// has none. Nothing at all where EAL would not understand them either.
pub fn given(args: &[String]) -> Vec<(&str, &str)> {
    options(args).unwrap_or_default()
}

/// How many bytes of hugepages are free and not promised to anybody, over all their sizes. `root` is [`HUGEPAGES`].
/// What cannot be read counts as none.
pub fn free_hugepage_bytes(root: &Path) -> u64 {
    let Ok(sizes) = fs::read_dir(root) else { return 0 };
    sizes
        .flatten()
        .filter_map(|size| {
            let name = size.file_name();
            let kilobytes: u64 = name.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let count = |file: &str| fs::read_to_string(size.path().join(file)).ok()?.trim().parse::<u64>().ok();
            let pages = count("free_hugepages")?.saturating_sub(count("resv_hugepages").unwrap_or(0));
            Some(pages.saturating_mul(kilobytes).saturating_mul(1024))
        })
        .sum()
}

/// Whether EAL has an option of this spelling, dashes included.
pub(super) fn knows(spelling: &str) -> bool {
    if let Some(name) = spelling.strip_prefix("--") {
        return LONG.iter().any(|(known, _)| *known == name);
    }
    spelling
        .strip_prefix('-')
        .is_some_and(|letter| letter.len() == 1 && (SHORT_WITH_VALUE.contains(letter) || SHORT_ALONE.contains(letter)))
}

/// EAL's options in `args` with their values: the names without dashes and in full.
fn options(args: &[String]) -> Result<Vec<(&str, &str)>, Failure> {
    let mut found = Vec::new();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let wants_value = if let Some(long) = arg.strip_prefix("--") {
            let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            let Some((name, takes)) = in_full(name) else { continue };
            found.push((name, value.unwrap_or_default()));
            takes == Value && value.is_none()
        } else if let Some(letters) = arg.strip_prefix('-') {
            short_options(letters, &mut found)
        } else {
            false
        };
        if wants_value {
            let Some(value) = rest.next() else {
                return Err(Failure::new(format_args!("EAL option {arg} needs a value; write it after {arg}")));
            };
            if let Some((_, last)) = found.last_mut() {
                *last = value;
            }
        }
    }
    Ok(found)
}

/// The option that a name, perhaps cut short, stands for.
fn in_full(name: &str) -> Option<(&'static str, Takes)> {
    if let Some(exact) = LONG.iter().find(|(known, _)| *known == name) {
        return Some(*exact);
    }
    let mut candidates = LONG.iter().filter(|(known, _)| known.starts_with(name));
    match (candidates.next(), candidates.next()) {
        (Some(only), None) => Some(*only),
        _ => None,
    }
}

/// Takes `-vm512` apart. Says whether the last letter's value is the next argument.
fn short_options<'a>(letters: &'a str, found: &mut Vec<(&'a str, &'a str)>) -> bool {
    for (at, letter) in letters.char_indices() {
        let after = at + letter.len_utf8();
        if SHORT_WITH_VALUE.contains(letter) {
            found.push((&letters[at..after], &letters[after..]));
            return after == letters.len();
        }
        if !SHORT_ALONE.contains(letter) {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(args: &str, free_hugepages: bool) -> Vec<String> {
        let args = args.split_whitespace().map(str::to_owned).collect();
        complete(args, free_hugepages, 7).unwrap().args
    }

    #[test]
    fn without_hugepages_plain_memory_is_asked_for() {
        assert_eq!(
            completed("-l 0 --vdev=net_tap0", false).join(" "),
            "-l 0 --vdev=net_tap0 --no-huge -m 512 --no-shconf --file-prefix=leat-7"
        );
    }

    #[test]
    fn with_hugepages_no_mount_is_needed() {
        assert_eq!(completed("-l 0", true).join(" "), "-l 0 --in-memory --file-prefix=leat-7");
    }

    #[test]
    fn who_says_where_memory_comes_from_is_obeyed() {
        for said in [
            "-m 64",
            "-m64",
            "-vm64",
            "-v -m 64",
            "--socket-mem=64",
            "--socket-mem 64",
            "--socket-m 64",
            "--no-huge",
            "--in-memory",
            "--legacy-mem",
            "--huge-dir=/mnt",
            "--huge-unlink",
            "--huge-unlink=always",
            "--single-file-segments",
            "--single",
        ] {
            for free in [false, true] {
                assert_eq!(completed(said, free).join(" "), format!("{said} --file-prefix=leat-7"));
            }
        }
    }

    #[test]
    fn a_value_is_not_mistaken_for_an_option() {
        let args = completed("--log-level --no-huge -d -m512", false);
        assert!(args.contains(&"512".to_owned()), "{args:?}");
        assert!(completed("--iova-mode=va", false).contains(&"--no-huge".to_owned()));
        assert!(completed("-n 4 -l0", false).contains(&"--no-huge".to_owned()));
    }

    #[test]
    fn a_given_file_prefix_stays() {
        for said in ["--file-prefix=a", "--file-prefix a", "--file a"] {
            assert_eq!(completed(&format!("{said} --no-huge"), false).join(" "), format!("{said} --no-huge"));
        }
    }

    #[test]
    fn virtual_devices_are_found_in_every_spelling() {
        let args = ["--vdev=net_tap0,iface=a", "-l", "0", "--vdev", "net_null0", "--vde=net_null1", "--vdev"];
        let args = args.map(str::to_owned);
        assert_eq!(virtual_devices(&args).collect::<Vec<_>>(), ["net_tap0,iface=a", "net_null0", "net_null1"]);
    }

    #[test]
    fn options_are_told_with_their_values_in_every_spelling() {
        let args = ["-l", "0-1", "-vm512", "--allow=0000:01:00.0", "-a0000:02:00.0", "--file", "x", "--no-hu"];
        let args = args.map(str::to_owned);
        let wanted = [
            ("l", "0-1"),
            ("m", "512"),
            ("allow", "0000:01:00.0"),
            ("a", "0000:02:00.0"),
            ("file-prefix", "x"),
            ("no-huge", ""),
        ];
        assert_eq!(given(&args), wanted);
        assert_eq!(given(&["-l".to_owned()]), []);
    }

    #[test]
    fn shconf_is_switched_off_once() {
        let args = completed("--no-shconf", false);
        assert_eq!(args.iter().filter(|arg| *arg == "--no-shconf").count(), 1);
    }

    #[test]
    fn what_eal_would_misunderstand_is_refused() {
        let refused =
            |args: &[&str]| complete(args.iter().map(|arg| (*arg).to_owned()).collect(), false, 7).unwrap_err().message;
        assert!(refused(&["--no-huge", "--in-memory"]).contains("exclude each other"));
        assert!(refused(&["-l"]).contains("-l needs a value"));
        assert!(refused(&["-l", "0", "--vdev"]).contains("--vdev needs a value"));
    }

    #[test]
    fn a_note_says_what_was_added_for_want_of_hugepages() {
        let notes = complete(Vec::new(), false, 7).unwrap().notes;
        assert_eq!(notes, ["no hugepages are free: added --no-huge -m 512 --no-shconf"]);
    }

    #[test]
    fn free_hugepages_are_summed_over_their_sizes_without_the_reserved() {
        let root = tempfile::tempdir().unwrap();
        let size = |name: &str, free: &str, reserved: Option<&str>| {
            let dir = root.path().join(name);
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("free_hugepages"), free).unwrap();
            if let Some(reserved) = reserved {
                fs::write(dir.join("resv_hugepages"), reserved).unwrap();
            }
        };
        assert_eq!(free_hugepage_bytes(root.path()), 0);
        size("hugepages-2048kB", "5\n", Some("2\n"));
        size("hugepages-1048576kB", "1\n", None);
        size("something-else", "9\n", None);
        assert_eq!(free_hugepage_bytes(root.path()), 3 * (2 << 20) + (1 << 30));
        assert_eq!(free_hugepage_bytes(Path::new("/nowhere/at/all")), 0);
    }
}
