//! leat-agent: the real binary, started on a host, asked, and stopped.

use std::collections::BTreeMap;

use super::{
    LIMIT,
    net::{Net, Role},
    process::{Finished, Process},
};

/// A leat-agent that has said that it is ready.
#[derive(Debug)]
pub struct Agent {
    process: Process,
}

impl Agent {
    /// Starts it on a host. It must become ready.
    #[track_caller]
    pub fn start(net: &Net, role: Role, arguments: &[&str]) -> Self {
        let mut command = net.command(role, binary());
        let mut process = Process::spawn(command.args(arguments));
        process.wait_for_output("'leat-agent: ready'", LIMIT, |stdout, _| {
            stdout.lines().any(|line| line == "leat-agent: ready")
        });
        Self { process }
    }

    /// What it has printed on standard error so far.
    pub fn stderr(&self) -> String {
        self.process.stderr()
    }

    pub fn signal(&mut self, name: &str) {
        self.process.signal(name);
    }

    /// Has the statistics printed (SIGUSR1), and returns them.
    #[track_caller]
    pub fn report(&mut self) -> Report {
        const LAST: &str = "end of statistics\n";
        let before = self.process.stdout().len();
        self.process.signal("USR1");
        let is_whole = |stdout: &str| stdout.get(before..).is_some_and(|new| new.ends_with(LAST));
        let (stdout, _) = self.process.wait_for_output("statistics", LIMIT, |stdout, _| is_whole(stdout));
        Report::parse(&stdout[before..])
    }

    /// Ends it without a chance to tidy up.
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// Ends it as a user does, with SIGTERM.
    #[track_caller]
    pub fn stop(self) -> Finished {
        self.end("TERM")
    }

    /// Ends it with a signal.
    #[track_caller]
    pub fn end(mut self, signal: &str) -> Finished {
        self.process.signal(signal);
        self.process.wait(LIMIT)
    }
}

/// leat-agent's binary.
pub fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_leat-agent")
}

/// The statistics of a [`Agent`].
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    /// Tunnel packets that came, and inner packets that were delivered, by tunnel.
    pub tunnels: BTreeMap<String, (u64, u64)>,
    /// Packets dropped, by tunnel and reason.
    pub drops: BTreeMap<(String, String), u64>,
}

impl Report {
    /// Reads the tables.
    ///
    /// # Panics
    /// When they are not as they should be.
    pub fn parse(page: &str) -> Self {
        let mut sections = page.split("\n\n");
        let mut rows = |title: &str| -> Vec<Vec<String>> {
            let section =
                sections.find(|section| section.starts_with(title)).unwrap_or_else(|| panic!("no {title} in {page}"));
            let rows = section.lines().skip(2).map(|line| line.split_whitespace().map(str::to_owned).collect());
            rows.collect()
        };
        let number = |text: &String| text.parse().unwrap_or_else(|_| panic!("'{text}' is no number in {page}"));
        let tunnels = rows("tunnels").iter().map(|row| (row[0].clone(), (number(&row[1]), number(&row[2])))).collect();
        let drops =
            rows("dropped packets").iter().map(|row| ((row[0].clone(), row[1].clone()), number(&row[2]))).collect();
        Self { tunnels, drops }
    }
}
