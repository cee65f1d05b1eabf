#!/usr/bin/env bash
# run.sh: sends UDP of many flows through leat in mode dr, and says how much of it reaches the backend. By Pktgen-DPDK when
# there is a `pktgen`, and else by leat-gen.
#
#   run.sh [options] -- EAL OPTIONS
#
#   --ipv6            in IPv6: other defaults for the next two and for --size
#   --vip ADDR:PORT   the service (default 10.0.0.10:53, or [2001:db8::10]:53)
#   --backend ADDR    the address that the second port answers for (default 10.0.0.2, or 2001:db8::2)
#   --to-mac MAC      leat's Ethernet address; without it leat-gen asks for it, and Pktgen cannot do without
#   --flows N         how many flows (default 1000)
#   --size BYTES      of a frame, check sequence included (default 64, or 84)
#   --seconds N       how long (default 10)
#   --map MAP         Pktgen's lcores and ports (default 1.0,1.1: lcore 1 for both; the first lcore is for its display)
#
# EAL OPTIONS are the lcores and the two ports: the clients' first, the backend's second. leat runs as
#
#   leat [EAL options] -- --vip udp:10.0.0.10:53 --backend 10.0.0.2 --mode dr
#
# with a port to each of them. Pktgen does not answer neighbour solicitations: in IPv6, leat beside it needs the Ethernet address of
# the second port, as --backend 2001:db8::2,mac=MAC. LEAT_GEN is the leat-gen to run (default: target/release/leat-gen, then the PATH's).

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

ipv6=false
vip=''
to_mac=''
backend=''
flows=1000
size=''
seconds=10
map=1.0,1.1

main() {
    while [[ $# -gt 0 ]]; do
        case $1 in
            -h | --help) help "$0"; exit 0 ;;
            --ipv6) ipv6=true ;;
            --vip) value_of "$@"; vip=$2; shift ;;
            --to-mac) value_of "$@"; to_mac=$2; shift ;;
            --backend) value_of "$@"; backend=$2; shift ;;
            --flows) value_of "$@"; flows=$2; shift ;;
            --size) value_of "$@"; size=$2; shift ;;
            --seconds) value_of "$@"; seconds=$2; shift ;;
            --map) value_of "$@"; map=$2; shift ;;
            --) shift; break ;;
            *) usage_error "$1 is not known" ;;
        esac
        shift
    done
    [[ $# -gt 0 ]] || usage_error "there are no EAL options after --: they name the lcores and the ports"
    defaults
    if $ipv6; then
        [[ $vip =~ ^\[.*:.*\]:[0-9]+$ ]] || usage_error "--vip $vip is not IPv6 with a port: write it as [2001:db8::10]:53"
    else
        [[ $vip =~ ^[^:]+:[0-9]+$ ]] || usage_error "--vip $vip is not IPv4 with a port: write it as 10.0.0.10:53, or add --ipv6"
    fi
    local pktgen
    if pktgen=$(command -v pktgen); then
        by_pktgen "$pktgen" "$@"
    else
        by_leat_gen "$@"
    fi
}

defaults() {
    if $ipv6; then
        : "${vip:=[2001:db8::10]:53}" "${backend:=2001:db8::2}" "${size:=84}"
    else
        : "${vip:=10.0.0.10:53}" "${backend:=10.0.0.2}" "${size:=64}"
    fi
}

by_pktgen() {
    local pktgen=$1
    shift
    [[ -n $to_mac ]] || usage_error "Pktgen needs --to-mac: leat's Ethernet address, which leat prints on SIGUSR1"
    step "$pktgen"
    local address=${vip%:*}
    # Pktgen wants no brackets.
    address=${address#[} address=${address%]}
    export LEAT_VIP=$address LEAT_PORT=${vip##*:} LEAT_MAC=$to_mac LEAT_BACKEND=$backend
    export LEAT_FLOWS=$flows LEAT_SIZE=$size LEAT_SECONDS=$seconds
    exec "$pktgen" "$@" -- -P -m "$map" -f "$repository/scripts/pktgen/leat.lua"
}

by_leat_gen() {
    local leat_gen=${LEAT_GEN:-$repository/target/release/leat-gen}
    if [[ ! -x $leat_gen ]]; then
        leat_gen=$(command -v leat-gen) || die "there is neither a pktgen nor a leat-gen: cargo build --release --bin leat-gen"
    fi
    local next_hop=()
    [[ -z $to_mac ]] || next_hop=(--to-mac "$to_mac")
    step "$leat_gen"
    exec "$leat_gen" "$@" -- --vip "udp:$vip" --backend "$backend" --direct "${next_hop[@]}" \
        --flows "$flows" --size "$size" --duration "${seconds}s"
}

main "$@"
