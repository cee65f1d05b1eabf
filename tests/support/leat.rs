//! leat itself: the real binary, started, asked, and stopped.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::{
    LIMIT, TempDir,
    net::{Net, Role},
    pcap::{self, Frame},
    process::{Finished, Process, command, run},
    unique, wait_for,
};

/// EAL's options for one lcore on the tap of a [`Net`].
pub const TAP: &[&str] = &["-l", "0", "--no-pci", "--vdev=net_tap0,iface=tapdpdk"];

/// EAL's options for one lcore on the veth of a [`Net`].
pub const VETH: &[&str] = &["-l", "0", "--no-pci", "--vdev=net_af_packet0,iface=vethdpdk"];

/// A leat that has said that it is ready.
#[derive(Debug)]
pub struct Leat {
    process: Process,
    command: Command,
    api: PathBuf,
    /// EAL's directory for this process.
    runtime: PathBuf,
    _directory: TempDir,
}

impl Leat {
    /// Starts leat in no namespace: for ports that are files or memory. It must become ready.
    ///
    /// `--api` and `--file-prefix` are added, with values of its own.
    #[track_caller]
    pub fn start(eal: &[&str], own: &[&str]) -> Self {
        Self::launch(command(binary()), eal, own)
    }

    /// Starts leat at its end of the bridge.
    #[track_caller]
    pub fn start_in(net: &Net, eal: &[&str], own: &[&str]) -> Self {
        Self::launch(net.command(Role::Lb, binary()), eal, own)
    }

    /// Starts leat with the command that runs [`binary`] in some namespace.
    #[track_caller]
    pub fn launch(mut leat: Command, eal: &[&str], own: &[&str]) -> Self {
        let directory = TempDir::new("leat");
        let api = directory.join("leat.sock");
        let prefix = unique("leat");
        leat.args(eal).args(["--file-prefix", &prefix, "--"]).args(own);
        leat.arg("--api").arg(format!("unix:{}", api.display()));

        let process = Process::spawn(&mut leat);
        let runtime = Path::new("/var/run/dpdk").join(prefix);
        let mut leat = Self { process, command: leat, api, runtime, _directory: directory };
        leat.wait_until_ready();
        leat
    }

    #[track_caller]
    fn wait_until_ready(&mut self) {
        self.process
            .wait_for_output("'leat: ready'", LIMIT, |stdout, _| stdout.lines().any(|line| line == "leat: ready"));
    }

    /// Kills it with SIGKILL and starts it again with the same arguments, over all that it left behind.
    #[track_caller]
    pub fn crash_and_restart(&mut self) {
        self.process.kill();
        self.process = Process::spawn(&mut self.command);
        self.wait_until_ready();
    }

    /// What it has printed on standard output so far, `--trace`'s blocks among it.
    pub fn stdout(&self) -> String {
        self.process.stdout()
    }

    /// What it has printed on standard error so far, EAL's lines among it.
    pub fn stderr(&self) -> String {
        self.process.stderr()
    }

    /// Sends it a signal by its name.
    pub fn signal(&mut self, name: &str) {
        self.process.signal(name);
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The API's socket.
    pub fn api(&self) -> &Path {
        &self.api
    }

    /// `GET /api/v1/status`.
    pub fn status(&self) -> Value {
        let (code, body) = http_get(&self.api, "/api/v1/status");
        assert_eq!(code, 200, "{body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("the status is JSON: {error}\n{body}"))
    }

    /// The connections in the tables of all workers, resting ones included.
    pub fn connections(&self) -> u64 {
        sum(&self.status(), "connections")
    }

    /// Packets dropped for a reason, by its name, on all workers.
    pub fn dropped(&self, reason: &str) -> u64 {
        let status = self.status();
        workers(&status).iter().filter_map(|worker| worker["drops"][reason].as_u64()).sum()
    }

    /// For each backend of its first service: its address, connections open now, connections opened in all.
    pub fn backends(&self) -> Vec<(String, u64, u64)> {
        let status = self.status();
        let backends = status["services"][0]["backends"].as_array().expect("a service has a list of backends");
        let count = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{value} is a count"));
        let address = |value: &Value| value.as_str().expect("an address is text").to_owned();
        backends
            .iter()
            .map(|backend| (address(&backend["address"]), count(&backend["open"]), count(&backend["opened"])))
            .collect()
    }

    /// Its Ethernet address on its first port.
    pub fn mac(&self) -> String {
        self.status()["ports"][0]["mac"].as_str().expect("a port has a MAC").to_owned()
    }

    /// Has the statistics printed (SIGUSR1), and returns what leat printed from then until `last` was in it.
    #[track_caller]
    pub fn dump_stats(&mut self, last: &str) -> String {
        let before = self.stdout().len();
        self.process.signal("USR1");
        let fresh = |stdout: &str| stdout.get(before..).is_some_and(|new| new.contains(last) && new.ends_with('\n'));
        let (stdout, _) = self.process.wait_for_output("statistics", LIMIT, |stdout, _| fresh(stdout));
        stdout[before..].to_owned()
    }

    /// Ends it without asking, with SIGKILL.
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// Ends it as a user does, with SIGTERM.
    #[track_caller]
    pub fn stop(self) -> Finished {
        self.stop_by("TERM")
    }

    /// Ends it with a signal by its name, and waits.
    #[track_caller]
    pub fn stop_by(mut self, signal: &str) -> Finished {
        self.process.signal(signal);
        self.process.wait(LIMIT)
    }

    /// EAL's directory for this process.
    pub fn runtime(&self) -> &Path {
        &self.runtime
    }
}

impl Drop for Leat {
    fn drop(&mut self) {
        self.process.kill();
        // EAL leaves it behind when it is killed.
        let _ = fs::remove_dir_all(&self.runtime);
    }
}

/// Runs leat with exactly these arguments to its end: for those that it must refuse, and for `--check`.
#[track_caller]
pub fn run_leat(arguments: &[&str]) -> Finished {
    run(command(binary()).args(arguments), LIMIT)
}

/// The program itself.
pub fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_leat")
}

/// What came of a capture that went through leat.
#[derive(Debug)]
pub struct PcapRun {
    /// What leat sent, in order, its own ARP included.
    pub frames: Vec<Frame>,
    /// The status after the last frame has left.
    pub status: Value,
    pub finished: Finished,
    /// The capture of what leat sent, for [`render`](super::capture::render).
    pub output: PathBuf,
    _directory: TempDir,
}

/// Lets leat read frames from a capture, on one lcore with net_pcap, and returns what it wrote to another.
///
/// net_pcap delivers all of them as soon as the port is up: a backend needs `mac=` to be known by then.
#[track_caller]
pub fn pcap_run(frames: &[Vec<u8>], own: &[&str]) -> PcapRun {
    pcap_run_on(&["-l", "0"], frames, own)
}

/// [`pcap_run`] with EAL's options for the lcores, or for memory.
#[track_caller]
pub fn pcap_run_on(eal: &[&str], frames: &[Vec<u8>], own: &[&str]) -> PcapRun {
    pcap_run_until(eal, frames, own, |status| status["buffers"]["in_use"] == 0)
}

/// [`pcap_run_on`] for packets that stay in leat for a while: all were received, and then `is_done` of the status.
#[track_caller]
pub fn pcap_run_until(eal: &[&str], frames: &[Vec<u8>], own: &[&str], is_done: impl Fn(&Value) -> bool) -> PcapRun {
    let directory = TempDir::new("pcap_run");
    let (input, output) = (directory.join("in.pcap"), directory.join("out.pcap"));
    pcap::write(&input, frames);
    let device = format!("--vdev=net_pcap0,rx_pcap={},tx_pcap={}", input.display(), output.display());
    let arguments: Vec<&str> = eal.iter().copied().chain(["--no-pci", &device]).collect();

    let leat = Leat::start(&arguments, own);
    let received_all = |status: &Value| received(status) >= frames.len() as u64;
    wait_for(&format!("{} frames to be received", frames.len()), LIMIT, || received_all(&leat.status()).then_some(()));
    // Only then does an empty pool mean that none of them is under way any more, in a ring to another lcore for one.
    let status = wait_for("the last packet to leave", LIMIT, || {
        let status = leat.status();
        is_done(&status).then_some(status)
    });
    let finished = leat.stop().success();
    assert!(!finished.stderr.contains("EAL's memory must stay"), "packets were lost inside: {finished}");
    PcapRun { frames: pcap::read(&output), status, finished, output, _directory: directory }
}

/// Frames that all workers together have received, of a [`Leat::status`].
pub fn received(status: &Value) -> u64 {
    sum(status, "received")
}

/// A figure of the workers, of a [`Leat::status`], summed over them.
pub fn sum(status: &Value, figure: &str) -> u64 {
    workers(status)
        .iter()
        .map(|worker| worker[figure].as_u64().unwrap_or_else(|| panic!("no {figure}: {worker}")))
        .sum()
}

fn workers(status: &Value) -> &[Value] {
    status["workers"].as_array().unwrap_or_else(|| panic!("the status lists workers: {status}"))
}

/// A GET request over a Unix socket (HTTP/1.1, RFC 9112); returns the status code and the body.
///
/// # Panics
/// When there is no whole answer. A body in chunks is not understood: leat's API sends none.
#[track_caller]
pub fn http_get(socket: &Path, path: &str) -> (u16, String) {
    let answer = exchange(socket, &format!("GET {path} HTTP/1.1\r\nHost: leat\r\nConnection: close\r\n\r\n"))
        .unwrap_or_else(|error| panic!("no answer to {path} on {}: {error}", socket.display()));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no end of the header in: {answer}"));
    assert!(!head.to_ascii_lowercase().contains("transfer-encoding: chunked"), "a body in chunks: {head}");
    let code = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
    (code.unwrap_or_else(|| panic!("no status line in: {head}")), body.to_owned())
}

/// Sends bytes to a Unix socket, and returns all that comes back until the other side closes.
pub fn exchange(socket: &Path, request: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
