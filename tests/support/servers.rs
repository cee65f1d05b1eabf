//! Real servers for backends: nginx, nc, iperf3, dnsmasq. Each is ready when its function returns.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    TempDir,
    net::{Net, Role, Transport},
    process::Process,
};

/// A running nginx.
///
/// - `/` says `backend ADDRESS`;
/// - `/who` says `ADDRESS CLIENT:PORT CONNECTION REQUEST`: whom nginx sees, its serial number of the connection, and
///   which request on it this is;
/// - `/big` is as many pseudo-random bytes as were asked for, the same on every backend;
/// - on the port 1000 above, each connection begins with a header of the PROXY protocol, and `/who` says `CLIENT:PORT VIP:PORT`
///   as it says;
/// - what is PUT under `/upload/` is kept, see [`Nginx::uploaded`].
#[derive(Debug)]
pub struct Nginx {
    process: Process,
    directory: TempDir,
}

impl Nginx {
    /// With an empty `/big`.
    pub fn start(net: &Net, role: Role, port: u16) -> Self {
        Self::start_with_big(net, role, port, 0)
    }

    /// One that listens by IPv6, with a `/big` of so many bytes.
    pub fn start_v6(net: &Net, role: Role, port: u16, big: usize) -> Self {
        let nginx = Self::launch(net.command(role, "nginx"), &net.address_v6(role).to_string(), port, big);
        net.wait_until_listening(role, Transport::Tcp, port);
        nginx
    }

    pub fn start_with_big(net: &Net, role: Role, port: u16, big: usize) -> Self {
        let nginx = Self::launch(net.command(role, "nginx"), &net.address(role).to_string(), port, big);
        net.wait_until_listening(role, Transport::Tcp, port);
        nginx
    }

    /// Starts it with the command that runs nginx in some namespace, and does not wait until it listens.
    pub fn launch(mut nginx: Command, address: &str, port: u16, big: usize) -> Self {
        let directory = TempDir::new("nginx");
        write_big(&directory.join("big"), big);
        let configuration = directory.join("nginx.conf");
        fs::write(&configuration, nginx_configuration(&directory, address, port))
            .expect("a temporary directory can be written");
        nginx.args(["-e", "stderr", "-p"]).arg(directory.path()).arg("-c").arg(&configuration);
        let process = Process::spawn(&mut nginx);
        Self { process, directory }
    }

    /// The file behind `/big`.
    pub fn big_file(&self) -> PathBuf {
        self.directory.join("big")
    }

    /// The file that was PUT as `/upload/NAME`, if it was.
    pub fn uploaded(&self, name: &str) -> Option<PathBuf> {
        Some(self.directory.join("upload").join(name)).filter(|file| file.exists())
    }

    /// Ends it without asking, so that the kernel closes its connections.
    pub fn kill(mut self) {
        self.process.kill();
    }
}

/// One process in the foreground, so that ending it ends all of nginx.
fn nginx_configuration(directory: &TempDir, address: &str, port: u16) -> String {
    let (directory, introduced) = (directory.path().display(), port + 1000);
    let every = if address.contains(':') { "[::]:" } else { "" };
    format!(
        "user root;
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    default_type text/plain;
    client_body_temp_path {directory}/body;
    client_max_body_size 0;
    keepalive_requests 1000000;
    keepalive_timeout 600s;
    send_timeout 600s;
    server {{
        listen {every}{port} backlog=4096;
        root {directory};
        location = / {{ return 200 \"backend {address}\\n\"; }}
        location = /who {{ return 200 \"{address} $remote_addr:$remote_port $connection $connection_requests\\n\"; }}
        location = /big {{ }}
        location /upload/ {{ dav_methods PUT; create_full_put_path on; }}
    }}
    server {{
        listen {every}{introduced} proxy_protocol backlog=4096;
        root {directory};
        location = /who {{
            return 200 \"$proxy_protocol_addr:$proxy_protocol_port $proxy_protocol_server_addr:$proxy_protocol_server_port\\n\";
        }}
        location = /big {{ }}
        location /upload/ {{ dav_methods PUT; create_full_put_path on; }}
    }}
}}
"
    )
}

/// Bytes that no accident repeats: a generator of xorshift type, from a fixed seed.
fn write_big(path: &Path, length: usize) {
    let mut file = BufWriter::new(File::create(path).expect("a temporary directory can be written"));
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut left = length;
    while left > 0 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let word = state.to_le_bytes();
        let take = left.min(word.len());
        file.write_all(&word[..take]).expect("there is room for the file");
        left -= take;
    }
    file.flush().expect("there is room for the file");
}

/// `nc -l`: accepts one connection, prints what comes, sends what the test writes.
pub fn nc(net: &Net, role: Role, port: u16) -> Process {
    let process = net.spawn_with_input(role, &["nc", "-l", &port.to_string()]);
    net.wait_until_listening(role, Transport::Tcp, port);
    process
}

/// An iperf3 server on its own port, 5201.
pub fn iperf3(net: &Net, role: Role) -> Process {
    let process = net.spawn(role, &["iperf3", "-s", "--forceflush"]);
    net.wait_until_listening(role, Transport::Tcp, 5201);
    process
}

/// A DNS server, over UDP and TCP on port 53: `leat.test` has the address 192.0.2.53, and the TXT record of
/// `backend.leat.test` is the server's own address.
pub fn dnsmasq(net: &Net, role: Role) -> Process {
    let whoami = format!("--txt-record=backend.leat.test,{}", net.address(role));
    let process = net.spawn(
        role,
        &[
            "dnsmasq",
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--user=root",
            "--pid-file=",
            "--no-resolv",
            "--no-hosts",
            "--log-facility=-",
            "--host-record=leat.test,192.0.2.53",
            &whoami,
        ],
    );
    net.wait_until_listening(role, Transport::Udp, 53);
    process
}
