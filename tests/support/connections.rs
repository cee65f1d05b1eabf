//! TCP connections that a test opens one by one, holds, uses and closes: a shell in a host's namespace has them.

use super::{
    LIMIT,
    net::{Net, Role},
    process::Process,
};

/// Connections from one host to one address and port, numbered from 0 in the order in which they were opened.
#[derive(Debug)]
pub struct Connections {
    shell: Process,
    to: String,
    opened: usize,
}

impl Connections {
    /// None yet, to `address:port`.
    pub fn new(net: &Net, from: Role, address: &str, port: u16) -> Self {
        Self { shell: net.spawn_with_input(from, &["bash"]), to: format!("/dev/tcp/{address}/{port}"), opened: 0 }
    }

    /// Opens `count` more, one after the other. All must succeed.
    #[track_caller]
    pub fn open(&mut self, count: usize) {
        let (first, next) = (self.opened, self.opened + count);
        let open = format!("exec {{fd}}<>{}; fds[i]=$fd", self.to);
        self.command(&format!("for ((i = {first}; i < {next}; i++)); do {open}; done; echo opened"), "opened");
        self.opened = next;
    }

    /// Asks nginx over one of them whom it sees: the words of `/who`, see [`Nginx`](super::servers::Nginx).
    #[track_caller]
    pub fn who(&mut self, number: usize) -> Vec<String> {
        let request = "GET /who HTTP/1.1\\r\\nHost: leat\\r\\n\\r\\n";
        // The body is one line, after the empty one that ends the header.
        let answer = self.command(
            &format!(
                "printf '{request}' >&${{fds[{number}]}}; while read -r -t 30 -u ${{fds[{number}]}} line && [[ $line != $'\\r' ]]; \
                 do :; done; read -r -t 30 -u ${{fds[{number}]}} line && echo \"answer $line\""
            ),
            "answer ",
        );
        let words = answer.split_whitespace().skip(1);
        words.map(str::to_owned).collect()
    }

    /// Sends a request over one of them and waits for no answer.
    pub fn ask_in_vain(&mut self, number: usize) {
        self.command(
            &format!("printf 'GET /who HTTP/1.1\\r\\nHost: leat\\r\\n\\r\\n' >&${{fds[{number}]}}; echo sent"),
            "sent",
        );
    }

    /// Closes one of them.
    #[track_caller]
    pub fn close(&mut self, number: usize) {
        self.command(&format!("fd=${{fds[{number}]}}; exec {{fd}}>&-; echo closed"), "closed");
    }

    /// Lets the shell run a command that ends in printing a line that begins with `last`; returns that line.
    #[track_caller]
    fn command(&mut self, command: &str, last: &str) -> String {
        let before = self.shell.stdout().len();
        self.shell.write(format!("{command}\n").as_bytes());
        let is_whole = |stdout: &str| stdout[before..].starts_with(last) && stdout.ends_with('\n');
        let (stdout, _) = self.shell.wait_for_output(command, LIMIT, |stdout, _| is_whole(stdout));
        stdout[before..].to_owned()
    }
}
