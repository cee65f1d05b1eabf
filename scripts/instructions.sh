#!/usr/bin/env bash
# instructions.sh: counts the instructions that a packet of a known flow takes, and fails when they have grown by more
# than 5% over those in benches/instructions.csv.
#
#   instructions.sh [--renew]
#
#   --renew   write what was counted into benches/instructions.csv: with a change that is worth its instructions
#
# They are counted under valgrind's callgrind, so neither the machine's speed nor what else it does matters. A workload
# is run twice with different numbers of packets; the difference is what packets cost. The making of the packets, which
# is always the same, is in it.

set -euo pipefail
shopt -s inherit_errexit
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$repository"

bounds=benches/instructions.csv
# mode,transport
workloads=('fullnat,udp' 'fullnat,tcp' 'nat,tcp' 'dr,udp' 'dr,tcp' 'ipip,udp' 'gue,tcp'
    'fullnat,udp6' 'fullnat,tcp6' 'dr,udp6')
few=16384
many=49152
# Per cent.
tolerance=5

main() {
    local renew='' workload counted allowed failed=0
    case ${1:-} in
        '') ;;
        -h | --help) help "$0"; exit 0 ;;
        --renew) renew=yes ;;
        *) usage_error "unknown argument '$1'" ;;
    esac
    command -v valgrind >/dev/null || die "valgrind is missing. Run: sudo scripts/install.sh --dev"

    step "cargo build --release --example pipeline"
    program=$(benchmark)
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT

    step "Instructions for each packet"
    for workload in "${workloads[@]}"; do
        counted=$(per_packet "$workload")
        echo "$workload,$counted" >>"$scratch/counted"
        allowed=$(sed -n "s/^$workload,//p" "$bounds" 2>/dev/null || true)
        printf '    %-12s %6s   was %6s\n' "$workload" "$counted" "${allowed:-new}"
        if [[ -z $renew ]] && ((counted * 100 > ${allowed:-0} * (100 + tolerance))); then
            failed=1
        fi
    done
    if [[ -n $renew ]]; then
        { echo mode,transport,instructions; cat "$scratch/counted"; } >"$bounds"
    elif [[ $failed -ne 0 ]]; then
        die "the packet path has grown by more than $tolerance%. If that is worth it, run: scripts/instructions.sh --renew"
    fi
}

# The path of the built benchmark.
benchmark() {
    cargo build -q --release -p leat --no-default-features --example pipeline --message-format=json |
        sed -n 's/.*"executable":"\([^"]*\/examples\/pipeline\)".*/\1/p'
}

# per_packet MODE,TRANSPORT: instructions for each packet of a burst-after-burst run.
per_packet() {
    local directions=2 less more
    case $1 in dr,* | ipip,* | gue,*) directions=1 ;; esac
    less=$(count "$1" $few)
    more=$(count "$1" $many)
    echo $(((more - less) / ((many - few) * directions)))
}

# count MODE,TRANSPORT PACKETS: instructions of a whole run.
count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" --what walk --modes "${1%,*}" \
        --transports "${1#*,}" --packets "$2" 2>"$scratch/log" >/dev/null ||
        die "the benchmark failed under valgrind: $(tail -5 "$scratch/log")"
    sed -n 's/.*Collected : \([0-9]*\).*/\1/p' "$scratch/log"
}

main "$@"
