#!/usr/bin/env bash
# test.sh: installs what is missing and runs every test: pure ones, DPDK's, and those in network namespaces.
#
#   test.sh [ARGUMENTS of `cargo test`]
#
#   test.sh                                       everything
#   test.sh --test topology                       one file of tests
#   test.sh --test topology ping -- --nocapture   one test, with what it prints
#
# It needs root, but no hugepages; where the machine has memory to spare it sets some aside while the tests run. It
# ends with `N passed, N failed` over all of them.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$repository"

# 2 MiB each: room for two leats side by side.
hugepages=1024
hugepages_before=''
# The process group of cargo and the tests.
tests=''

main() {
    case ${1:-} in -h | --help) help "$0"; exit 0 ;; esac
    need_root "the tests make network namespaces and run DPDK"
    scripts/install.sh

    trap clean_up EXIT
    set_hugepages_aside

    step "cargo test --workspace --no-fail-fast $*"
    log=$(mktemp)
    local status=0
    # A process group of its own, so that an interruption ends cargo and the tests, not cargo alone.
    set -m
    { cargo test --workspace --no-fail-fast "$@" </dev/null 2>&1 | tee "$log"; } &
    tests=$!
    set +m
    trap 'exit 130' INT TERM HUP
    wait "$tests" || status=$?
    summary "$log" "$status"
    return "$status"
}

# One line over all test binaries: libtest prints a `test result:` line for each, unless it was killed itself; that, or
# a build that failed, counts as one failure.
summary() {
    awk -v status="$2" '
        /^test result: / { passed += $4; failed += $6; ignored += $8 }
        END {
            if (status && !failed) failed = 1
            printf "\n%d passed, %d failed", passed, failed
            if (ignored) printf ", %d skipped", ignored
            print ""
        }' "$1"
}

# Only where none were reserved, at least 6 GiB are free, and the kernel lets us.
set_hugepages_aside() {
    local knob=/proc/sys/vm/nr_hugepages available
    available=$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)
    [[ $(<$knob) -eq 0 && $available -gt $((6 * 1024 * 1024)) && -w $knob ]] || return 0
    hugepages_before=0
    echo "$hugepages" 2>/dev/null >$knob || return 0
}

# What a crashed or interrupted test left: namespaces that are named after a process that is gone.
clean_up() {
    if [[ -n $tests ]]; then
        kill -TERM -- "-$tests" 2>/dev/null || true
        for _ in {1..50}; do
            kill -0 -- "-$tests" 2>/dev/null || break
            sleep 0.1
        done
    fi
    scripts/netns.sh down --orphans || true
    [[ -z $hugepages_before ]] || echo "$hugepages_before" >/proc/sys/vm/nr_hugepages 2>/dev/null || true
    rm -f "${log:-}"
}

main "$@"
