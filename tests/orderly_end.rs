//! What leat leaves behind when it is told to stop: nothing.
#![cfg(feature = "dpdk")]

mod support;

use std::{io::Write, os::unix::net::UnixStream, path::Path};

use support::{
    LIMIT, TempDir,
    process::{Process, command},
    require_root, unique,
};

#[test]
fn an_orderly_end_leaves_neither_the_socket_nor_eals_folder_behind() {
    require_root();
    for signal in ["TERM", "INT"] {
        let directory = TempDir::new("end");
        let socket = directory.join("leat.sock");
        let prefix = unique("end");
        let folder = Path::new("/var/run/dpdk").join(&prefix);
        let mut leat = Process::spawn(
            command(env!("CARGO_BIN_EXE_leat"))
                .args(["-l", "0", "--no-pci", "--vdev=net_null0", "--file-prefix", &prefix, "--"])
                .args(["--vip", "10.0.0.10:80", "--backend", "10.0.0.2", "--connections", "1000"])
                .arg("--api")
                .arg(format!("unix:{}", socket.display())),
        );
        leat.wait_for_output("'leat: ready'", LIMIT, |stdout, _| stdout.lines().any(|line| line == "leat: ready"));
        assert!(socket.exists() && folder.exists());
        // Somebody who never finishes the question does not hold up the end.
        let mut client = UnixStream::connect(&socket).unwrap();
        client.write_all(b"GET /api/v1/status HT").unwrap();

        leat.signal(signal);
        let finished = leat.wait(LIMIT).success();
        assert!(finished.stdout.ends_with("end of statistics\n"), "{finished}");
        assert!(!socket.exists(), "{finished}");
        assert!(!folder.exists(), "{finished}");
    }
}
