//! Child processes that cannot outlive their test, and whose output is kept.

use std::{
    ffi::OsStr,
    fmt,
    io::Write,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::read,
};

use super::wait_for;

/// A command that the kernel kills when the test's thread ends, however it ends.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Runs a command to its end.
///
/// # Panics
/// When it takes longer than `limit`; it is killed then.
pub fn run(command: &mut Command, limit: Duration) -> Finished {
    Process::spawn(command).wait(limit)
}

/// What a process left behind.
#[derive(Debug)]
pub struct Finished {
    pub command: String,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// Insists on exit status 0.
    ///
    /// # Panics
    /// With all that the process printed, when it has another.
    #[track_caller]
    pub fn success(self) -> Self {
        assert!(self.status.success(), "{self}");
        self
    }

    /// Insists on an exit status.
    ///
    /// # Panics
    /// With all that the process printed, when it has another.
    #[track_caller]
    pub fn code_is(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{self}");
        self
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}\n--- {}\n--- standard output\n{}--- standard error\n{}",
            self.command, self.status, self.stdout, self.stderr
        )
    }
}

/// A running process. It is in a process group of its own, and the whole group is killed when the value goes.
#[derive(Debug)]
pub struct Process {
    child: Child,
    command: String,
    stdin: Option<ChildStdin>,
    stdout: Arc<Mutex<Output>>,
    stderr: Arc<Mutex<Output>>,
    open_pipes: Arc<AtomicUsize>,
    reaped: Option<ExitStatus>,
}

impl Process {
    /// Starts it with nothing on its standard input.
    pub fn spawn(command: &mut Command) -> Self {
        Self::start(command, Stdio::null())
    }

    /// Starts it with a standard input that [`write`](Self::write) feeds.
    pub fn spawn_with_input(command: &mut Command) -> Self {
        Self::start(command, Stdio::piped())
    }

    fn start(command: &mut Command, stdin: Stdio) -> Self {
        let text = format!("{command:?}");
        let mut child = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {text}: {error}"));
        let open_pipes = Arc::new(AtomicUsize::new(2));
        let stdout = collect(child.stdout.take().expect("stdout is piped").into(), &open_pipes);
        let stderr = collect(child.stderr.take().expect("stderr is piped").into(), &open_pipes);
        Self { stdin: child.stdin.take(), child, command: text, stdout, stderr, open_pipes, reaped: None }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub fn stdout(&self) -> String {
        text(&self.stdout)
    }

    /// What it has printed on standard error so far.
    pub fn stderr(&self) -> String {
        text(&self.stderr)
    }

    pub fn is_running(&mut self) -> bool {
        self.reap().is_none()
    }

    /// Gives it bytes to read.
    pub fn write(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("started with spawn_with_input, input still open");
        stdin.write_all(bytes).and_then(|()| stdin.flush()).expect("the process reads its input");
    }

    /// Lets it read the end of its input.
    pub fn close_input(&mut self) {
        self.stdin = None;
    }

    /// Waits until what it printed, on either output, satisfies `enough`; returns standard output and standard error.
    ///
    /// # Panics
    /// When it ends first, or `limit` passes.
    #[track_caller]
    pub fn wait_for_output(
        &mut self,
        what: &str,
        limit: Duration,
        enough: impl Fn(&str, &str) -> bool,
    ) -> (String, String) {
        let deadline = Instant::now() + limit;
        loop {
            // Asked before the output is read: what an ended process printed must have its chance.
            let ended = !self.is_running() && self.open_pipes.load(Ordering::Acquire) == 0;
            let (stdout, stderr) = (self.stdout(), self.stderr());
            if enough(&stdout, &stderr) {
                return (stdout, stderr);
            }
            assert!(
                !ended && Instant::now() < deadline,
                "no {what} from {}{}\n--- standard output\n{stdout}--- standard error\n{stderr}",
                self.command,
                self.reaped.map_or(String::new(), |status| format!(", which ended: {status}")),
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends a signal by its name, such as `USR1`.
    pub fn signal(&mut self, name: &str) {
        if self.is_running() {
            send(name, &self.id().to_string());
        }
    }

    /// Lets it read the end of its input, and waits for its end.
    ///
    /// # Panics
    /// When it has not ended within `limit`.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> Finished {
        self.close_input();
        let deadline = Instant::now() + limit;
        while self.is_running() {
            if Instant::now() > deadline {
                panic!(
                    "still running after {limit:?}: {}\n--- standard output\n{}--- standard error\n{}",
                    self.command,
                    self.stdout(),
                    self.stderr()
                );
            }
            thread::sleep(Duration::from_millis(5));
        }
        // A child of its own may hold the pipes open: what has come by then is enough.
        let patience = Instant::now() + Duration::from_secs(2);
        while self.open_pipes.load(Ordering::Acquire) > 0 && Instant::now() < patience {
            thread::sleep(Duration::from_millis(1));
        }
        Finished {
            command: self.command.clone(),
            status: self.reaped.expect("it has ended"),
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }

    /// Ends it with SIGTERM, and waits.
    ///
    /// # Panics
    /// When it does not obey within `limit`.
    #[track_caller]
    pub fn stop(&mut self, limit: Duration) -> Finished {
        self.signal("TERM");
        self.wait(limit)
    }

    /// Ends it, and the processes that it started, without asking.
    pub fn kill(&mut self) {
        // Until it is reaped its number is nobody else's.
        if self.reap().is_none() {
            send("KILL", &format!("-{}", self.id()));
            self.reaped = self.child.wait().ok();
        }
    }

    fn reap(&mut self) -> Option<ExitStatus> {
        if self.reaped.is_none() {
            self.reaped = self.child.try_wait().expect("a child can be waited for");
        }
        self.reaped
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Is there a process with this id?
pub fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

fn send(signal: &str, target: &str) {
    let _ = Command::new("kill").args(["-s", signal, "--", target]).stderr(Stdio::null()).status();
}

/// The end of a pipe from a process, and all that has come through it.
#[derive(Debug)]
struct Output {
    pipe: OwnedFd,
    bytes: Vec<u8>,
    has_ended: bool,
}

impl Output {
    /// Takes what is in the pipe, and waits for nothing.
    fn drain(&mut self) {
        let mut chunk = [0; 16 * 1024];
        while !self.has_ended {
            match read(&self.pipe, &mut chunk) {
                Err(Errno::EAGAIN) => return,
                Err(Errno::EINTR) => {}
                Ok(0) | Err(_) => self.has_ended = true,
                Ok(length) => self.bytes.extend_from_slice(&chunk[..length]),
            }
        }
    }
}

/// Keeps what comes through a pipe. A thread empties it, so that the process is never held up; who asks empties it as well,
/// so that what a process wrote before it did something else is there for whom has seen the other thing.
fn collect(pipe: OwnedFd, open_pipes: &Arc<AtomicUsize>) -> Arc<Mutex<Output>> {
    fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a pipe need not block");
    let readable = pipe.try_clone().expect("a descriptor is to be had");
    let output = Arc::new(Mutex::new(Output { pipe, bytes: Vec::new(), has_ended: false }));
    let (sink, open_pipes) = (Arc::clone(&output), Arc::clone(open_pipes));
    thread::spawn(move || {
        loop {
            let _ = poll(&mut [PollFd::new(readable.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE);
            let mut output = sink.lock().expect("no reader panics");
            output.drain();
            if output.has_ended {
                break;
            }
        }
        open_pipes.fetch_sub(1, Ordering::Release);
    });
    output
}

fn text(output: &Mutex<Output>) -> String {
    let mut output = output.lock().expect("no reader panics");
    output.drain();
    String::from_utf8_lossy(&output.bytes).into_owned()
}

/// Waits until a process, known by its id only, is gone.
pub fn wait_until_gone(pid: u32, limit: Duration) {
    wait_for(&format!("the end of process {pid}"), limit, || (!is_alive(pid)).then_some(()));
}
