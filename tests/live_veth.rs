//! A port that is no tap: one end of a veth pair, through net_af_packet.
#![cfg(feature = "dpdk")]

mod support;

use support::{
    LONG,
    leat::{Leat, VETH},
    net::{B1, B2, CLIENT, Net, Shape},
    servers::Nginx,
    tally,
};

#[test]
fn http_works_over_a_veth_pair() {
    let net = Net::up_as("veth_http", Shape { veth: true, ..Shape::default() });
    let servers = [B1, B2].map(|role| Nginx::start_with_big(&net, role, 8080, 20_000_000));
    let own = ["--vip", "10.0.0.10:8080", "--backend", "10.0.0.2", "--backend", "10.0.0.3"];
    let leat = Leat::start_in(&net, VETH, &own);

    let url = "http://10.0.0.10:8080/?[1-100]";
    let answers = net.exec(CLIENT, &["curl", "-sS", "--fail", "-H", "Connection: close", url]).success().stdout;
    let backends = tally(answers.lines());
    assert_eq!((backends.len(), backends.values().sum::<usize>()), (2, 100), "{backends:?}");

    let original = servers[0].big_file();
    let original = original.to_str().expect("a temporary path is text");
    let fetch = "curl -sS --fail http://10.0.0.10:8080/big | cmp - \"$0\"";
    net.exec_within(CLIENT, &["bash", "-o", "pipefail", "-c", fetch, original], LONG).success();
    net.exec(CLIENT, &["ping", "-c", "2", "-i", "0.2", "-W", "10", "10.0.0.10"]).success();
    leat.stop().success();
}
