#!/usr/bin/env bash
# deny.sh: audits the dependencies by deny.toml: their licences, where they come from, versions that are there twice, and known
# vulnerabilities where the database of those can be reached.
#
#   deny.sh
#
# cargo-deny is built when it is missing, into target/tools.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$repository"

version=0.20.2

main() {
    case ${1:-} in
        '') ;;
        -h | --help) help "$0"; exit 0 ;;
        *) usage_error "unknown argument '$1'" ;;
    esac
    local tools=$repository/target/tools
    PATH=$tools/bin:$PATH
    if [[ "$(cargo-deny --version 2>/dev/null)" != "cargo-deny $version" ]]; then
        step "cargo install cargo-deny@$version"
        cargo install --quiet --locked --debug --root "$tools" "cargo-deny@$version"
    fi
    step "cargo deny check licenses bans sources"
    cargo-deny --log-level error check licenses bans sources
    if timeout 60 cargo-deny --log-level off fetch db >/dev/null 2>&1; then
        step "cargo deny check advisories"
        cargo-deny --log-level error check advisories
    else
        echo "    the database of known vulnerabilities cannot be reached: not asked"
    fi
}

main "$@"
