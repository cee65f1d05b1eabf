//! A network of namespaces, made by `scripts/netns.sh`: what its hosts are called, and running programs in them.

use std::{
    ffi::OsStr,
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    process::Command,
    time::Duration,
};

use super::{
    LIMIT,
    process::{Finished, Process, command, run},
    repository, require_root, unique, wait_for,
};

/// A namespace's part in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The clients, from 1.
    Client(u8),
    /// The backends, from 1.
    Backend(u8),
    /// The bridge, and leat's end of it.
    Lb,
}

pub const CLIENT: Role = Role::Client(1);
pub const B1: Role = Role::Backend(1);
pub const B2: Role = Role::Backend(2);

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(1) => f.write_str("client"),
            Self::Client(n) => write!(f, "client{n}"),
            Self::Backend(n) => write!(f, "b{n}"),
            Self::Lb => f.write_str("lb"),
        }
    }
}

/// How many hosts there are, and what leat's port is.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub clients: u8,
    pub backends: u8,
    /// A veth end `vethdpdk` for net_af_packet, in place of the tap `tapdpdk`.
    pub veth: bool,
    /// Hosts hear leat and no other host.
    pub isolated: bool,
    /// Hosts have IPv6 as well.
    pub ipv6: bool,
}

impl Default for Shape {
    /// One client, two backends, a tap, and everybody hears everybody.
    fn default() -> Self {
        Self { clients: 1, backends: 2, veth: false, isolated: false, ipv6: false }
    }
}

/// A network that is up; it goes down, with every process in it, when the value goes.
#[derive(Debug)]
pub struct Net {
    name: String,
    shape: Shape,
}

impl Net {
    /// The default shape.
    pub fn up(label: &str) -> Self {
        Self::up_as(label, Shape::default())
    }

    pub fn up_as(label: &str, shape: Shape) -> Self {
        require_root();
        let net = Self { name: unique(label), shape };
        net.up_again();
        net
    }

    /// Runs `netns.sh up` once more, which mends what is broken and leaves alone what is whole.
    pub fn up_again(&self) {
        let Shape { clients, backends, veth, isolated, ipv6 } = self.shape;
        let mut script = script(&self.name);
        script.args(["up", "--clients", &clients.to_string(), "--backends", &backends.to_string()]);
        if veth {
            script.arg("--veth");
        }
        if isolated {
            script.arg("--isolated");
        }
        if ipv6 {
            script.arg("--ipv6");
        }
        run(&mut script, LIMIT).success();
    }

    /// Rebuilds it as another shape; what ran in it ends.
    pub fn reshape(&mut self, shape: Shape) {
        self.shape = shape;
        self.up_again();
    }

    /// Its name for `netns.sh --name`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace's name for `ip netns`.
    pub fn namespace(&self, role: Role) -> String {
        format!("leat-{}-{role}", self.name)
    }

    /// A host's address, as `netns.sh` numbers them: clients, then backends, leaving out 10 to 19.
    ///
    /// # Panics
    /// For [`Role::Lb`], which has none.
    pub fn address(&self, role: Role) -> Ipv4Addr {
        let index = match role {
            Role::Client(n) => n,
            Role::Backend(n) => self.shape.clients + n,
            Role::Lb => panic!("the bridge has no address"),
        };
        Ipv4Addr::new(10, 0, 0, if index < 10 { index } else { index + 10 })
    }

    /// A host's IPv6 address, where it has one: the same digits at the end.
    pub fn address_v6(&self, role: Role) -> Ipv6Addr {
        let last = self.address(role).octets()[3];
        format!("2001:db8::{last}").parse().expect("an address")
    }

    /// A host's Ethernet address, as tcpdump prints it.
    pub fn mac(&self, role: Role) -> String {
        format!("02:00:00:00:00:{:02x}", self.address(role).octets()[3])
    }

    /// A command that will run in the role's namespace.
    pub fn command(&self, role: Role, program: impl AsRef<OsStr>) -> Command {
        let mut outer = Command::new("ip");
        let inner = command(program);
        outer.args(["netns", "exec", &self.namespace(role)]).arg(inner.get_program()).args(inner.get_args());
        outer
    }

    /// Runs a program to its end, for at most [`LIMIT`]: `words` are its name and arguments.
    #[track_caller]
    pub fn exec(&self, role: Role, words: &[&str]) -> Finished {
        self.exec_within(role, words, LIMIT)
    }

    /// [`exec`](Self::exec) with another limit.
    #[track_caller]
    pub fn exec_within(&self, role: Role, words: &[&str], limit: Duration) -> Finished {
        run(&mut self.words(role, words), limit)
    }

    /// Starts a program and goes on.
    pub fn spawn(&self, role: Role, words: &[&str]) -> Process {
        Process::spawn(&mut self.words(role, words))
    }

    /// Starts a program whose standard input the test writes.
    pub fn spawn_with_input(&self, role: Role, words: &[&str]) -> Process {
        Process::spawn_with_input(&mut self.words(role, words))
    }

    fn words(&self, role: Role, words: &[&str]) -> Command {
        let (program, arguments) = words.split_first().expect("a program's name");
        let mut command = self.command(role, program);
        command.args(arguments);
        command
    }

    /// Waits until something listens on a port in the role's namespace.
    pub fn wait_until_listening(&self, role: Role, transport: Transport, port: u16) {
        let socket = match transport {
            Transport::Tcp => "-Hlnt",
            Transport::Udp => "-Hlnu",
        };
        let source = format!("sport = :{port}");
        wait_for(&format!("a listener on {role}, {transport:?} port {port}"), LIMIT, || {
            let sockets = self.exec(role, &["ss", socket, &source]).success().stdout;
            (!sockets.is_empty()).then_some(())
        });
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        // Not through `run`: a panic while another one unwinds would abort the tests.
        let _ = script(&self.name).arg("down").status();
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Transport {
    Tcp,
    Udp,
}

/// `scripts/netns.sh --name NAME`.
pub fn script(name: &str) -> Command {
    let mut script = Command::new(repository().join("scripts/netns.sh"));
    script.args(["--name", name]);
    script
}

/// The names of all network namespaces on this machine.
pub fn namespaces() -> Vec<String> {
    let list = run(command("ip").args(["netns", "list"]), LIMIT).success().stdout;
    list.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}
