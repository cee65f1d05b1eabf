//! Bad command lines and files, a row each: what goes in, and what the message says. Beside them what is legal, so that
//! no rule is stricter than it should be.
//!
//! Every bad row runs twice: through the library, and through the real program, which must exit with status 2, print
//! nothing on standard output and start nothing.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use leat::config::cli::{self, Invocation, Run};
use leat::config::{Failure, file};
use proptest::prelude::*;

/// What a user typed: `args` separated by spaces, and what is in `leat.toml` in the current directory, if it is there.
struct Row {
    args: &'static str,
    file: Option<&'static str>,
    /// Each stands in the message.
    says: &'static [&'static str],
}

const fn args(args: &'static str, says: &'static [&'static str]) -> Row {
    Row { args, file: None, says }
}

const fn toml(file: &'static str, says: &'static [&'static str]) -> Row {
    Row { args: "-l 0 -- -c leat.toml", file: Some(file), says }
}

const fn both(args: &'static str, file: &'static str, says: &'static [&'static str]) -> Row {
    Row { args, file: Some(file), says }
}

const BAD_ARGUMENTS: &[Row] = &[
    // Nothing to do, or everything on the wrong side of `--`.
    args("", &["nothing to balance", "--vip ADDR:PORT", "-c FILE"]),
    args("--", &["nothing to balance", "--vip ADDR:PORT"]),
    args("--check", &["nothing to balance"]),
    args("-l 0 --vdev=net_tap0", &["no `--`", "--vip ADDR:PORT", "-c FILE"]),
    args("-c leat.toml", &["no `--`", "-c FILE"]),
    args("--vip 10.0.0.10:80 --backend 10.0.0.2", &["--vip is leat's", "after `--`"]),
    args("-l 0 --backend=10.0.0.2 -- --vip 10.0.0.10:80", &["--backend is leat's", "after `--`"]),
    args("--config leat.toml --check", &["--config is leat's"]),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2 -l 0", &["-l is EAL's", "before `--`"]),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --vdev=net_tap0", &["--vdev is EAL's", "before `--`"]),
    // What clap finds.
    args("-- --vpi 10.0.0.10:80", &["unexpected argument '--vpi'", "--vip"]),
    args("-- --vip", &["a value is required for '--vip"]),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --mode fullnat --mode fullnat", &["--mode", "multiple times"]),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2 extra", &["unexpected argument 'extra'"]),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --check=yes", &["--check"]),
    // --vip.
    args("-- --vip 10.0.0.10:80 --vip 10.0.0.11:80 --backend 10.0.0.2", &["--vip 10.0.0.11:80", "second", "--config"]),
    args("-- --backend 10.0.0.2", &["--backend needs a --vip"]),
    args("-- --vip 10.0.0.10:80", &["--vip 10.0.0.10:80", "no backend", "--backend ADDR"]),
    args("-- --vip 10.0.0.10 --backend 10.0.0.2:80", &["--vip 10.0.0.10", "port is missing", "write 10.0.0.10:8080"]),
    args("-- --vip udp:10.0.0.10 --backend 10.0.0.2", &["udp needs one"]),
    args("-- --vip 10.0.0.10:0 --backend 10.0.0.2", &["port 0 is out of range", "1 to 65535"]),
    args("-- --vip 10.0.0.10:70000 --backend 10.0.0.2", &["--vip 10.0.0.10:70000", "port 70000", "1 to 65535"]),
    args("-- --vip 10.0.0.10:http --backend 10.0.0.2", &["port \"http\" is not a whole number"]),
    args("-- --vip 10.0.0.10: --backend 10.0.0.2", &["port \"\" is not a whole number"]),
    args("-- --vip 10.0.0.300:80 --backend 10.0.0.2", &["\"10.0.0.300\" is not an IPv4 address", "0 to 255"]),
    args("-- --vip localhost:80 --backend 10.0.0.2", &["\"localhost\"", "names are not looked up"]),
    args("-- --vip sctp:10.0.0.10:80 --backend 10.0.0.2", &["protocol \"sctp\" is unknown", "tcp, udp or any"]),
    args("-- --vip tpc:10.0.0.10:80 --backend 10.0.0.2", &["protocol \"tpc\"", "did you mean tcp?"]),
    args("-- --vip [2001:db8::1]:80 --backend 10.0.0.2", &["IPv6 addresses are not in this version"]),
    args("-- --vip tcp:[2001:db8::1]:80 --backend 10.0.0.2", &["IPv6 addresses are not in this version"]),
    args("-- --vip 2001:db8::1 --backend 10.0.0.2", &["IPv6 addresses are not in this version"]),
    args("-- --vip [fe80::1%eth0]:80 --backend 10.0.0.2", &["IPv6 addresses are not in this version"]),
    args("-- --vip 224.0.0.1:80 --backend 10.0.0.2", &["vip 224.0.0.1 is a multicast address"]),
    args("-- --vip 127.0.0.1:80 --backend 10.0.0.2", &["vip 127.0.0.1 is a loopback address"]),
    args("-- --vip 0.0.0.0:80 --backend 10.0.0.2", &["vip 0.0.0.0 is the unspecified address"]),
    args("-- --vip 255.255.255.255:80 --backend 10.0.0.2", &["is the broadcast address"]),
    args("-- --vip 10.0.0.10/24:80 --backend 10.0.0.2", &["prefix length, which does not belong here"]),
    // any.
    args("-- --vip any:10.0.0.10:80 --backend 10.0.0.2", &["protocol any is every port", "leave the port out"]),
    args("-- --vip any:10.0.0.10 --backend 10.0.0.2", &["local address that is not the VIP", "--local-address"]),
    args("-- --vip any:10.0.0.10 --backend 10.0.0.2 --local-address 10.0.0.10", &["is the VIP", "another address"]),
    args(
        "-- --vip any:10.0.0.10 --local-address 10.0.0.11 --backend 10.0.0.2:80",
        &["--backend 10.0.0.2:80", "no port of its own"],
    ),
    // --backend.
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2:0", &["--backend 10.0.0.2:0", "port 0 is out of range"]),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2,weight=65536", &["weight 65536 is out of range", "0 to 65535"]),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2,weight=-1", &["weight -1 is out of range"]),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2,weight=much", &["weight \"much\" is not a whole number"]),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2,wieght=1", &["\"wieght=1\"", "did you mean weight=?"]),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2,colour=red", &["\"colour=red\"", "weight=N and mac=MAC"]),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2,weight=1,weight=2", &["\"weight=2\" is the second"]),
    args(
        "-- --vip 10.0.0.10:80 --backend 10.0.0.2,mac=02:00:00:00:00",
        &["mac \"02:00:00:00:00\"", "02:00:00:00:00:01"],
    ),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2,mac=ff:ff:ff:ff:ff:ff", &["is a group address"]),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2,mac=00:00:00:00:00:00", &["is all zeros"]),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --backend 10.0.0.2:80", &["backend 10.0.0.2:80 is there twice"]),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.10:8080", &["backend 10.0.0.10 is a VIP of leat's"]),
    args("-- --vip 10.0.0.10:80 --backend [2001:db8::2]", &["--backend [2001:db8::2]", "IPv6 addresses are not"]),
    args("-- --vip 10.0.0.10:80 --backend 239.1.1.1", &["backend 239.1.1.1 is a multicast address"]),
    args(
        "-- --vip 10.0.0.10:80 --backend 10.0.0.11 --local-address 10.0.0.11",
        &["--backend 10.0.0.11", "a local address of leat's"],
    ),
    args(
        "-- --vip 10.0.0.10:80 --backend 10.0.0.254 --address 10.0.0.254/24",
        &["--backend 10.0.0.254", "an own address of leat's"],
    ),
    args(
        "-- --vip 10.0.0.10:80 --backend 10.0.0.255 --address 10.0.0.254/24",
        &["backend 10.0.0.255 is the broadcast address of 10.0.0.0/24"],
    ),
    // The other options.
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --mode dr", &["mode \"dr\" is not in this version; fullnat is"]),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --mode nat", &["mode \"nat\" is not in this version"]),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --mode ipip", &["mode \"ipip\" is not in this version"]),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --mode gue", &["mode \"gue\" is not in this version"]),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --mode bridge", &["mode \"bridge\" is unknown", "write fullnat"]),
    args(
        "-- --vip 10.0.0.10:80 --backend 10.0.0.2 --scheduler magelv",
        &["scheduler \"magelv\" is unknown", "did you mean maglev?", "maglev, rr, wrr, lc, wlc or sh"],
    ),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --persistence 0", &["--persistence 0", "1s or more"]),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --persistence -5", &["--persistence -5", "not a time"]),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --persistence 1.5", &["--persistence 1.5", "not a time"]),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --persistence 99999999", &["longer than 365 days"]),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --local-address 10.0.0.11:80", &["a port, which does not belong"]),
    args(
        "-- --vip 10.0.0.10:80 --backend 10.0.0.2 --local-address 10.0.0.11 --local-address 10.0.0.11",
        &["local address 10.0.0.11 is there twice"],
    ),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --local-address 0.1.2.3", &["0.0.0.0/8, which no host has"]),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --address 10.0.0.254", &["no prefix length", "10.0.0.254/24"]),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --address 10.0.0.254/40", &["prefix length that is not 0 to 32"]),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --address 10.0.0.0/24", &["the address of the network itself"]),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --address fd00::1/64", &["IPv6 addresses are not"]),
    args(
        "-- --vip 10.0.0.10:80 --backend 10.0.0.2 --address 10.0.0.254/24 --address 10.0.0.254/16",
        &["--address 10.0.0.254/16", "is there already (--address 10.0.0.254/24)"],
    ),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --mac 01:00:5e:00:00:01", &["--mac", "is a group address"]),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --mac automatic", &["--mac automatic", "not an Ethernet address"]),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --api unix:", &["--api unix:", "no path"]),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --api /run/leat.sock", &["write unix:/run/leat.sock"]),
    args(
        "-- --vip 10.0.0.10:80 --backend 10.0.0.2 --api localhost:80",
        &["--api localhost:80", "unix:PATH or IP:PORT"],
    ),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --api 127.0.0.1:0", &["port 0"]),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --api 0.0.0.0:9406", &["not loopback is not in this version"]),
    args(
        "-- --vip 10.0.0.10:80 --backend 10.0.0.2 --api unix:/a/path/of/one/hundred/and/eight/bytes/\
         aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        &["a path of 108 bytes", "takes 107"],
    ),
    args(
        "-- --vip 10.0.0.10:80 --backend 10.0.0.2 --connections 0",
        &["connections 0 is out of range", "1 to 268435456"],
    ),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --connections -1", &["connections -1 is out of range"]),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --connections 999999999999", &["is out of range"]),
    args("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --connections 1M", &["connections \"1M\" is not a whole number"]),
    args(
        "-- --vip 10.0.0.10:80 --backend 10.0.0.2 --connections 99999999999999999999999999999999999999999999",
        &["is out of range"],
    ),
    // Several mistakes are shown together.
    args(
        "-- --vip 10.0.0.10:80 --backend 10.0.0.2,weight=70000 --backend 10.0.0.3:0 --mode dr",
        &["weight 70000", "port 0", "mode \"dr\""],
    ),
    // --config excludes the rest.
    both("-- -c leat.toml --vip 10.0.0.10:80", "", &["--vip cannot be used with --config", "leat.toml"]),
    both("-- --backend 10.0.0.2 -c leat.toml", "", &["--backend cannot be used with --config"]),
    both("-- -c leat.toml --mode fullnat", "", &["--mode cannot be used with --config"]),
    both("-- -c leat.toml --scheduler rr", "", &["--scheduler cannot be used with --config"]),
    both("-- -c leat.toml --persistence 5", "", &["--persistence cannot be used with --config"]),
    both("-- -c leat.toml --local-address 10.0.0.11", "", &["--local-address cannot be used with --config"]),
    both("-- -c leat.toml --address 10.0.0.254/24", "", &["--address cannot be used with --config"]),
    both("--check -c leat.toml --connections 5", "", &["--connections cannot be used with --config"]),
    both("-- -c leat.toml --mac ff:ff:ff:ff:ff:ff", "", &["--mac ff:ff:ff:ff:ff:ff", "group address"]),
    both("-- -c leat.toml --api nowhere", "", &["--api nowhere"]),
    both("-- -c leat.toml --mac 02:00:00:00:00:01", "mac = \"x\"", &["leat.toml:1:7", "mac \"x\""]),
    both("-- -c leat.toml -c leat.toml", "", &["--config", "multiple times"]),
    // Files that are none.
    args("-- -c leat.toml", &["leat.toml: cannot be read", "No such file"]),
    args("--check --config .", &[".: cannot be read", "directory"]),
    args("-- -c /dev/zero", &["/dev/zero: larger than 16 MiB"]),
];

const BAD_FILES: &[Row] = &[
    // Syntax and types.
    toml("connections = ", &["leat.toml:1:", "not TOML"]),
    toml("a b c\n\n[service", &["leat.toml:1:", "leat.toml:3:", "not TOML"]),
    toml("connections = 1\nconnections = 2", &["leat.toml:2:1", "duplicate key"]),
    toml("connections = \"many\"", &["leat.toml:1:15", "connections must be a whole number, not a string"]),
    toml("connections = 1.5", &["connections must be a whole number, not a number with a fraction"]),
    toml("connections = 99999999999999999999999999999999999999999999", &["connections", "is out of range"]),
    toml("mac = 5", &["leat.toml:1:7", "mac must be a string"]),
    toml("service = 5", &["service must be a list of tables, not a number"]),
    toml("[service]\nvip = \"10.0.0.10\"", &["leat.toml:1:", "write [[service]], with two brackets"]),
    toml("timeouts = [1]", &["timeouts must be a table, not a list"]),
    toml(
        "[[service]]\nvip = \"10.0.0.10\"\nport = 80\nlocal_addresses = \"10.0.0.11\"",
        &["leat.toml:4:", "a list of strings"],
    ),
    // Keys.
    toml("conections = 5", &["leat.toml:1:1", "unknown key conections", "did you mean connections?"]),
    toml("\n\ncolour = \"red\"", &["leat.toml:3:1", "unknown key colour", "the keys here are mac, api"]),
    toml(
        "[[service]]\nname = \"web\"\nvip = \"10.0.0.10\"\nport = 80\nweigth = 3\n[[service.backend]]\naddress = \"10.0.0.2\"\nweigth = 3",
        &[
            "leat.toml:5:1: service \"web\": unknown key weigth",
            "leat.toml:8:1: service \"web\", backend 1: unknown key weigth; did you mean weight?",
        ],
    ),
    toml("metrics = \"127.0.0.1:9405\"", &["leat.toml:1:1", "metrics is not in this version"]),
    toml("standby = true", &["standby is not in this version"]),
    // Settings.
    toml("api = \"0.0.0.0:9406\"", &["leat.toml:1:7", "not loopback is not in this version"]),
    toml("mac = \"ff:ff:ff:ff:ff:ff\"", &["leat.toml:1:7", "group address"]),
    toml("connections = 0", &["connections 0 is out of range"]),
    toml("hash_seed = -1", &["hash_seed -1 is out of range", "0 to 18446744073709551615"]),
    toml("[timeouts]\nudp = \"0s\"", &["leat.toml:2:7: timeouts: udp \"0s\" is no time at all"]),
    toml("[timeouts]\nudp = 30", &["leat.toml:2:7: timeouts: udp must be a string"]),
    toml("[timeouts]\nudp = \"30\"", &["udp \"30\" is not a time", "write \"30s\""]),
    toml("[timeouts]\nudp = \"400d\"", &["udp \"400d\" is longer than 365 days"]),
    toml("[timeouts]\ntcp_establisched = \"5m\"", &["unknown key tcp_establisched", "did you mean tcp_established?"]),
    // Interfaces.
    toml("[[interface]]\naddresses = [\"10.0.0.254/24\"]", &["leat.toml:1:1: interface 1: port is missing"]),
    toml("[[interface]]\nport = \"\"", &["port \"\" is no device's name"]),
    toml("[[interface]]\nport = 70000", &["interface 70000: port 70000 is out of range; write 0 to 65535"]),
    toml("[[interface]]\nport = true", &["port must be a string or a whole number, not true or false"]),
    toml(
        "[[interface]]\nport = 0\n[[interface]]\nport = \"0\"",
        &["leat.toml:4:8", "port 0 has an [[interface]] already (leat.toml:2:8)"],
    ),
    toml(
        "[[interface]]\nport = \"a\"\naddresses = [\"10.0.0.255/24\"]",
        &["interface \"a\"", "is the broadcast address"],
    ),
    toml(
        "[[interface]]\nport = \"a\"\naddresses = [\"10.0.0.1/24\"]\n[[interface]]\nport = \"b\"\naddresses = [\"10.0.0.1/24\"]",
        &["leat.toml:6:14: interface \"b\": own address 10.0.0.1 is there already (leat.toml:3:14)"],
    ),
    toml(
        "[[interface]]\nport = \"a\"\ngateway = \"10.0.0.1\"",
        &["gateway 10.0.0.1 cannot be reached", "has no address"],
    ),
    toml(
        "[[interface]]\nport = \"a\"\naddresses = [\"10.0.0.254/24\"]\ngateway = \"10.0.1.1\"",
        &["leat.toml:4:11: interface \"a\": gateway 10.0.1.1 cannot be reached", "10.0.0.0/24"],
    ),
    toml(
        "[[interface]]\nport = \"a\"\naddresses = [\"10.0.0.254/24\"]\ngateway = \"10.0.0.254\"",
        &["gateway 10.0.0.254 is an own address of leat's"],
    ),
    toml(
        "[[interface]]\nport = \"a\"\naddresses = [\"10.0.0.254/24\"]\nroutes = [{ to = \"192.0.2.1/24\", via = \"10.0.0.2\" }]",
        &["leat.toml:4:18: interface \"a\": to 192.0.2.1/24 has bits set", "write 192.0.2.0/24"],
    ),
    toml(
        "[[interface]]\nport = \"a\"\naddresses = [\"10.0.0.254/24\"]\nroutes = [{ to = \"192.0.2.0/24\", via = \"10.1.0.2\" }]",
        &["via 10.1.0.2 cannot be reached"],
    ),
    toml(
        "[[interface]]\nport = \"a\"\naddresses = [\"10.0.0.254/24\"]\nroutes = [{ to = \"192.0.2.0/24\" }]",
        &["interface \"a\", route 1: via is missing"],
    ),
    toml(
        "[[interface]]\nport = \"a\"\naddresses = [\"10.0.0.254/24\"]\ngateway = \"10.0.0.1\"\nroutes = [{ to = \"0.0.0.0/0\", via = \"10.0.0.2\" }]",
        &["there is a route to everywhere (a gateway) already (leat.toml:4:11)"],
    ),
    // Services.
    toml("[[service]]\nport = 80", &["leat.toml:1:1: service 1: vip is missing"]),
    toml(
        "[[service]]\nname = \"web\"\nvip = \"10.0.0.10\"",
        &["service \"web\": the port is missing", "write port = 8080"],
    ),
    toml(
        "\n\n[[service]]\nname = \"web\"\nvip = \"10.0.0.10\"\nport = 70000",
        &["leat.toml:6:8: service \"web\": port 70000 is out of range; write 1 to 65535"],
    ),
    toml(
        "[[service]]\nvip = \"10.0.0.10:80\"\nport = 80",
        &["leat.toml:2:7", "has a port, which does not belong here"],
    ),
    toml("[[service]]\nvip = \"2001:db8::1\"\nport = 80", &["IPv6 addresses are not in this version"]),
    toml(
        "[[service]]\nvip = \"10.0.0.10\"\nport = 80\nmode = \"gue\"",
        &["leat.toml:4:8", "mode \"gue\" is not in this version"],
    ),
    toml("[[service]]\nvip = \"10.0.0.10\"\nprotocol = \"any\"", &["protocol any", "write local_addresses"]),
    toml("[[service]]\nname = \"a b\"\nvip = \"10.0.0.10\"\nport = 80", &["name \"a b\" cannot be used"]),
    toml(
        "[[service]]\nname = \"a\"\nvip = \"10.0.0.10\"\nport = 80\n[[service]]\nname = \"a\"\nvip = \"10.0.0.10\"\nport = 81",
        &["leat.toml:6:8", "name \"a\" is taken already (leat.toml:2:8)"],
    ),
    toml(
        "[[service]]\nname = \"a\"\nvip = \"10.0.0.10\"\nport = 80\n[[service]]\nname = \"b\"\nvip = \"10.0.0.10\"\nport = 80",
        &["leat.toml:7:7: service \"b\": tcp 10.0.0.10:80 is a service already (leat.toml:3:7)"],
    ),
    toml(
        "[[service]]\nvip = \"10.0.0.10\"\nprotocol = \"any\"\nlocal_addresses = [\"10.0.0.11\"]\n\
         [[service]]\nvip = \"10.0.0.10\"\nprotocol = \"any\"\nlocal_addresses = [\"10.0.0.12\"]",
        &["any 10.0.0.10 is a service already"],
    ),
    toml(
        "[[service]]\nvip = \"10.0.0.10\"\nport = 80\nmaglev_table_size = 65536",
        &["maglev_table_size: a table of 65536 entries", "must be a prime; the nearest are 65521 and 65537"],
    ),
    toml(
        "[[service]]\nvip = \"10.0.0.10\"\nport = 80\nmaglev_table_size = 1",
        &["maglev_table_size: a table of 1 entries", "a prime from 7 to 6553577"],
    ),
    toml(
        "[[service]]\nvip = \"10.0.0.10\"\nport = 80\nmaglev_table_size = 7\nbackend = [{ address = \"10.0.0.2\" }, \
         { address = \"10.0.0.3\" }, { address = \"10.0.0.4\" }, { address = \"10.0.0.5\" }, { address = \"10.0.0.6\" }, \
         { address = \"10.0.0.7\" }, { address = \"10.0.0.8\" }, { address = \"10.0.0.9\" }]",
        &["maglev_table_size 7 is less than the number of backends, 8"],
    ),
    toml("[[service]]\nvip = \"10.0.0.10\"\nport = 80\npersistence = 300", &["persistence must be a string"]),
    toml(
        "[[service]]\nvip = \"10.0.0.10\"\nport = 80\npersistence = \"0s\"",
        &["persistence \"0s\" is no time at all"],
    ),
    toml(
        "[[service]]\nvip = \"10.0.0.10\"\nport = 80\nhealth = { type = \"tcp\" }",
        &["health: type \"tcp\" is not in this version; none is"],
    ),
    toml(
        "[[service]]\nvip = \"10.0.0.10\"\nport = 80\nhealth = { type = \"none\", interval = \"5s\" }",
        &["health: interval is not in this version"],
    ),
    toml(
        "[[service]]\nvip = \"10.0.0.10\"\nport = 80\non_failure = \"move\"",
        &["on_failure \"move\" is not in this version; keep is"],
    ),
    toml(
        "[[service]]\nvip = \"10.0.0.10\"\nport = 80\nno_connection = \"reset\"",
        &["no_connection \"reset\" is not in this version; drop is"],
    ),
    toml(
        "[[service]]\nvip = \"10.0.0.10\"\nport = 80\nno_connection = \"dorp\"",
        &["no_connection \"dorp\" is unknown", "did you mean drop?"],
    ),
    toml("[[service]]\nvip = \"10.0.0.10\"\nport = 80\nsyn_proxy = \"auto\"", &["syn_proxy is not in this version"]),
    // Backends.
    toml(
        "[[service]]\nvip = \"10.0.0.10\"\nport = 80\n[[service.backend]]\nport = 80",
        &["leat.toml:4:1: service 1, backend 1: address is missing"],
    ),
    toml(
        "[[service]]\nvip = \"10.0.0.10\"\nport = 80\n[[service.backend]]\naddress = \"10.0.0.2\"\nweight = 70000",
        &["leat.toml:6:10", "weight 70000 is out of range; write 0 to 65535"],
    ),
    toml(
        "[[service]]\nvip = \"10.0.0.10\"\nport = 80\n[[service.backend]]\naddress = \"10.0.0.2\"\n[[service.backend]]\naddress = \"10.0.0.2\"",
        &["leat.toml:7:11", "backend 10.0.0.2:80 is there twice"],
    ),
    toml(
        "[[service]]\nvip = \"10.0.0.10\"\nport = 80\n[[service]]\nname = \"b\"\nvip = \"10.0.0.11\"\nport = 80\nbackend = [{ address = \"10.0.0.10\" }]",
        &["service \"b\": backend 10.0.0.10 is a VIP of leat's"],
    ),
];

/// The message that the library refuses a row with.
fn message(row: &Row, dir: &Path) -> String {
    match parse(row.args, row.file.map(str::as_bytes), dir) {
        Err(failure) => failure.message,
        Ok(accepted) => panic!("accepted: {:?} {:?}: {accepted:?}", row.args, row.file),
    }
}

fn parse(args: &str, file: Option<&[u8]>, dir: &Path) -> Result<Invocation, Failure> {
    prepare(file, dir);
    cli::parse(args.split_whitespace().map(OsString::from), |path| file::read(&dir.join(path)))
}

fn prepare(file: Option<&[u8]>, dir: &Path) {
    let path = dir.join("leat.toml");
    match file {
        Some(bytes) => fs::write(path, bytes).unwrap(),
        None if path.exists() => fs::remove_file(path).unwrap(),
        None => {}
    }
}

#[track_caller]
fn assert_says(row: &Row, message: &str) {
    for part in row.says {
        assert!(message.contains(part), "{:?} {:?}\nsays: {message}\nbut not: {part}", row.args, row.file);
    }
    assert!(message.starts_with("leat: "), "{message}");
}

#[test]
fn the_library_refuses_each_row_with_its_message() {
    let dir = tempfile::tempdir().unwrap();
    for row in BAD_ARGUMENTS.iter().chain(BAD_FILES) {
        assert_says(row, &message(row, dir.path()));
    }
}

#[cfg(feature = "dpdk")]
#[test]
fn the_program_refuses_each_row_with_status_2_and_starts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for row in BAD_ARGUMENTS.iter().chain(BAD_FILES) {
        prepare(row.file.map(str::as_bytes), dir.path());
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_leat"))
            .args(row.args.split_whitespace())
            .current_dir(dir.path())
            .output()
            .unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_says(row, &message);
        assert_eq!(output.status.code(), Some(2), "{:?} {:?}\n{message}", row.args, row.file);
        assert!(output.stdout.is_empty(), "{:?} prints {:?}", row.args, String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn what_is_not_text_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let failure = parse("-- -c leat.toml", Some(b"# ok\n# \xff"), dir.path()).unwrap_err();
    assert!(failure.message.contains("leat.toml:2: not UTF-8"), "{failure}");

    use std::os::unix::ffi::OsStringExt;
    let args = [OsString::from("--"), OsString::from("--vip"), OsString::from_vec(vec![b'1', 0xff])];
    let failure = cli::parse(args, file::read).unwrap_err();
    assert!(failure.message.contains("is not UTF-8"), "{failure}");
}

#[test]
fn complaints_come_in_the_order_of_the_file_one_a_line() {
    let text =
        "[[service]]\nvip = \"10.0.0.10\"\nport = 0\n[[service.backend]]\naddress = \"x\"\n[timeouts]\nudp = \"x\"\n";
    let message = file::load("leat.toml", text.as_bytes()).unwrap_err().message;
    let places: Vec<&str> = message.lines().map(|line| line.split(": ").nth(1).unwrap()).collect();
    assert_eq!(places, ["leat.toml:3:8", "leat.toml:5:11", "leat.toml:7:7"], "{message}");
}

/// Legal input, and facts about what comes out.
type Good = (&'static str, Option<&'static str>, fn(&Run) -> bool);

const GOOD: &[Good] = &[
    ("-l 0 --vdev=net_tap0,iface=tapdpdk -- --vip 10.0.0.10:8080 --backend 10.0.0.2 --backend 10.0.0.3", None, |run| {
        let service = &run.config.services[0];
        run.eal == ["-l", "0", "--vdev=net_tap0,iface=tapdpdk"]
            && (service.name.as_str(), service.port) == ("tcp:10.0.0.10:8080", 8080)
            && service.local_addresses == [service.vip]
            && service.maglev_table_size.get() == 65_537
            && service.backends.iter().all(|backend| backend.port == 8080 && backend.weight == 1)
            && run.config.connections == 1_048_576
            && run.config.api.to_string() == "unix:/run/leat/leat.sock"
            && run.config.mac.to_string() == "auto"
            && !run.trace
            && run.warnings.is_empty()
    }),
    ("-- --trace --backend 10.0.0.3:81 --vip udp:10.0.0.10:53", None, |run| {
        let service = &run.config.services[0];
        run.trace && service.protocol.to_string() == "udp" && service.backends[0].port == 81 && run.eal.is_empty()
    }),
    ("-- --vip any:10.0.0.10 --backend 10.0.0.2 --local-address 10.0.0.11 --local-address 10.0.0.12", None, |run| {
        let service = &run.config.services[0];
        service.name == "any:10.0.0.10"
            && service.port == 0
            && service.backends[0].port == 0
            && service.local_addresses.len() == 2
    }),
    (
        "-- --vip tcp:10.0.0.10:80 --backend 10.0.0.2,mac=02:00:00:00:00:02,weight=0 --backend 10.0.0.2:81",
        None,
        |run| {
            let backends = &run.config.services[0].backends;
            backends[0].weight == 0 && backends[0].mac.is_some() && backends[1].port == 81 && run.warnings.is_empty()
        },
    ),
    (
        "-- --vip 10.0.0.10:80 --backend 10.0.0.2,weight=65535 --scheduler wlc --mode fullnat --persistence 300",
        None,
        |run| {
            let service = &run.config.services[0];
            service.scheduler.to_string() == "wlc"
                && service.persistence.is_some_and(|time| time.as_secs() == 300)
                && service.backends[0].weight == 65_535
        },
    ),
    ("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --address 10.0.0.254/24 --address 10.1.0.1/32", None, |run| {
        run.config.addresses[0].to_string() == "10.0.0.254/24" && run.config.addresses.len() == 2
    }),
    ("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --address 10.0.0.10/24 --local-address 10.0.0.10", None, |run| {
        run.config.services[0].local_addresses == [run.config.addresses[0].addr()]
    }),
    (
        "-- --vip 10.0.0.10:80 --backend 10.0.0.2 --connections 1 --api 127.0.0.1:9406 --mac 00:00:00:00:00:fe",
        None,
        |run| {
            run.config.connections == 1
                && run.config.api.to_string() == "127.0.0.1:9406"
                && run.config.mac.to_string() == "00:00:00:00:00:fe"
        },
    ),
    ("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --scheduler rr --mac auto", None, |run| {
        run.config.mac.to_string() == "auto"
    }),
    ("-- --vip 10.0.0.10:80 --backend 10.0.0.2,weight=0", None, |run| run.warnings[0].contains("weight 0")),
    ("-- --vip 10.0.0.10:80 --backend 10.0.0.2 --backend 10.0.0.3,weight=2 --scheduler rr", None, |run| {
        run.warnings[0].contains("rr ignores weights")
    }),
    // Files.
    ("-- -c leat.toml", Some(""), |run| {
        run.config.services.is_empty() && run.warnings[0].contains("no service") && run.file.is_some()
    }),
    ("-- --config=leat.toml", Some("[[service]]\nvip = \"10.0.0.10\"\nport = 80"), |run| {
        run.config.services[0].backends.is_empty() && run.warnings[0].contains("no backends")
    }),
    (
        "-- --mac 02:00:00:00:00:01 -c leat.toml --api unix:mine",
        Some(
            "mac = \"02:00:00:00:00:02\"\napi = \"unix:theirs\"\nhash_seed = 18446744073709551615\nconnections = 0x10_00",
        ),
        |run| {
            run.config.mac.to_string() == "02:00:00:00:00:01"
                && run.config.api.to_string() == "unix:mine"
                && run.config.hash_seed == u64::MAX
                && run.config.connections == 4096
        },
    ),
    (
        "-- -c leat.toml",
        Some(
            "[timeouts]\ntcp_established = \"1d\"\nudp = \"90s\"\n[[interface]]\nport = 0\naddresses = [\"10.0.0.254/24\"]\n\
             gateway = \"10.0.0.1\"\nroutes = [{ to = \"192.0.2.0/24\", via = \"10.0.0.2\" }, { to = \"198.51.100.7/32\", via = \"10.0.0.3\" }]\n\
             [[interface]]\nport = \"0000:01:00.0\"",
        ),
        |run| {
            let config = &run.config;
            config.timeouts.tcp_established.as_secs() == 86_400
                && config.timeouts.udp.as_secs() == 90
                && config.timeouts.icmp.as_secs() == 60
                && config.interfaces[0].port.to_string() == "0"
                && config.interfaces[0].gateway.is_some()
                && config.interfaces[0].routes.len() == 2
                && config.interfaces[1].port.to_string() == "0000:01:00.0"
        },
    ),
    (
        "-- -c leat.toml",
        Some(
            "[[service]]\nname = \"all\"\nvip = \"10.0.0.10\"\nprotocol = \"any\"\nlocal_addresses = [\"10.0.0.11\"]\n\
             backend = [{ address = \"10.0.0.2\" }]\n\
             [[service]]\nname = \"web\"\nvip = \"10.0.0.10\"\nport = 80\nhealth = { type = \"none\" }\non_failure = \"keep\"\n\
             no_connection = \"drop\"\nbackend = [{ address = \"10.0.0.2\", port = 8080 }, { address = \"10.0.0.2\", port = 8081 }]\n\
             [[service]]\nvip = \"10.0.0.10\"\nprotocol = \"udp\"\nport = 80\nmaglev_table_size = 655373\nlocal_addresses = [\"10.0.0.11\"]",
        ),
        |run| {
            let services = &run.config.services;
            services.len() == 3
                && services[1].backends[1].port == 8081
                && services[2].name == "udp:10.0.0.10:80"
                && services[2].maglev_table_size.get() == 655_373
                && run
                    .warnings
                    .iter()
                    .any(|warning| warning.contains("\"web\": its local address 10.0.0.10 is the VIP of \"all\""))
        },
    ),
];

#[test]
fn legal_input_becomes_what_it_says() {
    let dir = tempfile::tempdir().unwrap();
    for (args, file, holds) in GOOD {
        match parse(args, file.map(str::as_bytes), dir.path()) {
            Ok(Invocation::Run(run)) => assert!(holds(&run), "{args:?} {file:?} became {run:#?}"),
            other => panic!("{args:?} {file:?} became {other:#?}"),
        }
    }
}

#[test]
fn check_takes_what_follows_it_and_eal_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    for args in [
        "-l 0 --check -c leat.toml",
        "-l 0 -- --check -c leat.toml",
        "-l 0 -- -c leat.toml --check",
        "--check -l 0 -- -c leat.toml",
    ] {
        match parse(args, Some(b""), dir.path()) {
            Ok(Invocation::Check(run)) => assert_eq!(run.eal, ["-l", "0"], "{args}"),
            other => panic!("{args}: {other:?}"),
        }
    }
    assert!(matches!(parse("--check -c leat.toml", Some(b""), dir.path()), Ok(Invocation::Check(_))));
}

#[test]
fn help_and_version_need_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    for args in ["--help", "-l 0 --help", "-- --help", "-- -h", "--help -- --vip", "-l 0 -- --vip x --help"] {
        match parse(args, None, dir.path()) {
            Ok(Invocation::Help(text)) => {
                for part in ["Usage: leat [EAL options] -- ", "--vip", "Examples:", "--vdev=net_tap0"] {
                    assert!(text.contains(part), "{args}: {text}");
                }
            }
            other => panic!("{args}: {other:?}"),
        }
    }
    for args in ["--version", "-- --version", "-- -V"] {
        match parse(args, None, dir.path()) {
            Ok(Invocation::Version(text)) => assert!(text.starts_with("leat 0.1.0 ("), "{text}"),
            other => panic!("{args}: {other:?}"),
        }
    }
}

#[test]
fn only_so_many_complaints_are_shown() {
    let text: String = (0..1000).map(|number| format!("key{number} = 1\n")).collect();
    let message = file::load("leat.toml", text.as_bytes()).unwrap_err().message;
    assert_eq!(message.lines().count(), 21);
    assert_eq!(message.lines().last(), Some("leat: and 980 more like these"));
}

#[test]
fn a_single_line_of_a_hundred_thousand_mistakes_is_refused_at_once() {
    let mut text = "service = [".to_owned();
    for _ in 0..100_000 {
        text.push_str("{ vip = 1 }, ");
    }
    text.push(']');
    let message = file::load("leat.toml", text.as_bytes()).unwrap_err().message;
    assert!(message.contains("leat.toml:1:20: service 1: vip must be a string"), "{message}");
}

proptest! {
    /// The example with a piece of it replaced: right or refused, never a panic, and every complaint has a place.
    #[test]
    fn a_damaged_file_is_refused_with_places_or_still_right(
        start in 0..5000_usize,
        length in 0..40_usize,
        piece in "[a-z0-9\"=\\[\\]{}., \n:/-]{0,12}|\"[0-9./:]{0,16}\"|-?[0-9]{1,45}|\\PC{0,4}",
    ) {
        let mut text: Vec<char> = include_str!("../docs/leat.example.toml").chars().collect();
        let start = start.min(text.len());
        let end = (start + length).min(text.len());
        text.splice(start..end, piece.chars());
        let text: String = text.into_iter().collect();
        if let Err(failure) = file::load("leat.toml", text.as_bytes()) {
            for line in failure.message.lines() {
                prop_assert!(line.starts_with("leat: leat.toml:") || line.starts_with("leat: and "), "{}", line);
            }
        }
    }

    /// Arguments made of what users type, in any order: right or refused, never a panic.
    #[test]
    fn shuffled_arguments_are_right_or_refused(
        words in prop::collection::vec(
            prop_oneof![
                "--(vip|backend|mode|scheduler|persistence|local-address|address|connections|mac|api|check|trace)?",
                "(tcp:|udp:|any:)?10\\.0\\.0\\.[0-9]{1,3}(:[0-9]{1,5})?(/[0-9]{1,2})?(,weight=[0-9]{1,5})?(,mac=[0-9a:]{17})?",
                "-[a-z]|\\PC{0,6}|[0-9]{1,12}",
            ],
            0..10,
        ),
    ) {
        if let Err(failure) = cli::parse(words.into_iter().map(OsString::from), |_| Ok(Vec::new())) {
            prop_assert!(failure.message.starts_with("leat: "));
        }
    }
}

#[test]
fn the_example_file_is_right_and_raises_no_warning() {
    let loaded = file::load("leat.example.toml", include_bytes!("../docs/leat.example.toml")).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert_eq!(loaded.config.services.len(), 3);
}
