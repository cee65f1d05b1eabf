#!/usr/bin/env bash
# fuzz.sh: builds the fuzz targets and runs each for a while; the first input that breaks one ends it.
#
#   fuzz.sh [SECONDS] [TARGET...]    60 seconds for each target, without arguments
#
# It needs neither root, nor DPDK, nor cargo-fuzz, and works with any Rust toolchain: the instrumentation is asked for by flags. What
# breaks a target stays in fuzz/artifacts/TARGET/, and is run again by naming the program and the file; what was learnt stays in
# fuzz/corpus/TARGET/. A bug that was found becomes a test with a name.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$repository/fuzz"

all=(packets conntrack fragments configuration api import agent)

main() {
    case ${1:-} in -h | --help) help "$0"; exit 0 ;; esac
    local seconds=60
    if [[ ${1:-} =~ ^[0-9]+$ ]]; then
        seconds=$1
        shift
    fi
    local targets=("$@")
    ((${#targets[@]})) || targets=("${all[@]}")

    # What libFuzzer needs to see where an input leads: an 8-bit counter for each edge, a table of them, and compared values. A target
    # is named, so that build scripts and macros, which run on the host, have none of it.
    local flags='-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters'
    flags+=' -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing'
    local triple
    triple=$(rustc -vV | sed -n 's/^host: //p')
    step "cargo build --release --bins (fuzz)"
    RUSTFLAGS=$flags cargo build --release --bins --target "$triple"
    local target
    for target in "${targets[@]}"; do
        step "$target for $seconds seconds"
        mkdir -p "corpus/$target" "artifacts/$target"
        "target/$triple/release/$target" "corpus/$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -max_len=2048 \
            -print_final_stats=1 -verbosity=0 -artifact_prefix="artifacts/$target/" 2>&1 | tail -n 60
    done
}

main "$@"
