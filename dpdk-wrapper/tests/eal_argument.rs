//! EAL says no to an argument that is none of its own, and cannot be started again.

use dpdk_wrapper::Eal;

#[test]
fn an_argument_that_eal_does_not_take_is_named() {
    let bad = Eal::init(["test", "nul\0byte"]).unwrap_err();
    assert_eq!(bad.to_string(), "an argument of EAL holds a NUL byte: Invalid argument");

    let prefix = format!("--file-prefix=dpdk-wrapper-{}", std::process::id());
    let arguments =
        ["test", "stranger", "--no-huge", "-m", "64", "--no-shconf", "--no-pci", "--no-telemetry", "-l", "0", &prefix];
    let unknown = Eal::init(arguments).unwrap_err();
    assert_eq!(unknown.to_string(), "EAL does not take the argument \"stranger\": Invalid argument");

    assert_eq!(Eal::init(["test"]).unwrap_err().errno(), libc::EALREADY);
}
