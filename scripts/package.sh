#!/usr/bin/env bash
# package.sh: makes a Debian package of leat for the Debian that it runs on: target/debian/leat_VERSION_ARCH.deb
#
#   package.sh [--check]
#
#   --check   then tries it: installs it into a folder, runs it from there, removes and purges it, and asks lintian
#
# It needs what scripts/install.sh installs, and dpkg-dev; no network once cargo has the crates. DEBFULLNAME and DEBEMAIL name
# who is responsible for the package. Only --check needs root, and nothing outside of its folder is touched.

set -euo pipefail
shopt -s inherit_errexit
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$repository"

programs=(leat leatctl leat-agent leat-gen)
output=target/debian

main() {
    local check=''
    case ${1:-} in
        '') ;;
        -h | --help) help "$0"; exit 0 ;;
        --check) check=yes ;;
        *) usage_error "unknown argument '$1'" ;;
    esac
    [[ $# -le 1 ]] || usage_error "one argument at most"
    [[ -z $check ]] || need_root "dpkg installs the package into a folder"
    local needed
    for needed in cargo dpkg-deb dpkg-shlibdeps gzip strip; do
        command -v "$needed" >/dev/null || die "$needed is missing. Run: sudo scripts/install.sh --dev"
    done
    [[ -z $check ]] || command -v lintian >/dev/null || die "lintian is missing. Run: sudo scripts/install.sh --dev"

    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    umask 022
    version=$(cargo metadata --no-deps --format-version 1 |
        sed -n 's/.*"name":"leat","version":"\([^"]*\)".*/\1/p')
    [[ -n $version ]] || die "cargo does not tell leat's version"
    architecture=$(dpkg --print-architecture)
    package=$output/leat_${version}_$architecture.deb
    export SOURCE_DATE_EPOCH
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Cargo.toml)

    step "cargo build --release"
    cargo build --release --bins --quiet
    step "$package"
    tree "$scratch/tree"
    control "$scratch/tree"
    mkdir -p "$output"
    find "$scratch/tree" -newermt "@$SOURCE_DATE_EPOCH" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
    dpkg-deb --root-owner-group --build "$scratch/tree" "$package" >/dev/null
    say "$(du -h "$package" | cut -f1), $(dpkg-deb --field "$package" Depends | tr ',' '\n' | wc -l) dependencies"
    [[ -z $check ]] || try
}

# tree ROOT: every file of the package, but for dpkg's own.
tree() {
    local root=$1 program units=lib/systemd/system document
    # Debian 13 has moved /lib.
    [[ $(. /etc/os-release && echo "${VERSION_ID:-0}") -lt 13 ]] || units=usr/$units

    for program in "${programs[@]}"; do
        install -D -m 755 "target/release/$program" "$root/usr/bin/$program"
        strip --strip-unneeded --remove-section=.comment "$root/usr/bin/$program"
        target/release/leatctl man "$program" | put "$root/usr/share/man/man1/$program.1.gz" compressed
    done
    target/release/leatctl completions bash | put "$root/usr/share/bash-completion/completions/leatctl"
    target/release/leatctl completions zsh | put "$root/usr/share/zsh/vendor-completions/_leatctl"
    target/release/leatctl completions fish | put "$root/usr/share/fish/vendor_completions.d/leatctl.fish"

    put "$root/$units/leat.service" <packaging/leat.service
    put "$root/$units/leat-agent.service" <packaging/leat-agent.service
    put "$root/etc/default/leat" <packaging/leat.default
    put "$root/etc/default/leat-agent" <packaging/leat-agent.default
    put "$root/etc/leat/leat.toml" <packaging/leat.toml

    local docs=$root/usr/share/doc/leat
    for document in README.md docs/*.md; do
        put "$docs/${document##*/}.gz" compressed <"$document"
    done
    put "$docs/examples/leat.example.toml" <docs/leat.example.toml
    put "$docs/examples/grafana.json" <docs/grafana/leat.json
    changelog | put "$docs/changelog.gz" compressed
    licence | put "$docs/copyright"
    cargo tree --package leat --edges normal --prefix none --format '{p}: {l}' | sed -e 's/ (proc-macro)//' -e 's/ (\*)$//' |
        sort -u | grep -v '^\(leat\|dpdk-\)' | put "$docs/crates.txt"
}

# put FILE [compressed]: writes standard input there.
put() {
    mkdir -p "$(dirname "$1")"
    if [[ -n ${2:-} ]]; then gzip -9n >"$1"; else cat >"$1"; fi
}

changelog() {
    printf 'leat (%s) unstable; urgency=medium\n\n' "$version"
    printf '  * What has changed is told by the git log%s.\n\n' \
        "$(git log -1 --format=', up to commit %h' 2>/dev/null || true)"
    printf ' -- %s  %s\n' "$(maintainer)" "$(date --utc --rfc-email --date="@$SOURCE_DATE_EPOCH")"
}

maintainer() {
    echo "${DEBFULLNAME:-The leat authors} <${DEBEMAIL:-leat@example.org}>"
}

# The MIT license as a paragraph of a Debian copyright file: indented, and a dot for an empty line.
licence() {
    sed -e "s/@YEAR@/$(date --utc --date="@$SOURCE_DATE_EPOCH" +%Y)/" -e '/^@MIT@$/ { r /dev/stdin' -e 'd }' packaging/debian/copyright \
        < <(sed -e '1,/^Copyright/d' -e 's/^$/./' -e 's/^/ /' LICENSE-MIT | sed '1{/^ \.$/d}')
}

# control ROOT: what dpkg is told.
control() {
    local root=$1 depends size script
    mkdir -p "$scratch/debian" "$root/DEBIAN"
    printf 'Source: leat\n\nPackage: leat\nArchitecture: any\n' >"$scratch/debian/control"
    depends=$(cd "$scratch" && dpkg-shlibdeps -O "${programs[@]/#/$root/usr/bin/}" | sed 's/^shlibs:Depends=//')
    [[ $depends == *librte-eal* ]] || die "dpkg-shlibdeps has not found DPDK among: $depends"
    size=$(du -k --apparent-size -s "$root" | cut -f1)
    sed -e "s|@VERSION@|$version|" -e "s|@ARCHITECTURE@|$architecture|" -e "s|@MAINTAINER@|$(maintainer)|" \
        -e "s|@SIZE@|$size|" -e "s|@DEPENDS@|$depends|" packaging/debian/control.in >"$root/DEBIAN/control"
    for script in postinst prerm postrm; do
        install -m 755 "packaging/debian/$script" "$root/DEBIAN/$script"
    done
    (cd "$root" && find etc -type f -printf '/%p\n' | sort) >"$root/DEBIAN/conffiles"
    (cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum) \
        >"$root/DEBIAN/md5sums"
}

# Installs the package where nothing else is, uses it, and takes it away again.
try() {
    local root=$scratch/root program unit left
    step "Trying it"
    mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates" "$root/etc"
    touch "$root/var/lib/dpkg/status" "$root/var/lib/dpkg/available"
    into "$root" --install "$package"
    for program in "${programs[@]}"; do
        "$root/usr/bin/$program" --version | grep -q "^$program $version " || die "$program does not tell its version"
        gzip -dc "$root/usr/share/man/man1/$program.1.gz" | grep -q '^\.SH SYNOPSIS' || die "$program.1 is no manual page"
    done
    "$root/usr/bin/leat" --check --config "$root/etc/leat/leat.toml" >"$scratch/checked" ||
        die "leat does not take its own configuration"
    grep -q '^service web: tcp 192.0.2.10:80$' "$scratch/checked" || die "--check does not show the service"
    bash -n "$root/usr/share/bash-completion/completions/leatctl" || die "the completions are not for bash"
    say "installed in a folder: all programs run there, and leat.toml is right"

    if command -v systemd-analyze >/dev/null; then
        # It looks for the programs where the unit says.
        for unit in "$root"/lib/systemd/system/*.service "$root"/usr/lib/systemd/system/*.service; do
            [[ -e $unit ]] || continue
            sed "s|=/usr/bin/leat|=$root/usr/bin/leat|" "$unit" >"$scratch/$(basename "$unit")"
            systemd-analyze verify --man=no "$scratch/$(basename "$unit")" 2>"$scratch/said" ||
                die "$(basename "$unit"): $(<"$scratch/said")"
            ! grep -F "$(basename "$unit")" "$scratch/said" || die "systemd does not like the unit"
        done
        say "systemd takes the units"
    fi

    # What an administrator has written stays until the package is purged.
    echo '# changed' >>"$root/etc/leat/leat.toml"
    mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
    ln -s /lib/systemd/system/leat.service "$root/etc/systemd/system/multi-user.target.wants/leat.service"
    into "$root" --remove leat
    grep -q '^# changed$' "$root/etc/leat/leat.toml" || die "to remove it loses the configuration"
    [[ ! -e $root/usr/bin/leat ]] || die "to remove it leaves programs"
    into "$root" --purge leat
    left=$(find "$root" -path "$root/var/lib/dpkg" -prune -o ! -type d -print)
    [[ -z $left ]] || die "to purge it leaves $left"
    [[ ! -e $root/etc/leat ]] || die "to purge it leaves /etc/leat"
    say "removed and purged: nothing is left"

    lintian --allow-root --fail-on error,warning "$package" || die "lintian is not content"
    say "lintian has no complaint"
}

# into ROOT COMMAND...: dpkg on the system in that folder, which has no shell and none of the libraries.
into() {
    local root=$1
    shift
    dpkg --root="$root" --force-depends --force-script-chrootless --log=/dev/null "$@" >"$scratch/dpkg" 2>&1 ||
        die "dpkg $1: $(<"$scratch/dpkg")"
}

main "$@"
