#!/usr/bin/env bash
# ecmp.sh: two leats behind equal-cost routes send packets in tunnels to servers that answer past them. Explained in
# docs/labs/ecmp.md.
#
#   ecmp.sh [--name NAME] [--binaries DIR] [--keep] [--ipv6]   shows the whole lab
#   ecmp.sh [--name NAME] up [--ipv6] | down | status          its network alone
#   ecmp.sh [--name NAME] exec HOST COMMAND...                 a command on a host: c1, c2, r1, r2, h1 to h4
#   ecmp.sh [--name NAME] withdraw HOST                        takes h1 or h2 out of the route to the VIP
#   ecmp.sh [--name NAME] announce HOST                        puts it back
#
#   --ipv6      speaks IPv6, in the tunnels as well
#   --keep      leaves it running at the end
#   --binaries  where leat and leat-agent are, in place of building them
#
# Captures and logs stay in target/labs/NAME. Nothing is left in the first namespace, nor when it was killed: `down`, or
# the next run, clears that.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

name=ecmp
vip=20.0.0.1
balancers=(h1 h2)
servers=(h3 h4)
size=100000000

build() {
    local host
    for host in c1 c2 r1 r2 h1 h2 h3 h4; do
        add_namespace "$(namespace "$host")"
        # A server's answer comes by another way than the route to its source, the VIP, leads.
        on "$host" sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
    done
    for host in c1 c2; do
        ports_at_once "$host"
    done
    wire r1 c1 10.0.1.1/24 c1 eth0 10.0.1.2/24
    wire r1 c2 10.0.2.1/24 c2 eth0 10.0.2.2/24
    wire r1 r2 10.0.9.1/24 r2 r1 10.0.9.2/24
    for host in h1 h2 h3 h4; do
        wire r2 "$host" "10.1.${host#h}.1/24" "$host" eth0
    done
    for host in "${balancers[@]}"; do
        # leat itself is at 10.1.N.2, on the tap. The bridge is no more than the cable between the two.
        add_bridge "$(namespace "$host")"
        add_tap "$(namespace "$host")"
        ip -n "$(namespace "$host")" link set eth0 master br0
    done
    for host in "${servers[@]}"; do
        add_address "$(namespace "$host")" eth0 "$(end_of "$host")/24"
        route "$host" add default via "$(at "10.1.${host#h}.1")"
    done
    route c1 add default via "$(at 10.0.1.1)"
    route c2 add default via "$(at 10.0.2.1)"
    route r1 add default via "$(at 10.0.9.2)"
    route r2 add "$([[ $ipv6 == yes ]] && echo 2001:db8::/48 || echo 10.0.0.0/16)" via "$(at 10.0.9.1)"
    # 1: a flow's ports count too, so one client's connections are spread as well.
    on r2 sysctl -qw net.ipv4.fib_multipath_hash_policy=1 net.ipv6.fib_multipath_hash_policy=1
    for host in r1 r2; do
        on "$host" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
    done
    lead_to "${balancers[@]}"
}

# end_of HOST: the address of leat, or of the server, on the cable to r2, in IPv4.
end_of() {
    echo "10.1.${1#h}.2"
}

# route HOST ACTION...
route() {
    on "$1" "${ip[@]}" route "${@:2}"
}

# --- The route to the VIP -------------------------------------------------------------------------------------------

action_withdraw() {
    need_balancer "$@"
    mapfile -t left < <(carriers | sed "/^$1\$/d")
    lead_to "${left[@]}"
}

action_announce() {
    need_balancer "$@"
    mapfile -t all < <({ carriers; echo "$1"; } | sort -u)
    lead_to "${all[@]}"
}

need_balancer() {
    [[ $# -eq 1 && " ${balancers[*]} " == *" ${1:-} "* ]] || usage_error "say which one: ${balancers[*]}"
    need_host "$1"
}

# lead_to HOST...: what a routing protocol would do in r2 when it hears of the VIP from these.
lead_to() {
    local host hops=()
    for host in "$@"; do
        hops+=(nexthop via "$(at "$(end_of "$host")")")
    done
    if [[ $# -gt 0 ]]; then
        route r2 replace "$vip" proto static "${hops[@]}"
    else
        route r2 delete "$vip" 2>/dev/null || true
    fi
}

# The balancers that the route leads to.
carriers() {
    local host gateways
    gateways=$(on r2 "${ip[@]}" -j route show "$vip" | jq -r '.[] | (.nexthops // [.])[].gateway')
    for host in "${balancers[@]}"; do
        if grep -qxF "$(at "$(end_of "$host")")" <<<"$gateways"; then echo "$host"; fi
    done
}

# --- The demonstration ----------------------------------------------------------------------------------------------

demonstrate() {
    local host
    step "Two servers with leat-agent, two leats, and a route with two equal ways"
    for host in "${servers[@]}"; do
        start_server "$host"
    done
    for host in "${balancers[@]}"; do
        start_leat "$host" --config "$repository/docs/labs/ecmp-$host$suffix.toml" --trace
        leat_of[$host]=$leat_pid
        patiently "the router's address" gateway_known "$host"
    done
    shown r2 "${ip[@]}" route show "$vip" | indent

    step "Every client gets its page, and both leats carry"
    follow_the_requests
    step "Both leats choose the same server for the same flow"
    compare_choices
    step "A client that sends much is told to send less at once"
    upload
    step "One leat is killed during a download"
    download
}
declare -A leat_of

gateway_known() {
    [[ $(leat_says "$1" '[.neighbors[] | select(.mac != null)] | length') -ge 1 ]]
}

start_server() {
    local log=$work/agent-$1.log
    local command=(leat-agent --vip "$vip" --ipip --from "$(at 10.1.1.2)" --from "$(at 10.1.2.2)")
    say "$bold\$ ${command[*]}$plain   (on $1)"
    background "$log" "$1" "$binaries/${command[0]}" "${command[@]:1}"
    until_true "leat-agent on $1" "$log" "$!" grep -qx 'leat-agent: ready' "$log"
    start_nginx "$1" 80 "Hello from $1"
}

follow_the_requests() {
    local host client count
    for host in "${balancers[@]}" c1; do
        capture "$host" eth0 "requests-$host.pcap" not arp and not icmp6 and not multicast
    done
    for client in c1 c2; do
        say "$bold\$ curl '$url/?[1-20]'$plain   (on $client, each on a connection of its own)"
        on "$client" curl -sS --fail --max-time 20 -H 'Connection: close' "$url/?[1-20]" >"$work/requests-$client.txt" ||
            die "$client got no answer: see $work"
        sort "$work/requests-$client.txt" | uniq -c | indent
    done
    end_captures
    for host in "${balancers[@]}"; do
        count=$(count "requests-$host.pcap" "dst host $vip and $syn")
        say "connections through $host: $count, packets with the source $vip on its link:" \
            "$(count "requests-$host.pcap" "src host $vip")"
        [[ $count -gt 0 ]] || die "$host carried nothing: see $work"
        [[ $(count "requests-$host.pcap" "src host $vip") -eq 0 ]] || die "answers came by $host: see $work"
    done
    say "The first packets on h1's link: in, and out in a tunnel"
    packets requests-h1.pcap -c 4 | indent
    say "The first packets on c1's link: the answers are the VIP's"
    packets requests-c1.pcap -c 4 | indent
}

compare_choices() {
    local host
    for host in "${balancers[@]}"; do
        lead_to "$host"
        on c1 curl -sS --fail --max-time 20 -H 'Connection: close' --local-port 40001 "$url/" \
            --next -sS --fail --max-time 20 -H 'Connection: close' --local-port 40002 "$url/" \
            --next -sS --fail --max-time 20 -H 'Connection: close' --local-port 40003 "$url/" \
            --next -sS --fail --max-time 20 -H 'Connection: close' --local-port 40004 "$url/" \
            >"$work/choices-$host.txt" || die "no answer through $host: see $work"
        say "ports 40001 to 40004 of c1 through $host: $(paste -sd ',' "$work/choices-$host.txt")"
    done
    lead_to "${balancers[@]}"
    cmp -s "$work"/choices-h[12].txt || die "the choices differ: see $work"
}

upload() {
    local host sent
    head -c 5000000 /dev/urandom >"$work/sent"
    sent=$(sum "$work/sent")
    shown c2 curl -sS --fail --max-time 60 -T "$work/sent" "$url/upload/sent"
    for host in "${servers[@]}"; do
        [[ ! -e $work/nginx-$host/upload/sent ]] || [[ $(sum "$work/nginx-$host/upload/sent") != "$sent" ]] ||
            say "$host has all 5,000,000 bytes"
    done
    shown c2 "${ip[@]}" route get "$vip" | indent
}

download() {
    local host carrier='' other client got
    head -c "$size" /dev/urandom >"$work/big"
    for host in "${servers[@]}"; do
        ln "$work/big" "$work/nginx-$host/big"
    done
    for host in "${balancers[@]}"; do
        capture "$host" eth0 "download-$host.pcap" "dst host $vip and src port 41000"
    done
    got=$work/got
    say "$bold\$ curl --limit-rate 20M -o got $url/big$plain   (on c1)"
    background "$work/curl.log" c1 curl -sS --fail --max-time 120 --local-port 41000 --limit-rate 20M \
        -o "$got" "$url/big"
    client=$!
    patiently "the first bytes" larger "$got" $((size / 20))
    for host in "${balancers[@]}"; do
        if [[ $(count "download-$host.pcap") -gt 0 ]]; then carrier=$host; else other=$host; fi
    done
    say "$bold\$ kill -KILL ${leat_of[$carrier]}$plain   (leat on $carrier, which carries it)"
    # Waited for, so that bash does not tell of its end itself.
    { kill -KILL "${leat_of[$carrier]}" && wait "${leat_of[$carrier]}"; } 2>/dev/null || true
    say "$bold\$ scripts/labs/ecmp.sh withdraw $carrier$plain   ($(stat -c %s "$got") of $size bytes are there)"
    action_withdraw "$carrier"
    wait "$client" || die "the download failed: see $work/curl.log"
    end_captures
    say "packets of this flow through $carrier: $(count "download-$carrier.pcap"), then through $other:" \
        "$(count "download-$other.pcap")"
    [[ $(sum "$got") == "$(sum "$work/big")" ]] || die "what came is not what was sent: see $work"
    say "all $(stat -c %s "$got") bytes came, with the right SHA-256"
    rm "$got"
}

larger() {
    [[ -e $1 && $(stat -c %s "$1") -gt $2 ]]
}

sum() {
    sha256sum <"$1"
}

what_next() {
    hint "scripts/labs/ecmp.sh exec c2 curl $url/" "a client"
    hint "scripts/labs/ecmp.sh exec h3 tcpdump -nvi eth0" "tunnels, and what comes out of them"
    hint "scripts/labs/ecmp.sh exec r2 ${ip[*]} route show $vip" "who carries"
    hint "scripts/labs/ecmp.sh status" "who is where"
}

lab_main "$@"
