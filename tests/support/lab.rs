//! A lab's network, made by its script in `scripts/labs`, and programs in it.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    LIMIT, LONG, TempDir, agent,
    capture::Capture,
    leat::{self, Leat, TAP},
    net::namespaces,
    process::{self, Finished, Process, run},
    repository, require_root,
    servers::Nginx,
    unique, wait_for,
};

/// The version of IP that a lab speaks, and what is written differently in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V4,
    V6,
}

impl Version {
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The words that have a script speak it.
    pub fn option(self) -> &'static [&'static str] {
        self.either(&[], &["--ipv6"])
    }

    pub fn either<T>(self, v4: T, v6: T) -> T {
        match self {
            Self::V4 => v4,
            Self::V6 => v6,
        }
    }

    /// An address of the labs' networks: 10.A.B.C stands for 2001:db8:A:B::C, and 20.0.0.1 for 2001:db8:20::1.
    pub fn at(self, address: &str) -> String {
        let numbers: Vec<&str> = address.split('.').collect();
        match (self, &numbers[..]) {
            (Self::V4, _) => address.to_owned(),
            (Self::V6, ["10", "0", "0", host]) => format!("2001:db8::{host}"),
            (Self::V6, ["10", area, net, host]) => format!("2001:db8:{area}:{net}::{host}"),
            (Self::V6, [area, .., host]) => format!("2001:db8:{area}::{host}"),
            (Self::V6, _) => panic!("no address of IPv4: {address}"),
        }
    }

    /// `http://ADDRESS`
    pub fn url(self, address: &str) -> String {
        let address = self.at(address);
        self.either(format!("http://{address}"), format!("http://[{address}]"))
    }

    /// A host and its port, as arguments of leat's have it.
    pub fn place(self, address: &str, port: u16) -> String {
        let address = self.at(address);
        self.either(format!("{address}:{port}"), format!("[{address}]:{port}"))
    }

    /// TCP's flags in a filter; those of libpcap do not look into TCP over IPv6 by themselves.
    pub fn tcp_flags(self) -> &'static str {
        self.either("tcp and tcp[tcpflags]", "tcp and ip6[53]")
    }

    /// What tcpdump's lines begin with.
    pub fn shown(self) -> &'static str {
        self.either("IP", "IP6")
    }
}

/// A network that is up; it goes down, with every process in it, when the value goes. Hosts have the names that the
/// lab's page gives them.
#[derive(Debug)]
pub struct Lab {
    lab: &'static str,
    name: String,
}

impl Lab {
    /// The network of `scripts/labs/LAB.sh`.
    #[track_caller]
    pub fn up(lab: &'static str) -> Self {
        Self::up_in(lab, Version::V4)
    }

    /// The network of `scripts/labs/LAB.sh` in a version of IP.
    #[track_caller]
    pub fn up_in(lab: &'static str, version: Version) -> Self {
        let lab = Self::down(lab);
        lab.act(&[&["up"], version.option()].concat()).success();
        lab
    }

    /// A name for a network that is not there yet.
    pub fn down(lab: &'static str) -> Self {
        require_root();
        Self { lab, name: unique(lab) }
    }

    /// Runs the whole demonstration with the binaries under test; returns what it printed.
    #[track_caller]
    pub fn demonstrate(self, version: Version) -> String {
        let binaries = binaries();
        let mut script = script(self.lab, &self.name);
        let finished = run(script.args(version.option()).arg("--binaries").arg(binaries.path()), LONG).success();
        assert_eq!(self.namespaces(), [""; 0], "{finished}");
        finished.stdout
    }

    /// Starts the whole demonstration; it is somewhere in it when this returns.
    pub fn start_demonstration(&self) -> (Process, TempDir) {
        let binaries = binaries();
        let mut script = process::command(script_file(self.lab));
        script.args(["--name", &self.name, "--binaries"]).arg(binaries.path());
        (Process::spawn(&mut script), binaries)
    }

    /// Runs the script with a word or more, such as `up`.
    pub fn act(&self, words: &[&str]) -> Finished {
        run(script(self.lab, &self.name).args(words), LONG)
    }

    /// The namespaces that there are.
    pub fn namespaces(&self) -> Vec<String> {
        let prefix = format!("leat-{}-", self.name);
        namespaces().into_iter().filter(|namespace| namespace.starts_with(&prefix)).collect()
    }

    /// A host's namespace, for `ip netns`.
    pub fn namespace(&self, host: &str) -> String {
        format!("leat-{}-{host}", self.name)
    }

    /// A command that will run on a host.
    pub fn command(&self, host: &str, program: impl AsRef<OsStr>) -> Command {
        let mut outer = Command::new("ip");
        let inner = process::command(program);
        outer.args(["netns", "exec", &self.namespace(host)]).arg(inner.get_program()).args(inner.get_args());
        outer
    }

    /// Runs a program to its end, for at most [`LONG`]: `words` are its name and arguments.
    #[track_caller]
    pub fn exec(&self, host: &str, words: &[&str]) -> Finished {
        run(&mut self.words(host, words), LONG)
    }

    /// Starts a program and goes on.
    pub fn spawn(&self, host: &str, words: &[&str]) -> Process {
        Process::spawn(&mut self.words(host, words))
    }

    fn words(&self, host: &str, words: &[&str]) -> Command {
        let (program, arguments) = words.split_first().expect("a program's name");
        let mut command = self.command(host, program);
        command.args(arguments);
        command
    }

    /// Starts leat on a host's tap, with the lab's own configuration and further options.
    #[track_caller]
    pub fn leat(&self, host: &str, configuration: &str, own: &[&str]) -> Leat {
        let file = repository().join("docs/labs").join(configuration);
        let file = file.to_str().expect("the repository's path is UTF-8");
        self.leat_with(host, &[&["--config", file], own].concat())
    }

    /// Starts leat on a host's tap, with these options.
    #[track_caller]
    pub fn leat_with(&self, host: &str, own: &[&str]) -> Leat {
        Leat::launch(self.command(host, leat::binary()), TAP, own)
    }

    /// Captures on a host's interface.
    pub fn capture(&self, host: &str, interface: &str) -> Capture {
        Capture::start_by(self.command(host, "tcpdump"), interface)
    }

    /// Starts nginx on a host; it says that it is `address`.
    #[track_caller]
    pub fn nginx(&self, host: &str, address: &str, port: u16, big: usize) -> Nginx {
        let nginx = Nginx::launch(self.command(host, "nginx"), address, port, big);
        let source = format!("sport = :{port}");
        wait_for(&format!("nginx on {host}"), LIMIT, || {
            let sockets = self.exec(host, &["ss", "-Hlnt", &source]).success().stdout;
            (!sockets.is_empty()).then_some(())
        });
        nginx
    }

    /// One request with curl on a host, with further options; returns the body, which must come.
    #[track_caller]
    pub fn curl(&self, host: &str, url: &str, options: &[&str]) -> String {
        let curl = ["curl", "-sS", "--fail", "--max-time", "60", "-H", "Connection: close", url];
        self.exec(host, &[&curl[..], options].concat()).success().stdout
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Not through `run`: a panic while another one unwinds would abort the tests.
        let _ = script(self.lab, &self.name).arg("down").status();
        let _ = fs::remove_dir_all(repository().join("target/labs").join(&self.name));
    }
}

/// A folder with the binaries under test, as `--binaries` wants it.
fn binaries() -> TempDir {
    let folder = TempDir::new("binaries");
    for binary in [leat::binary(), agent::binary()] {
        let name = Path::new(binary).file_name().expect("a binary has a name");
        std::os::unix::fs::symlink(binary, folder.join(&name.to_string_lossy())).expect("a link can be made");
    }
    folder
}

fn script(lab: &str, name: &str) -> Command {
    let mut script = Command::new(script_file(lab));
    script.args(["--name", name]);
    script
}

fn script_file(lab: &str) -> PathBuf {
    repository().join("scripts/labs").join(format!("{lab}.sh"))
}
