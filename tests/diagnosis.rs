//! What leat says of the machine that it is started on: `--check`'s advice, and what stands beside EAL's errors.
#![cfg(feature = "dpdk")]

mod support;

use support::{
    LIMIT, TempDir,
    leat::{binary, run_leat},
    process::{command, run},
    unique,
};

const SERVICE: &[&str] = &["--vip", "10.0.0.10:80", "--backend", "10.0.0.2"];

/// A number that is no CPU's here.
const NO_CPU: &str = "120";

#[test]
fn check_tells_what_the_machine_lacks_and_how_to_mend_it_and_is_content_with_the_configuration() {
    let arguments = [&["-l", NO_CPU, "-a", "0000:ff:1f.7", "--vdev=net_af_packet0,iface=nosuch", "--"], SERVICE];
    let checked = run_leat(&[&arguments.concat()[..], &["--check"]].concat()).success();
    let advice = checked.stdout.split("\nthis machine\n").nth(1).unwrap_or_else(|| panic!("no advice: {checked}"));
    for words in [
        "  problem  lcore 120 is to run on CPU 120, and this machine has ",
        "  problem  -a 0000:ff:1f.7: th",
        "  problem  --vdev=net_af_packet0: there is no interface nosuch in this network namespace",
    ] {
        assert!(advice.contains(words), "{words:?}: {checked}");
    }
    let lines = advice.lines().filter(|line| !line.starts_with("           mend: "));
    let findings = lines.count();
    assert_eq!(advice.lines().count(), 2 * findings, "each has its mend: {checked}");
}

#[test]
fn check_tells_a_user_without_rights_which_are_missing() {
    let directory = TempDir::new("diagnosis");
    let program = directory.join("leat");
    std::fs::copy(binary(), &program).expect("there is room for the program");
    let mut leat = command("setpriv");
    leat.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs", "--inh-caps=-all"]);
    leat.arg(&program).args(["-l", "0", "--vdev=net_tap0", "--"]).args(SERVICE).arg("--check");
    let checked = run(&mut leat, LIMIT).success();
    assert!(checked.stdout.contains("  problem  --vdev=net_tap0 needs CAP_NET_ADMIN"), "{checked}");
    assert!(checked.stdout.contains("mend: run leat as root"), "{checked}");
}

#[test]
fn check_of_a_file_alone_says_nothing_of_lcores_and_ports() {
    let checked = run_leat(&[&["--check"], SERVICE].concat()).success();
    let advice = checked.stdout.split("\nthis machine").nth(1).unwrap_or_else(|| panic!("no advice: {checked}"));
    assert!(!advice.contains("port is named") && !advice.contains("-l"), "{checked}");
}

#[test]
fn what_eal_refuses_is_explained_at_the_end() {
    let prefix = unique("diagnosis");
    let directory = TempDir::new("diagnosis");
    let api = format!("unix:{}", directory.join("leat.sock").display());
    for (eal, explanation) in [
        (&["-l", NO_CPU, "--no-pci", "--vdev=net_null0"][..], "lcore 120 is to run on CPU 120, and this machine has "),
        (
            &["-l", "0", "--no-pci", "--vdev=net_af_packet0,iface=nosuch"],
            "--vdev=net_af_packet0: there is no interface nosuch in this network namespace",
        ),
        (&["-l", "0", "--no-pci"], "no port is named, and DPDK finds none by itself"),
    ] {
        let arguments = [eal, &["--file-prefix", &prefix, "--"], SERVICE, &["--api", &api]].concat();
        let refused = run_leat(&arguments).code_is(1);
        let last = refused.stderr.lines().last().unwrap_or_default();
        let begin = format!("leat: perhaps because of this: {explanation}");
        assert!(last.starts_with(&begin) && last.contains(" To mend it: "), "{begin}: {refused}");
    }
}
