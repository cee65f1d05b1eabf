#!/usr/bin/env bash
# liveness.sh: two web servers, four clients, and leat, which notices when a server dies. Explained in
# docs/labs/liveness.md.
#
#   liveness.sh [--name NAME] [--binaries DIR] [--keep] [--ipv6]   shows the whole lab
#   liveness.sh [--name NAME] up [--ipv6] | down | status          its network alone
#   liveness.sh [--name NAME] exec HOST COMMAND...                 a command on a host: h1 to h6, or lb, where leat's
#                                                                  port is
#   liveness.sh [--name NAME] unplug HOST                          takes the cable out of a host's port at the switch
#   liveness.sh [--name NAME] plug HOST                            puts it back
#
#   --ipv6      speaks IPv6
#   --keep      leaves it running at the end
#   --binaries  where leat is, in place of building it
#
# Captures and logs stay in target/labs/NAME. Nothing is left in the first namespace, nor when it was killed: `down`, or
# the next run, clears that.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

name=liveness
vip=10.0.1.1
servers=(h1 h2)
clients=(h3 h4 h5 h6)

build() {
    local host
    isolated_switch 6
    for host in "${servers[@]}" "${clients[@]}"; do
        # The VIP is of another subnet, but at home on this one.
        on "$host" "${ip[@]}" route add "$vip" dev eth0
        ports_at_once "$host"
    done
}

action_unplug() {
    [[ $# -eq 1 ]] || usage_error "unplug whom?"
    need_host "$1"
    ip -n "$(namespace lb)" link set "$1" down
}

action_plug() {
    [[ $# -eq 1 ]] || usage_error "plug whom?"
    need_host "$1"
    ip -n "$(namespace lb)" link set "$1" up
}

demonstrate() {
    local server
    step "Two web servers, and leat between them and their clients"
    for server in "${servers[@]}"; do
        start_nginx "$server" 80 "Hello from $server"
    done
    capture h3 eth0 probes.pcap "$neighbors"
    start_leat lb --config "$repository/docs/labs/liveness$suffix.toml"
    patiently "both servers" all_known
    log

    step "Every connection goes to the next server"
    requests
    [[ $(uniq "$work/answers.txt" | wc -l) -eq 8 ]] || die "they do not alternate: see $work/answers.txt"

    step "h1 goes away"
    cable unplug h1
    patiently "leat to notice" logged 'server down' 1
    log
    requests
    [[ $(sort -u "$work/answers.txt") == "Hello from h2" ]] || die "a dead server was asked: see $work/answers.txt"

    step "h1 comes back"
    cable plug h1
    patiently "leat to notice" logged 'server up' 1
    log
    requests
    [[ $(uniq "$work/answers.txt" | wc -l) -eq 8 ]] || die "they do not alternate: see $work/answers.txt"

    step "Nobody is there"
    cable unplug h1
    cable unplug h2
    patiently "leat to notice" logged 'no server is up' 1
    if on h3 curl -sS --max-time 2 "$url/" 2>&1 | indent; then die "somebody answered"; fi
    say "leat has dropped and counted it: no_backend $(leat_says lb '.workers[0].drops.no_backend')"
    log

    step "How leat has asked, all this time"
    end_captures
    # The clients ask as well, about the service.
    tcpdump -nn -ttt -r "$work/probes.pcap" "$question" 2>/dev/null | grep -vE "who.has $vip( |,)" | head -12 | indent
}

all_known() {
    [[ $(leat_says lb '[.neighbors[] | select(.mac != null)] | length') -eq ${#servers[@]} ]]
}

# cable ACTION HOST
cable() {
    say "$bold\$ scripts/labs/liveness.sh $1 $2$plain"
    "action_$1" "$2"
}

# logged TEXT COUNT: leat has said it so often by now.
logged() {
    [[ $(grep -c -- "$1" "$work/leat-lb.log") -ge $2 ]]
}

# What leat has logged since the last time.
log() {
    tail -n +"$((said + 1))" "$work/leat-lb.log" | grep -E 'INFO|WARN|ERROR' | indent || true
    said=$(wc -l <"$work/leat-lb.log")
}
said=0

# Two rounds of all clients, a connection each.
requests() {
    local client
    say "$bold\$ curl $url/$plain   (on ${clients[*]}, one after the other, twice)"
    for client in "${clients[@]}" "${clients[@]}"; do
        on "$client" curl -sS --fail --max-time 10 "$url/" || die "$client got no answer"
    done >"$work/answers.txt"
    indent <"$work/answers.txt"
}

what_next() {
    hint "scripts/labs/liveness.sh plug h2" "a server that comes back"
    hint "scripts/labs/liveness.sh exec h3 curl $url/" "a client"
    hint "tail -f target/labs/$name/leat-lb.log" "what leat notices"
}

lab_main "$@"
