//! Bad files.

use super::row::{Row, toml};

pub(crate) const BAD: &[Row] = &[
    // Syntax and types.
    toml("connections = ", &["leat.toml:1:", "not TOML"]),
    toml("a b c\n\n[service", &["leat.toml:1:", "leat.toml:3:", "not TOML"]),
    toml("connections = 1\nconnections = 2", &["leat.toml:2:1", "duplicate key"]),
    toml("connections = \"many\"", &["leat.toml:1:15", "connections must be a whole number, not a string"]),
    toml("connections = 1.5", &["connections must be a whole number, not a number with a fraction"]),
    toml("connections = 99999999999999999999999999999999999999999999", &["connections", "is out of range"]),
    toml(
        "[clients]\ndeny = [\"192.0.2.1\"]",
        &["leat.toml:2:", "deny 192.0.2.1 has no prefix length; write 192.0.2.1/32"],
    ),
    toml("[clients]\nallow = [\"192.0.2.1/24\"]", &["allow 192.0.2.1/24 has bits set beyond its prefix"]),
    toml("[clients]\ndeny = [\"10.0.0.0/8\", \"10.0.0.0/8\"]", &["deny 10.0.0.0/8 is there twice"]),
    toml(
        "[clients]\ndeny = [\"10.0.0.0/8\"]\nallow = [\"10.0.0.0/8\"]",
        &["leat.toml:3:", "allow 10.0.0.0/8 is in deny as well"],
    ),
    toml("[clients]\nblock = []", &["block"]),
    toml(
        "[[service]]\nvip = \"10.0.0.1\"\nport = 80\nbackend = [{ address = \"10.0.0.2\", max_connections = 0 }]",
        &["leat.toml:4:", "max_connections"],
    ),
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
    toml("standby = \"yes\"", &["leat.toml:1:11", "standby must be true or false"]),
    // Settings.
    toml(
        "api = \"0.0.0.0:9406\"",
        &["leat.toml:1:7", "others reach this address, so a token is needed", "api_token_file"],
    ),
    toml("api_token_file = \"\"", &["api_token_file has no path"]),
    toml("metrics = \"9405\"", &["leat.toml:1:11", "metrics \"9405\" is not an address", "127.0.0.1:9405"]),
    toml("metrics = \"127.0.0.1:0\"", &["leat.toml:1:11", "port 0"]),
    toml("mac = \"ff:ff:ff:ff:ff:ff\"", &["leat.toml:1:7", "group address"]),
    toml("connections = 0", &["connections 0 is out of range"]),
    toml("buffers = -1", &["buffers -1 is out of range"]),
    toml("buffers = 16777217", &["buffers 16777217 is out of range"]),
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
    toml("[[interface]]\nport = 0\nvlan = 0", &["leat.toml:3:8", "vlan 0 is out of range; write 1 to 4094"]),
    toml("[[interface]]\nport = 0\nvlan = 4095", &["vlan 4095 is out of range"]),
    toml(
        "[[interface]]\nport = 0\nvlan = 7\n[[interface]]\nport = 0\n[[interface]]\nport = 0\nvlan = 7",
        &["leat.toml:7:8", "VLAN 7 of port 0 has an [[interface]] already (leat.toml:2:8)"],
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
        &["there is a route to everywhere (0.0.0.0/0, a gateway) already (leat.toml:4:11)"],
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
    toml("[[service]]\nvip = \"[2001:db8::1]\"\nport = 80", &["leat.toml:2:7", "write 2001:db8::1"]),
    toml(
        "[[interface]]\nport = 0\naddresses = [\"2001:db8::fe/64\"]\ngateway = \"2001:db8:1::1\"",
        &["gateway 2001:db8:1::1 cannot be reached", "write an address in 2001:db8::/64"],
    ),
    toml(
        "[[interface]]\nport = 0\naddresses = [\"2001:db8::fe/64\"]\ngateway = \"fe80::1\"\n\
         routes = [{ to = \"::/0\", via = \"2001:db8::1\" }]",
        &["there is a route to everywhere (::/0, a gateway) already"],
    ),
    toml("[clients]\ndeny = [\"2001:db8::1/48\"]", &["has bits set beyond its prefix; write 2001:db8::/48"]),
    // Nobody has such an address, and so nobody would be denied.
    toml(
        "[clients]\ndeny = [\"::ffff:192.0.2.0/120\"]",
        &["leat.toml:2:9", "has IPv4 addresses written in IPv6's way; write 192.0.2.0/24"],
    ),
    toml(
        "[[interface]]\nport = 0\naddresses = [\"2001:db8::fe/64\"]\n\
         routes = [{ to = \"::ffff:0.0.0.0/96\", via = \"2001:db8::1\" }]",
        &["leat.toml:4:18", "write 0.0.0.0/0"],
    ),
    toml("[clients]\nallow = [\"2001:db8::%eth0/64\"]", &["leat.toml:2:10", "has a zone"]),
    toml(
        "[[service]]\nvip = \"10.0.0.10\"\nport = 80\nmode = \"gre\"",
        &["leat.toml:4:8", "mode \"gre\" is unknown", "did you mean gue?"],
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
