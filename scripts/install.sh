#!/usr/bin/env bash
# install.sh: installs what leat needs to be built, tested and shown, as far as it is missing.
#
#   install.sh [--dev] [--bench] [--check]
#
#   --dev     also what the checks before a change need: clippy, rustfmt, shellcheck, valgrind, lintian, Python
#   --bench   also what scripts/bench.sh needs: Python, and what leat is compared to
#   --check   installs nothing: says what is missing, exit status 1 if anything is
#
# On Debian 12 and 13 packages are installed with apt. Elsewhere it names what is missing and stops. When nothing is
# missing it takes no time and needs neither root nor a network.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# The oldest Rust that builds leat: rust-version in Cargo.toml.
rust_minor=88

# What is needed, and the Debian package that brings it:
#   command:NAME   in the PATH          pc:NAME>=VERSION   known to pkg-config
#   path:PATTERN   one of these files   rust               cargo and rustc, new enough
# libdpdk-dev brings every driver (net_tap, net_pcap, net_af_packet, ...) along.
needs='
    command:gcc                                  gcc
    path:/usr/include/stdio.h                    libc6-dev
    command:pkg-config                           pkg-config
    pc:libdpdk>=22.11                            libdpdk-dev
    libclang                                     libclang-dev
    path:/etc/ssl/certs/ca-certificates.crt      ca-certificates
    rust                                         rustc-web
    rust                                         cargo-web
    command:git                                  git
    command:ip                                   iproute2
    command:ethtool                              ethtool
    command:ping                                 iputils-ping
    command:arping                               iputils-arping
    command:tcpdump                              tcpdump
    command:nc                                   netcat-openbsd
    command:curl                                 curl
    command:nginx                                nginx-light
    command:iperf3                               iperf3
    command:wrk                                  wrk
    command:dig                                  bind9-dnsutils
    command:dnsmasq                              dnsmasq-base
    command:nft                                  nftables
    command:jq                                   jq
    command:tshark                               tshark
    command:chromedriver                         chromium-driver
    command:ps                                   procps
    command:flock                                util-linux
    path:/usr/bin/python3                        python3
    path:/usr/lib/python3/dist-packages/scapy/all.py python3-scapy
    path:/usr/lib/python3/dist-packages/prometheus_client/parser.py python3-prometheus-client
'
needs_dev='
    command:shellcheck                           shellcheck
    command:valgrind                             valgrind
    command:dpkg-shlibdeps                       dpkg-dev
    command:lintian                              lintian
    command:systemd-analyze                      systemd
    subcommand:clippy                            rust-web-clippy
    subcommand:fmt                               rustfmt-web
    command:python3                              python3
'
needs_bench='
    command:python3                              python3
    command:dpdk-testpmd                         dpdk-dev
    command:haproxy                              haproxy
    command:conntrack                            conntrack
'

main() {
    local check='' packages
    while [[ $# -gt 0 ]]; do
        case $1 in
            -h | --help) help "$0"; exit 0 ;;
            --dev) needs+=$needs_dev ;;
            --bench) needs+=$needs_bench ;;
            --check) check=yes ;;
            *) usage_error "unknown argument '$1'" ;;
        esac
        shift
    done
    # Debian keeps some of the commands where only root's PATH leads.
    PATH=$PATH:/usr/sbin:/sbin

    mapfile -t packages < <(missing)
    [[ ${#packages[@]} -gt 0 ]] || exit 0
    if [[ -n $check ]]; then
        echo "missing: ${packages[*]}"
        exit 1
    fi
    refuse_old_rustup "${packages[@]}"
    on_debian || die "this is not Debian 12 or 13, so nothing was installed. Missing, by Debian's names: ${packages[*]}
(rustc-web and cargo-web stand for any Rust from 1.$rust_minor on, libdpdk-dev for DPDK from 22.11 on.)"
    need_root "it installs packages: ${packages[*]}"

    step "Installing ${packages[*]}"
    install "${packages[@]}"
    mapfile -t packages < <(missing)
    [[ ${#packages[@]} -eq 0 ]] || die "still missing after their installation: ${packages[*]}$(why_still_missing)"
}

# Debian's first Rust of a release grows too old; a recent one comes with the security updates.
why_still_missing() {
    met rust || printf '\n%s' "(leat needs Rust 1.$rust_minor; there is $(rustc --version 2>/dev/null || echo none). Debian 12 has a
newer one in bookworm-security: is that among apt's sources? Or use https://rustup.rs instead.)"
}

# Prints the package of each need that is not met.
missing() {
    local need package
    while read -r need package; do
        [[ -z $need ]] || met "$need" || echo "$package"
    done <<<"$needs"
}

met() {
    local wanted=${1#*:}
    case $1 in
        command:*) command -v "$wanted" >/dev/null ;;
        path:*) [[ -e $wanted ]] ;;
        pc:*) pkg-config --exists "${wanted%%>=*} >= ${wanted#*>=}" 2>/dev/null ;;
        subcommand:*) cargo "$wanted" --version >/dev/null 2>&1 ;;
        # bindgen wants the library and clang's own headers.
        libclang)
            any_file '/usr/lib/llvm*/lib/libclang*.so*' '/usr/lib*/libclang*.so*' '/usr/lib/*/libclang*.so*' &&
                any_file '/usr/lib/llvm*/lib/clang/*/include/stddef.h' '/usr/lib*/clang/*/include/stddef.h'
            ;;
        rust) new_enough cargo && new_enough rustc ;;
    esac
}

any_file() {
    local pattern
    for pattern in "$@"; do
        compgen -G "$pattern" >/dev/null && return
    done
    return 1
}

new_enough() {
    local version
    version=$("$1" --version 2>/dev/null) || return 1
    [[ $version =~ ^$1\ ([0-9]+)\.([0-9]+)\. ]] || return 1
    [[ ${BASH_REMATCH[1]} -gt 1 || ${BASH_REMATCH[2]} -ge $rust_minor ]]
}

# A Rust of rustup's stands before Debian's in the PATH: installing another one would change nothing.
refuse_old_rustup() {
    local wanted
    command -v rustup >/dev/null || return 0
    for wanted in "$@"; do
        case $wanted in
            rustc-web | cargo-web)
                die "$(rustc --version 2>/dev/null || echo 'no rustc'): leat needs Rust 1.$rust_minor or newer. Run: rustup update stable" ;;
            rust-web-clippy) die "clippy is missing. Run: rustup component add clippy" ;;
            rustfmt-web) die "rustfmt is missing. Run: rustup component add rustfmt" ;;
        esac
    done
}

on_debian() {
    local ID='' VERSION_ID=''
    [[ -r /etc/os-release ]] && source /etc/os-release
    [[ $ID == debian && ($VERSION_ID == 12 || $VERSION_ID == 13) ]]
}

install() {
    local server new=()
    for server in nginx haproxy; do
        command -v "$server" >/dev/null || new+=("$server")
    done
    no_services
    # Always: old lists name packages that are gone, or a Rust that is too old. Where one of many sources is out of
    # reach, the others may be enough.
    quietly "package lists" apt_get update || say "going on with the lists that are there"
    quietly "packages" apt_get install "$@"
    # These are here for demonstrations, tests and benchmarks, which start their own: no server is to come with leat.
    for server in "${new[@]}"; do
        [[ ! -x /usr/bin/systemctl ]] || systemctl --quiet disable "$server" 2>/dev/null || true
    done
}

apt_get() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 \
        --no-install-recommends "$@"
}

# Keeps packages from starting their services while they are installed.
no_services() {
    [[ ! -e /usr/sbin/policy-rc.d ]] || return 0
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
}

main "$@"
