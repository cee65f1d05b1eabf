#!/usr/bin/env bash
# roundrobin.sh: four clients and three servers on one subnet, and leat between them. Explained in
# docs/labs/roundrobin.md.
#
#   roundrobin.sh [--name NAME] [--binaries DIR] [--keep] [--ipv6]   shows the whole lab
#   roundrobin.sh [--name NAME] up [--ipv6] | down | status          its network alone
#   roundrobin.sh [--name NAME] exec HOST COMMAND...                 a command on a host: h1 to h7, or lb, where leat's
#                                                                    port is
#
#   --ipv6      speaks IPv6
#   --keep      leaves it running at the end
#   --binaries  where leat is, in place of building it
#
# Captures and logs stay in target/labs/NAME. Nothing is left in the first namespace, nor when it was killed: `down`, or
# the next run, clears that.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

name=roundrobin
vip=10.0.0.254
clients=(h1 h2 h3 h4)
servers=(h5 h6 h7)

build() {
    isolated_switch 7
}

demonstrate() {
    local server counted
    step "leat asks for its servers before anybody needs them"
    for server in "${servers[@]}"; do
        capture "$server" eth0 "start-$server.pcap" "$neighbors"
    done
    start_leat lb --config "$repository/docs/labs/roundrobin$suffix.toml"
    patiently "the servers' answers" all_known
    end_captures
    for server in "${servers[@]}"; do
        packets "start-$server.pcap" "$question" | grep -vE "who.has $vip( |,)" | sed "s/^/      $server hears: /"
    done

    step "Each new client goes to the next server"
    round first
    step "Each client keeps its server"
    round second
    cmp -s "$work/first.txt" "$work/second.txt" || die "a client was given another server: see $work"

    step "What the two sides see"
    say "h1: the service's address and leat's Ethernet address, nothing else"
    packets first-h1.pcap -e -c 4 not dst host ff02::1 | indent
    say "h5: h1's own address, and leat's Ethernet address"
    packets first-h5.pcap -e -c 4 not dst host ff02::1 | indent

    step "A server cannot be its own client"
    if shown h5 ping -c 1 -W 1 "$vip" | indent; then die "h5 got an answer"; fi
    counted=$(leat_says lb '.workers[0].drops.backend_as_client')
    say "leat has dropped and counted it: backend_as_client $counted"

    step "Pings are forgotten after 10 seconds, the choice of server is not"
    say "connections now: $(leat_says lb '.workers[0].connections')"
    patiently "the end of all connections" idle
    say "and a little later: $(leat_says lb '.workers[0].connections')"
    round third
    cmp -s "$work/first.txt" "$work/third.txt" || die "a client was given another server: see $work"
}

all_known() {
    [[ $(leat_says lb '[.neighbors[] | select(.mac != null)] | length') -eq ${#servers[@]} ]]
}

idle() {
    [[ $(leat_says lb '.workers[0].connections') -eq 0 ]]
}

# round NAME: every client pings once, one after the other; who was served by whom goes to NAME.txt.
round() {
    local host client server
    for host in "${clients[@]}" "${servers[@]}"; do
        capture "$host" eth0 "$1-$host.pcap" arp or icmp or icmp6
    done
    say "$bold\$ ping -c 2 $vip$plain   (on ${clients[*]}, one after the other)"
    for client in "${clients[@]}"; do
        on "$client" ping -c 2 -i 0.2 -W 5 "$vip" >"$work/$1-$client.txt" || die "$client got no answer"
    done
    end_captures
    for client in "${clients[@]}"; do
        for server in "${servers[@]}"; do
            if [[ -n $(packets "$1-$server.pcap" "$echo_request and src host $(home "$client")") ]]; then
                echo "$client ($(home "$client")) -> $server ($(home "$server"))"
            fi
        done
    done >"$work/$1.txt"
    indent <"$work/$1.txt"
    [[ $(wc -l <"$work/$1.txt") -eq ${#clients[@]} ]] || die "not each client has one server: see $work"
}

# home HOST: its address.
home() {
    at "10.0.0.${1#h}"
}

what_next() {
    hint "scripts/labs/roundrobin.sh exec h1 ping $vip" "a client"
    hint "scripts/labs/roundrobin.sh exec h5 tcpdump -nei eth0" "what a server sees"
    hint "scripts/labs/roundrobin.sh exec h1 ip neighbor" "who a client believes to talk to"
    hint "curl -s --unix-socket /run/leat/$name-lb.sock http://leat/api/v1/status | jq" "all that leat knows"
}

lab_main "$@"
