//! The balancer: reads its arguments, starts DPDK, and runs a worker on each lcore until it is told to stop.
//!
//! Exit status 0 after an orderly end, 1 when EAL, a device or a socket fails, 2 for arguments or a configuration that
//! cannot be meant.

use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, never, select, unbounded};
use dpdk_wrapper::{Eal, Mempool, Port};
use leat::config::cli::{Invocation, Run};
use leat::config::{ApiAddress, DEFAULT_API, cli, eal, file, summary};
use leat::control::{
    self, Answer, Asked, Desk, Editor, Inquirer, Listener, ReloadError, Reloaded, Running, Supervisor, Token, Watch,
    reload,
};
use leat::diagnosis::{self, Demand, Finding, Gravity, Machine};
use leat::metrics::{BufferStatus, PortFigures, Source, tables, telemetry};
use leat::privileges::{Account, PrivilegeError};
use leat::worker::{DeployError, Deployment, deploy};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use tokio::sync::oneshot;

/// Free hugepages below this are as good as none: the packet buffers would not fit.
const ENOUGH_HUGEPAGES: u64 = 128 << 20;

/// How often the counters are looked at for news.
const LOOK: Duration = Duration::from_secs(1);

/// How often the backends' liveness is looked after.
const TEND: Duration = Duration::from_millis(20);

/// The same while a health check waits for an answer, which it may have to answer in turn.
const TALK: Duration = Duration::from_millis(4);

/// How long the workers may take to take over a configuration before it is called reloaded nevertheless.
const PATIENCE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    if let Err(error) = leat::logging::init() {
        eprintln!("leat: {error}");
        return ExitCode::from(2);
    }
    let invocation = match cli::parse(std::env::args_os().skip(1), file::read) {
        Ok(invocation) => invocation,
        Err(failure) => return refuse(&failure),
    };
    match invocation {
        Invocation::Help(text) => print(&text),
        Invocation::Version(text) => print(&format!("{text}, {}\n", dpdk_wrapper::version())),
        Invocation::Check(run) => match complete(&run) {
            Ok(completed) => {
                let advice = diagnosis::paragraph(&diagnose(&run, &completed));
                print(&(summary::summary(&run, &completed, BYTES_PER_CONNECTION) + &advice))
            }
            Err(failure) => refuse(&failure),
        },
        Invocation::Run(run) => match complete(&run) {
            Ok(completed) => match balance(&run, completed) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("leat: {error}");
                    ExitCode::from(status_of(&*error))
                }
            },
            Err(failure) => refuse(&failure),
        },
    }
}

/// Memory that a connection takes, both directions: its record, two index entries, its source port.
const BYTES_PER_CONNECTION: usize = 80;

fn print(text: &str) -> ExitCode {
    // A reader that has gone away has read enough.
    let _ = write!(std::io::stdout(), "{text}");
    ExitCode::SUCCESS
}

/// The exit status for what kept the balancer from running.
fn status_of(error: &(dyn Error + 'static)) -> u8 {
    let is_configuration = match error.downcast_ref() {
        Some(DeployError::Publish(problem)) => problem.is_configuration(),
        _ => matches!(error.downcast_ref(), Some(PrivilegeError::Unknown(_))),
    };
    if is_configuration { 2 } else { 1 }
}

fn refuse(failure: &leat::config::Failure) -> ExitCode {
    eprintln!("{failure}");
    ExitCode::from(2)
}

/// EAL's arguments with what leat adds.
fn complete(run: &Run) -> Result<eal::Completed, leat::config::Failure> {
    let free = eal::free_hugepage_bytes(Path::new(eal::HUGEPAGES));
    eal::complete(run.eal.clone(), free >= ENOUGH_HUGEPAGES, std::process::id())
}

/// What this machine lacks for that.
fn diagnose(run: &Run, completed: &eal::Completed) -> Vec<Finding> {
    diagnosis::examine(&Demand::new(&run.eal, &completed.args), &Machine::read(Path::new("/")))
}

/// An error of EAL's or a port's, with what explains it.
fn explained(error: impl Into<DeployError>, findings: &[Finding]) -> Box<dyn Error> {
    match error.into() {
        error @ DeployError::Publish(_) if status_of(&error) == 2 => error.into(),
        error => format!("{error}{}", diagnosis::explanation(findings)).into(),
    }
}

/// Runs the balancer from start to end.
fn balance(run: &Run, completed: eal::Completed) -> Result<(), Box<dyn Error>> {
    for note in run.warnings.iter().chain(&completed.notes) {
        log::warn!("{note}");
    }
    let findings = diagnose(run, &completed);
    for finding in &findings {
        log::log!(if finding.gravity == Gravity::Note { log::Level::Debug } else { log::Level::Warn }, "{finding}");
    }
    let account = run.config.user.as_deref().map(Account::find).transpose()?;
    let signals = listen_for_signals()?;
    let listener = Listener::bind(&run.config.api)?;
    let token = run.config.api_token_file.as_deref().map(Token::read).transpose()?.filter(|_| listener.is_tcp());
    let figures = run.config.metrics.map(|address| Listener::bind_tcp("metrics", address)).transpose()?;
    let started = Instant::now();

    let arguments: Vec<String> = std::iter::once("leat".to_owned()).chain(completed.args).collect();
    let eal = Eal::init(arguments.iter().map(String::as_str)).map_err(|error| explained(error, &findings))?;
    let Deployment { workers, ports, devices, alignments, pool, publisher, delivery, counters, courier, lines, notes } =
        deploy(&eal, &run.config, &arguments).map_err(|error| explained(error, &findings))?;
    for note in notes {
        log::warn!("{note}");
    }
    let ports = Arc::new(Mutex::new(ports));
    let running = Running::new(run.config.clone(), publisher, delivery, courier, since(started));
    let source = Arc::new(Source {
        current: Arc::clone(running.current()),
        health: Arc::clone(running.report()),
        counters,
        devices,
        alignments,
        lcores: eal.lcores().iter().map(|lcore| lcore.id.index()).collect(),
        capacity: run.config.connections,
        started,
        dpdk: dpdk_wrapper::version().to_owned(),
        cycles_per_second: dpdk_wrapper::Clock::new(&eal)?.hz(),
        ask_ports: ask(&ports, pool),
    });

    let telemetry = telemetry(&eal, &source)?;
    if let Some(account) = &account {
        step_down(account, &eal, &run.config.api)?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (desk, asked) = control::desk();
    let api = Api::start((listener, token), figures, &source, desk, Inquirer::new(lines))?;
    let control = spawn("control", {
        let (source, stop) = (Arc::clone(&source), Arc::clone(&stop));
        move || attend(&source, running, &signals, &asked, &stop)
    })?;

    let mut workers = workers.into_iter();
    let results = eal.run(|_| {
        let (worker, stop) = (workers.next(), Arc::clone(&stop));
        let trace = run.trace;
        move |lcore| {
            if let Some(worker) = worker {
                worker.run(lcore, &stop, trace);
            }
        }
    });
    stop.store(true, Relaxed);
    for (lcore, result) in results {
        result.map_err(|error| format!("lcore {lcore} {error}"))?;
    }
    control.join().map_err(|_| "the control thread has panicked")?;
    print(&tables(&source.status()));
    for port in &mut *ports.lock().map_err(|_| "a port's counters could not be read")? {
        port.stop()?;
    }
    // Nothing may be left of DPDK's things when it is shut down, and the API looks at some.
    drop((api, telemetry, source, ports));
    if let Err(error) = eal.shutdown() {
        log::warn!("{error}");
    }
    Ok(())
}

/// Becomes `account`. All that takes root's rights has happened, but for removing what leat leaves in folders.
fn step_down(account: &Account, eal: &Eal, api: &ApiAddress) -> Result<(), Box<dyn Error>> {
    let mut left_behind: Vec<PathBuf> = eal.runtime_folder().into_iter().collect();
    if let ApiAddress::Unix(socket) = api {
        // leat's own folder may go with it. In another one the socket's file stays behind, until the next start replaces it.
        let folder = socket.parent().filter(|folder| Some(*folder) == Path::new(DEFAULT_API).parent());
        left_behind.push(folder.unwrap_or(socket).to_owned());
    }
    for path in left_behind {
        account.own(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    account.become_it()?;
    log::info!("leat goes on as user {account}");
    Ok(())
}

/// The API's thread. It ends, and its socket's file goes, with the value.
struct Api {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Api {
    fn start(
        (api, token): (Listener, Option<Token>),
        figures: Option<Listener>,
        source: &Arc<Source>,
        desk: Desk,
        inquirer: Inquirer,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let mut listeners = vec![(api, control::api(Arc::clone(source), desk, Arc::new(inquirer), token))];
        listeners.extend(figures.map(|listener| (listener, control::figures(Arc::clone(source)))));
        let thread = spawn("api", move || {
            if let Err(error) = control::serve(listeners, stopped) {
                log::error!("the API has ended: {error}");
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // If it has panicked, it has said so.
            let _ = thread.join();
        }
    }
}

/// Starts a thread that may run on any CPU, not just on the main lcore's.
fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<thread::JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        if let Err(error) = dpdk_wrapper::reset_affinity() {
            log::warn!("a control thread stays on the main lcore's CPU: {error}");
        }
        work()
    })
}

/// Asks the ports for their counters, and the pool.
fn ask(
    ports: &Arc<Mutex<Vec<Port>>>,
    pool: Mempool,
) -> Box<dyn Fn() -> (Vec<PortFigures>, BufferStatus) + Send + Sync> {
    let ports = Arc::clone(ports);
    Box::new(move || {
        let figures = ports.lock().map_or_else(|_| Vec::new(), |ports| ports.iter().map(figures_of).collect());
        (figures, BufferStatus { in_use: pool.in_use(), available: pool.available() })
    })
}

/// What a port counts; zeros where it does not.
fn figures_of(port: &Port) -> PortFigures {
    let stats = port.stats().unwrap_or_default();
    PortFigures {
        link_up: port.link().is_ok_and(|link| link.is_up),
        received: stats.rx_packets,
        received_bytes: stats.rx_bytes,
        transmitted: stats.tx_packets,
        transmitted_bytes: stats.tx_bytes,
        missed: stats.rx_missed,
        receive_errors: stats.rx_errors,
        transmit_errors: stats.tx_errors,
        no_buffer: stats.rx_no_mbuf,
    }
}

/// Signals, from before EAL starts: one that comes in between is not lost.
fn listen_for_signals() -> std::io::Result<Receiver<i32>> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM, SIGUSR1])?;
    let (sender, receiver) = unbounded();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            if sender.send(signal).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

/// The control thread: says that leat is ready, answers signals, looks after the backends' liveness, and reports news
/// until the end.
fn attend(source: &Source, mut running: Running, signals: &Receiver<i32>, asked: &Receiver<Asked>, stop: &AtomicBool) {
    let mut editor = Editor::default();
    let mut supervisor = Supervisor::from_environment(Instant::now());
    // When nobody can ask any more, nobody is waited for.
    let never = never();
    let mut asked = asked;
    let mut watch = Watch::default();
    let mut next_look = source.started;
    let mut is_ready = false;
    while !stop.load(Relaxed) {
        if !is_ready && source.counters.iter().all(|worker| worker.polls.value() > 0) {
            is_ready = true;
            print("leat: ready\n");
            supervisor.ready();
        }
        let now = Instant::now();
        running.tend(since(source.started));
        supervisor.tend(&source.counters, now);
        if now >= next_look {
            if watch.look(source, now) {
                running.announce_again();
            }
            next_look = now + LOOK;
        }
        let patience = match is_ready {
            false => Duration::from_millis(1),
            true if running.is_idle() => LOOK.min(supervisor.patience().unwrap_or(LOOK)),
            true if running.is_talking() => TALK,
            true => TEND,
        };
        select! {
            recv(signals) -> signal => match signal {
                Ok(SIGUSR1) => drop(print(&tables(&source.status()))),
                Ok(SIGHUP) => {
                    supervisor.reloading();
                    reload_and_tell(&mut running, source.started);
                    supervisor.ready();
                }
                Ok(_) | Err(_) => stop.store(true, Relaxed),
            },
            recv(asked) -> request => match request {
                Ok(request) => settle(request, &mut running, &mut editor, source.started),
                Err(_) => asked = &never,
            },
            default(patience) => {}
        }
    }
    supervisor.stopping();
    // What has happened since the last look shall be said, too.
    watch.look(source, Instant::now());
}

/// Does what a client of the API asks for, and says what that has changed.
fn settle(request: Asked, running: &mut Running, editor: &mut Editor, started: Instant) {
    let reload = |running: &mut Running| {
        let Reloaded { difference, warnings, .. } = reload(running, std::env::args_os().skip(1), since(started))?;
        Ok(Answer::Changed { what: difference.to_string(), warnings })
    };
    let wait = |running: &mut Running| wait_for_workers(running, started);
    if let Some(news) = request.settle(running, editor, since(started), reload, wait) {
        log::info!("changed by the API: {news}");
    }
}

/// Waits until every worker has taken over what runs, or [`PATIENCE`] is over.
fn wait_for_workers(running: &mut Running, started: Instant) {
    let late = Instant::now() + PATIENCE;
    while !running.is_settled() && Instant::now() < late {
        thread::sleep(Duration::from_millis(1));
        running.tend(since(started));
    }
}

/// Reads the configuration file again, has it run, and says what came of it once it is so.
fn reload_and_tell(running: &mut Running, started: Instant) {
    match reload(running, std::env::args_os().skip(1), since(started)) {
        Ok(Reloaded { file, difference, warnings }) => {
            wait_for_workers(running, started);
            for warning in warnings {
                log::warn!("{warning}");
            }
            log::info!("reloaded {}: {difference}", file.display());
        }
        Err(error @ ReloadError::NoFile) => log::warn!("SIGHUP: {error}"),
        Err(error) => {
            for line in error.to_string().lines() {
                log::error!("not reloaded: {}", line.strip_prefix("leat: ").unwrap_or(line));
            }
        }
    }
}

/// The time since `started`, as the checkers count it.
fn since(started: Instant) -> leat::time::Instant {
    leat::time::Instant::ZERO + started.elapsed()
}
