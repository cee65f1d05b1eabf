#!/usr/bin/env bash
# bench.sh: measures leat beside its peers on this machine, prints one table, and writes docs/benchmarks/. Run it as root.
#
#   bench.sh [--quick] [--level NAME] [--rounds N] [--no-hugepages] [--out DIRECTORY]
#   bench.sh --report FILE [--out DIRECTORY]
#
#   --quick          in three minutes, less sure; without it about twenty-five
#   --level NAME     one part only: driver, pipeline, lcores, endtoend or micro; then the report is in target/bench/report/
#   --rounds N       how often each thing is measured, where that is not the level's own choice
#   --no-hugepages   as on a machine that has none to spare
#   --out DIRECTORY  where the report goes: README.md, results.csv and pictures
#   --report FILE    measures nothing: makes the report again from a results.csv
#
# It installs what is missing, builds, and sets hugepages aside while it runs, where the kernel has memory for them. What each
# part measures, and what that says, is in the page that it writes. All networking is in namespaces, which are gone
# afterwards. A part that fails says so in the table, and the others go on. For figures to quote, let nothing else run.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

main() {
    local given=("$@") report=''
    while [[ $# -gt 0 ]]; do
        case $1 in
            -h | --help) help "$0"; exit 0 ;;
            --quick | --no-hugepages) ;;
            --level)
                [[ ${2:-} =~ ^(driver|pipeline|lcores|endtoend|micro)$ ]] || usage_error "--level '${2:-}' is none of them"
                shift
                ;;
            --rounds)
                [[ ${2:-} =~ ^[1-9][0-9]{0,3}$ ]] || usage_error "--rounds '${2:-}': a number from 1 to 9999"
                shift
                ;;
            --out)
                [[ -n ${2:-} ]] || usage_error "--out needs a directory"
                shift
                ;;
            --report)
                [[ -r ${2:-} ]] || usage_error "--report '${2:-}': there is no such file"
                report=yes
                shift
                ;;
            *) usage_error "unknown argument '$1'" ;;
        esac
        shift
    done
    # The table alone is on standard output.
    [[ -n $report ]] || prepare >&2
    exec python3 "$repository/scripts/bench/main.py" "${given[@]}"
}

prepare() {
    need_root "it runs DPDK and makes network namespaces"
    step "What is missing on this machine"
    "$repository/scripts/install.sh" --bench
    step "Building"
    build "leat" build --release --bin leat
    # What cannot be built is a row of the table that says so.
    build "benchmark pipeline" build --release -p leat --no-default-features --example pipeline || true
    build "benchmark micro" bench -p leat --no-default-features --bench micro --no-run || true
    step "Measuring"
}

# build WHAT ARGUMENTS of cargo...
build() {
    (cd "$repository" && quietly "$1" cargo "${@:2}")
}

main "$@"
