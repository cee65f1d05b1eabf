#!/usr/bin/env bash
# netns.sh: a small network of namespaces for leat to work in, made of the kernel's own parts.
#
#   netns.sh [--name NAME] up [--clients N] [--backends N] [--veth] [--isolated] [--ipv6]
#   netns.sh [--name NAME] down [--all | --orphans]
#   netns.sh [--name NAME] exec ROLE COMMAND...
#   netns.sh [--name NAME] status
#
#     client 10.0.0.1 ── client┐                ┌ tapdpdk ── leat
#         b1 10.0.0.2 ───── b1 ├── bridge br0 ──┘
#         b2 10.0.0.3 ───── b2 ┘    └──────── lb ──────────┘
#
# Every host is a namespace, leat-NAME-ROLE, with one interface eth0. The roles are client (client2, ... with
# --clients), b1, b2, ... and lb. In lb is the bridge with one port for each host, named by its role, and leat's port:
#
#   tapdpdk     a tap made beforehand:  leat --vdev=net_tap0,iface=tapdpdk
#   vethdpdk    with --veth:            leat --vdev=net_af_packet0,iface=vethdpdk
#
# so leat runs as `netns.sh exec lb leat ...`, and can be restarted without any rewiring. A bridge keeps frames that are
# addressed to the MAC of a port's kernel end, which net_tap makes the DPDK port's MAC: leat on a tap must answer with
# another one, and by default does.
#
# Clients get 10.0.0.1 and so on, backends the addresses after them; 10.0.0.10 to 10.0.0.19 stay free for VIPs and
# leat's own addresses. A host's MAC is 02:00:00:00:00:XX, XX being the last byte of its address. There is no STP, no
# multicast snooping and, without --ipv6, no IPv6, so captures are quiet; checksum and segmentation offload is off, so every frame is
# what a wire would carry. Nothing is configured in the first namespace.
#
# With --ipv6 hosts have 2001:db8::1 and so on as well, by the same numbers; 2001:db8::10 to ::19 are free as well, and so
# are 2001:db8::a to ::f.
#
# With --isolated the hosts' bridge ports are isolated from each other: a host hears leat, and leat hears all hosts, but no
# host hears another. That is what mode nat needs on one subnet, where a client would answer for itself.
#
# NAME is `demo` unless given: letters, digits and _. Names that end in _PID belong to the process PID.
#
#   up        makes it. If it is there and whole, nothing changes; if it is broken, or has another shape, it is rebuilt.
#   down      ends the processes in it and removes it. --all: every leat-* namespace; --orphans: those whose owner, by
#             the name, runs no more.
#   exec      runs a command in a role's namespace, in place of this script.
#   status    shows it; exit status 0 if it is up and whole, else 1.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
source "$(dirname "${BASH_SOURCE[0]}")/namespaces.sh"

name=demo
clients=1
backends=2
port=tap
isolated=no
ipv6=no

main() {
    local action='' everything='' orphans=''
    while [[ $# -gt 0 ]]; do
        case $1 in
            -h | --help) help "$0"; exit 0 ;;
            --name) value_of "$@"; name=$2; shift ;;
            --clients) value_of "$@"; clients=$2; shift ;;
            --backends) value_of "$@"; backends=$2; shift ;;
            --veth) port=veth ;;
            --isolated) isolated=yes ;;
            --ipv6) ipv6=yes ;;
            --all) everything=yes ;;
            --orphans) orphans=yes ;;
            exec) action='exec'; shift; break ;;
            up | down | status) [[ -z $action ]] || usage_error "both '$action' and '$1'"; action=$1 ;;
            *) usage_error "unknown argument '$1'" ;;
        esac
        shift
    done
    [[ -n $action ]] || usage_error "say what to do: up, down, exec or status"
    [[ $name =~ ^[A-Za-z0-9_]+$ ]] || usage_error "--name '$name': letters, digits and _ only"
    [[ $clients =~ ^[1-9][0-9]?$ ]] || usage_error "--clients '$clients': a number from 1 to 99"
    [[ $backends =~ ^[1-9][0-9]?$ ]] || usage_error "--backends '$backends': a number from 1 to 99"
    need_root "network namespaces and links belong to root"

    case $action in
        up) up ;;
        down)
            if [[ -n $everything ]]; then
                for name in $(known_names); do down; done
            elif [[ -n $orphans ]]; then
                for name in $(known_names); do if orphaned; then down; fi; done
            else
                down
            fi
            ;;
        exec) run_in "$@" ;;
        status) status ;;
    esac
}

up() {
    lock
    whole && return
    remove
    # A topology that could not be finished is taken away again.
    trap remove EXIT
    build
    trap - EXIT
}

down() {
    lock
    remove
    unlock
}

run_in() {
    [[ $# -ge 2 ]] || usage_error "exec needs a role and a command"
    local role=$1
    shift
    exists "$(namespace "$role")" || die "there is no '$role' in '$name': netns.sh --name $name up, or status"
    exec ip netns exec "$(namespace "$role")" "$@"
}

status() {
    local ns role found=''
    for ns in $(namespaces); do
        role=${ns##*-}
        found=yes
        printf '%-9s %-20s %-12s %-14s %-18s processes: %s\n' "$role" "$ns" "$(address_in "$ns")" \
            "$(address_v6_in "$ns")" "$(mac_in "$ns")" "$(processes_in "$ns" | paste -sd ' ')"
    done
    [[ -n $found ]] || { echo "'$name' is down"; return 1; }
    # What was made is read back, so that status needs no options.
    read_shape
    whole || { echo "'$name' is broken or half made: netns.sh --name $name up rebuilds it"; return 1; }
}

# --- Building ---------------------------------------------------------------------------------------------------

build() {
    local lb role
    lb=$(namespace lb)
    add_namespace "$lb"
    add_bridge "$lb"
    add_leat_port "$lb"
    for role in $(hosts); do
        add_host "$role" "$lb"
    done
    # Only a topology that was finished carries its shape.
    ip -n "$lb" link set br0 alias "$(shape)"
}

add_leat_port() {
    local lb=$1
    if [[ $port == tap ]]; then
        add_tap "$lb"
    else
        ip -n "$lb" link add vethdpdk address 02:00:00:00:01:01 type veth peer name vethbr
        ip -n "$lb" link set vethbr master br0 up
        ip -n "$lb" link set vethdpdk up
        whole_frames "$lb" vethdpdk
        whole_frames "$lb" vethbr
    fi
}

add_host() {
    local role=$1 lb=$2 ns
    ns=$(namespace "$role")
    add_namespace "$ns"
    ip -n "$ns" link add eth0 address "$(mac "$role")" type veth peer name "$role" netns "$lb"
    whole_frames "$ns" eth0
    whole_frames "$lb" "$role"
    ip -n "$ns" address add "$(address "$role")/24" dev eth0
    ip -n "$lb" link set "$role" master br0 up
    [[ $isolated == no ]] || bridge -n "$lb" link set dev "$role" isolated on
    [[ $ipv6 == no ]] || enable_ipv6 "$ns" eth0
    ip -n "$ns" link set eth0 up
    [[ $ipv6 == no ]] || ip -n "$ns" address add "$(address_v6 "$role")/64" dev eth0 nodad
}

# --- Checking ---------------------------------------------------------------------------------------------------

# Is all of it there, in the shape that was asked for?
whole() {
    local lb role
    lb=$(namespace lb)
    [[ $(recorded_shape) == "$(shape)" ]] || return 1
    # A tap is down while no leat has it open.
    if [[ $port == tap ]]; then
        bridged "$lb" tapdpdk || return 1
    else
        bridged "$lb" vethbr up && linked "$lb" vethdpdk || return 1
    fi
    for role in $(hosts); do
        bridged "$lb" "$role" up && linked "$(namespace "$role")" eth0 || return 1
        [[ $(address_in "$(namespace "$role")") == "$(address "$role")" ]] || return 1
        [[ $ipv6 == no || $(address_v6_in "$(namespace "$role")") == "$(address_v6 "$role")" ]] || return 1
        [[ $(isolation "$lb" "$role") == "$isolated" ]] || return 1
    done
}

# isolation NAMESPACE PORT: yes or no.
isolation() {
    if [[ $(bridge -n "$1" -d link show dev "$2") == *' isolated on '* ]]; then echo yes; else echo no; fi
}

shape() {
    echo "clients=$clients backends=$backends port=$port isolated=$isolated ipv6=$ipv6"
}

recorded_shape() {
    ip -n "$(namespace lb)" -j link show dev br0 2>/dev/null | jq -r '.[0].ifalias // empty'
}

read_shape() {
    if [[ $(recorded_shape) =~ ^clients=([0-9]+)\ backends=([0-9]+)\ port=([a-z]+)\ isolated=([a-z]+)\ ipv6=([a-z]+)$ ]]; then
        clients=${BASH_REMATCH[1]} backends=${BASH_REMATCH[2]} port=${BASH_REMATCH[3]} isolated=${BASH_REMATCH[4]}
        ipv6=${BASH_REMATCH[5]}
    fi
}

# --- Names and addresses ----------------------------------------------------------------------------------------

hosts() {
    local i
    for ((i = 1; i <= clients; i++)); do
        if [[ $i -eq 1 ]]; then echo client; else echo "client$i"; fi
    done
    for ((i = 1; i <= backends; i++)); do
        echo "b$i"
    done
}

# The last byte of a role's address: the roles are numbered through, leaving out 10 to 19.
number() {
    local index
    case $1 in
        client) index=1 ;;
        client*) index=${1#client} ;;
        b*) index=$((clients + ${1#b})) ;;
    esac
    echo $((index < 10 ? index : index + 10))
}

address() {
    echo "10.0.0.$(number "$1")"
}

address_v6() {
    # The digits of the number, so that it reads alike in both versions.
    echo "2001:db8::$(number "$1")"
}

mac() {
    printf '02:00:00:00:00:%02x\n' "$(number "$1")"
}

known_names() {
    ip netns list | awk '{ print $1 }' | sed -nE 's/^leat-([A-Za-z0-9_]+)-[a-z0-9]+$/\1/p' | sort -u
}

orphaned() {
    [[ $name =~ _([0-9]+)$ && ! -d /proc/${BASH_REMATCH[1]} ]]
}

address_in() {
    ip -n "$1" -4 -o address show dev eth0 2>/dev/null | sed -nE 's/.* inet ([0-9.]+)\/.*/\1/p'
}

address_v6_in() {
    ip -n "$1" -6 -o address show dev eth0 scope global 2>/dev/null | sed -nE 's/.* inet6 ([0-9a-f:]+)\/.*/\1/p'
}

mac_in() {
    ip -n "$1" -o link show dev eth0 2>/dev/null | sed -nE 's/.*link\/ether ([0-9a-f:]+) .*/\1/p'
}

main "$@"
