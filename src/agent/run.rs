//! From the start to the end: one agent in a network namespace, a thread for each socket, and a host that is at the end
//! what it was before.

use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Instant;
use std::{panic, process, thread};

use crossbeam::channel::{Sender, unbounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::Version;
use super::host::{self, Host};
use super::inner::Policy;
use super::netlink::Netlink;
use super::options::Settings;
use super::receive::{Receiver, Tunnel};
use super::report::report;
use super::state::StateFile;
use super::sysctl;

/// Why the agent cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is one in this network namespace.
    #[error("another leat-agent is running in this network namespace; end it first, or add the VIPs to it")]
    AlreadyRunning,
    /// The TUN device's name is taken.
    #[error("there is an interface {0} already; name another one with --device")]
    DeviceExists(String),
    /// `--interface` names none.
    #[error("there is no interface {0}; --interface names the one that tunnel packets come in by")]
    NoInterface(String),
    /// Clients' routers would find this host past the balancer.
    #[error(
        "{vip} is on {interface}, which answers {} for it; remove it there: leat-agent puts it on its own device",
        question(*vip)
    )]
    VipAnnounced {
        /// The VIP.
        vip: IpAddr,
        /// The interface.
        interface: String,
    },
    /// A VIP of IPv6, and no IPv6.
    #[error("{0} is of IPv6, which this kernel does not have (is it off by ipv6.disable=1?)")]
    NoIpv6(IpAddr),
    /// GUE's port is taken.
    #[error(
        "UDP port {0} is taken; name another one with --gue, or end what has it (the kernel's: ip fou del port {0})"
    )]
    PortTaken(u16),
    /// The kernel refused.
    #[error("{what}: {source}{}", hint(source))]
    System {
        /// What was tried.
        what: String,
        /// What came of it.
        source: io::Error,
    },
}

/// What hosts on a link ask for the address by.
const fn question(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "ARP",
        IpAddr::V6(_) => "neighbour discovery",
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => " (leat-agent runs as root, or with CAP_NET_ADMIN and CAP_NET_RAW)",
        _ => "",
    }
}

/// Makes an [`Error`] of an I/O error: `what` was being done.
pub(super) fn during(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::System { what: what.into(), source }
}

/// What ends the wait of the main thread.
enum Event {
    Signal(i32),
    Failed(Error),
}

/// Receives until SIGTERM, SIGINT or SIGHUP. SIGUSR1 prints the statistics, and so does the end.
///
/// # Errors
/// Why it could not start, or could not go on; the host is what it was then as well.
pub fn run(settings: &Settings) -> Result<(), Error> {
    let started = Instant::now();
    // As long as this is open there is no second one. It belongs to the namespace, and goes with the process.
    let _only_one = claim_namespace()?;
    let (sender, events) = unbounded();
    forward_signals(sender.clone()).map_err(during("listening for signals"))?;

    let state = StateFile::of_this_namespace().map_err(during("finding the network namespace"))?;
    host::mend(&state)?;
    host::check(settings)?;
    let receivers: Arc<[Receiver]> = open_receivers(settings)?.into();

    let undo = UndoAtEnd(state);
    undo.on_panic();
    let host = Arc::new(host::set_up(settings, &undo.0)?);
    start_receiving(settings, &host, &receivers, &sender).map_err(during("starting a thread"))?;
    print("leat-agent: ready\n");

    let end = loop {
        match events.recv() {
            Ok(Event::Signal(SIGUSR1)) => print(&report(&receivers, started.elapsed())),
            Ok(Event::Failed(error)) => break Err(error),
            Ok(Event::Signal(_)) | Err(_) => break Ok(()),
        }
    };
    if let Some(segments) = &host.segments {
        segments.end();
    }
    let removed = host::remove_device(&settings.device);
    let undone = host::undo(&undo.0);
    print(&report(&receivers, started.elapsed()));
    end.and(removed).and(undone.map(drop))
}

/// A name in the abstract namespace of Unix sockets, of which each network namespace has its own (unix(7)).
fn claim_namespace() -> Result<UnixDatagram, Error> {
    SocketAddr::from_abstract_name("leat-agent").and_then(|name| UnixDatagram::bind_addr(&name)).map_err(|error| {
        match error.kind() {
            io::ErrorKind::AddrInUse => Error::AlreadyRunning,
            _ => during("claiming the network namespace")(error),
        }
    })
}

fn open_receivers(settings: &Settings) -> Result<Vec<Receiver>, Error> {
    let open = |tunnel: Tunnel| {
        Receiver::open(tunnel, settings.interface.as_deref()).map_err(|error| match (error.kind(), tunnel) {
            (io::ErrorKind::AddrInUse, Tunnel::Gue { port, .. }) => Error::PortTaken(port),
            _ => during(format!("opening the socket for {}", tunnel.name()))(error),
        })
    };
    tunnels(settings, sysctl::has_ipv6()).into_iter().map(open).collect()
}

/// All kinds of tunnels that bring packets for the VIPs. What others bring is not taken away from whom it is for.
fn tunnels(settings: &Settings, has_ipv6: bool) -> Vec<Tunnel> {
    let outer = [Version::V4, Version::V6].into_iter().filter(|&version| version == Version::V4 || has_ipv6);
    let inner: Vec<_> = [Version::V4, Version::V6]
        .into_iter()
        .filter(|&version| settings.vips.iter().any(|&vip| Version::of(vip) == version))
        .collect();
    let ipip = outer
        .clone()
        .filter(|_| settings.ipip)
        .flat_map(|outer| inner.iter().map(move |&inner| Tunnel::Ipip { inner, outer }));
    let gue = outer.filter_map(|outer| settings.gue.map(|port| Tunnel::Gue { outer, port }));
    ipip.chain(gue).collect()
}

/// One thread for each socket, one for the host's own addresses, and one for the routes of `--mss`. They end with the process.
fn start_receiving(
    settings: &Settings,
    host: &Arc<Host>,
    receivers: &Arc<[Receiver]>,
    events: &Sender<Event>,
) -> io::Result<()> {
    let policy = Policy::new(&settings.vips, &settings.from, settings.gue_port());
    for index in 0..receivers.len() {
        let (receivers, host, events, policy) =
            (Arc::clone(receivers), Arc::clone(host), events.clone(), policy.clone());
        thread::Builder::new().name(receivers[index].tunnel.name().to_owned()).spawn(move || {
            let error = receivers[index].run(policy, &host.own, &host.device);
            // Nobody listens any more when the agent is ending.
            let _ = events.send(Event::Failed(during(format!("receiving {}", receivers[index].tunnel.name()))(error)));
        })?;
    }
    {
        let (host, events) = (Arc::clone(host), events.clone());
        thread::Builder::new().name("addresses".to_owned()).spawn(move || {
            let Err(error) = Netlink::open().and_then(|mut netlink| host.own.follow(&mut netlink));
            let _ = events.send(Event::Failed(during("following the host's addresses")(error)));
        })?;
    }
    if host.segments.is_some() {
        let (host, events) = (Arc::clone(host), events.clone());
        thread::Builder::new().name("routes".to_owned()).spawn(move || {
            let followed = host
                .segments
                .as_ref()
                .map(|segments| Netlink::open().and_then(|mut netlink| segments.follow(&mut netlink)));
            if let Some(Err(error)) = followed {
                let _ = events.send(Event::Failed(during("following the routes for --mss")(error)));
            }
        })?;
    }
    Ok(())
}

fn forward_signals(events: Sender<Event>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR1])?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            if events.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

/// Undoes what was changed when it goes, by whatever way; a second time does nothing.
struct UndoAtEnd(StateFile);

impl UndoAtEnd {
    /// A panic ends the process, in whichever thread it is: then too, after the host is tidied up.
    fn on_panic(&self) {
        let (state, print) = (self.0.clone(), panic::take_hook());
        panic::set_hook(Box::new(move |info| {
            print(info);
            undo_or_say(&state);
            process::exit(1);
        }));
    }
}

impl Drop for UndoAtEnd {
    fn drop(&mut self) {
        undo_or_say(&self.0);
    }
}

fn undo_or_say(state: &StateFile) {
    if let Err(error) = host::undo(state) {
        log::error!("{error}; the next start tries again");
    }
}

fn print(text: &str) {
    // A reader that has gone away has read enough.
    let mut out = io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnels_are_opened_for_what_the_vips_can_get() {
        let names = |vips: &[&str], ipip, gue, has_ipv6| {
            let vips = vips.iter().map(|vip| vip.parse().unwrap()).collect();
            let settings =
                Settings { vips, ipip, gue, from: vec![], interface: None, device: "leat0".to_owned(), mss: None };
            tunnels(&settings, has_ipv6).into_iter().map(Tunnel::name).collect::<Vec<_>>()
        };
        let (four, six) = ("20.0.0.1", "2001:db8::10");
        let all = ["ipip-4in4", "ipip-6in4", "ipip-4in6", "ipip-6in6", "gue-ipv4", "gue-ipv6"];
        assert_eq!(names(&[four, six], true, Some(6080), true), all);
        assert_eq!(names(&[four], true, None, true), ["ipip-4in4", "ipip-4in6"]);
        assert_eq!(names(&[six], true, None, true), ["ipip-6in4", "ipip-6in6"]);
        assert_eq!(names(&[six], false, Some(7000), true), ["gue-ipv4", "gue-ipv6"]);
        assert_eq!(names(&[four], true, Some(6080), false), ["ipip-4in4", "gue-ipv4"]);
    }
}
