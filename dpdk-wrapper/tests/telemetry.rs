//! Commands of the telemetry socket: which names are taken. What comes over the socket is tested with leat itself.

mod common;

use dpdk_wrapper::Telemetry;

#[test]
fn a_command_is_taken_once_and_only_with_a_name_that_dpdk_has_room_for() {
    let eal = common::start(&["-l", "0"]);
    let mut telemetry = Telemetry::new(&eal);
    telemetry.register("/test/one", "One.", |_| None).expect("a fine name");
    let again = telemetry.register("/test/one", "One.", |_| None).expect_err("there is one of that name");
    assert_eq!(again.errno(), libc::EEXIST);
    let long = format!("/test/{}", "x".repeat(60));
    for wrong in ["test/two", &long, "/te\0st"] {
        let refused = telemetry.register(wrong, "Two.", |_| None).expect_err(wrong);
        assert_eq!(refused.errno(), libc::EINVAL, "{wrong:?}: {refused}");
    }
    drop(telemetry);
    eal.shutdown().expect("no answer holds anything of EAL's");
}
