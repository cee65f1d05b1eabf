#!/usr/bin/env bash
# soak.sh: leat under everything at once for as long as you like, and a report of what that did to clients and to leat.
#
#   soak.sh [--time TIME] [--seed N] [--lcores LIST] [--binaries DIR]
#
#   --time      how long, such as 90s, 10m (the default 3m) or 12h
#   --seed      what happens when, and to whom, is chosen by it; it is printed, so that a run can be made again
#   --lcores    EAL's -l (0-1)
#   --binaries  where leat is, in place of building it
#
# In a network of namespaces of its own: clients open connections, keep some and close some, download and check what they got, ask
# over UDP; backends are killed and come back; the configuration is reloaded; the API is asked; packets are captured; garbage
# comes from the side. At the end everything comes to rest, and the report says how many requests were made and failed
# (none may, but those that a backend took with it), and whether memory, packet buffers, source ports and connections are back
# where they were. Exit status 0 if all of that is well, else 1. Logs stay in target/soak.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$repository"

time=3m seed=$RANDOM lcores=0-1 binaries=''

main() {
    while [[ $# -gt 0 ]]; do
        case $1 in
            -h | --help) help "$0"; exit 0 ;;
            --time | --seed | --lcores | --binaries)
                value_of "$@"
                printf -v "${1#--}" '%s' "$2"
                shift
                ;;
            *) usage_error "unknown argument '$1'" ;;
        esac
        shift
    done
    [[ $time =~ ^([0-9]+)([smh])$ ]] || usage_error "--time '$time': a number and s, m or h"
    local seconds=${BASH_REMATCH[1]}
    case ${BASH_REMATCH[2]} in m) seconds=$((seconds * 60)) ;; h) seconds=$((seconds * 3600)) ;; esac
    ((seconds >= 10)) || usage_error "--time '$time': at least 10s"
    [[ $seed =~ ^[0-9]+$ ]] || usage_error "--seed '$seed': a number"
    need_root "network namespaces and links belong to root"
    if [[ -n $binaries ]]; then
        binaries=$(realpath "$binaries")
    else
        step "What is missing on this machine, and building leat"
        scripts/install.sh
        quietly "cargo build --release" cargo build --release
        binaries=$repository/target/release
    fi

    # A name that ends in a process id: what is left of one that was killed is found by that.
    name=soak_$$
    trap clean_up EXIT
    trap 'exit 130' INT TERM HUP
    step "A network, for $time, with --seed $seed"
    scripts/netns.sh down --orphans
    scripts/netns.sh --name "$name" up --clients 2 --backends 3
    rm -rf target/soak
    mkdir -p target/soak
    python3 scripts/soak/main.py --name "$name" --seconds "$seconds" --seed "$seed" --lcores "$lcores" \
        --binaries "$binaries" --work "$repository/target/soak"
}

clean_up() {
    local status=$?
    trap - EXIT
    scripts/netns.sh --name "$name" down
    exit "$status"
}

main "$@"
