# shellcheck shell=bash
# What the labs share: their command line, their networks, and how programs are started in them. Sourced, never run.
#
# A lab sets `name` and `vip`, defines `build` (makes its network), `demonstrate`, `what_next` (what to do when it was
# kept), and `action_WORD HOST...` for each WORD of its own on the command line; then it calls `lab_main "$@"`. A lab
# writes its addresses as those of IPv4; `at` gives the one that stands for it in the version of the network.

source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
source "$(dirname "${BASH_SOURCE[0]}")/../namespaces.sh"

lab_main() {
    local action=demonstration
    keep='' binaries='' ipv6=no
    while [[ $# -gt 0 ]]; do
        case $1 in
            -h | --help) help "$0"; exit 0 ;;
            --keep) keep=yes ;;
            --ipv6) ipv6=yes ;;
            --name | --binaries)
                [[ -n ${2:-} ]] || usage_error "$1 needs a value"
                printf -v "${1#--}" '%s' "$2"
                shift
                ;;
            *)
                [[ $(type -t "action_$1") == function ]] || usage_error "unknown argument '$1'"
                action=$1
                shift
                break
                ;;
        esac
        shift
    done
    if [[ $action == up && ${1:-} == --ipv6 ]]; then
        ipv6=yes
        shift
    fi
    [[ $name =~ ^[A-Za-z0-9_]+$ ]] || usage_error "--name '$name': letters, digits and _ only"
    case $action in up | down | status) [[ $# -eq 0 ]] || usage_error "'$action' takes no '$1'" ;; esac
    need_root "network namespaces and links belong to root"
    record=/run/leat-netns/$name.lab
    work=$repository/target/labs/$name
    case $action in up | demonstration) ;; *) ipv6=$(recorded_version) ;; esac
    choose_version
    "action_$action" "$@"
}

# --- The version of IP ---------------------------------------------------------------------------------------------

# That of the network which is there.
recorded_version() {
    if grep -qsx 'ipv6=yes' "$record"; then echo yes; else echo no; fi
}

# The words and filters in which the versions differ.
# shellcheck disable=SC2034 # for the labs
choose_version() {
    vip=$(at "$vip")
    if [[ $ipv6 == yes ]]; then
        ip=(ip -6) url="http://[$vip]" suffix=-ipv6
        neighbors=icmp6 question='icmp6[0] == 135' echo_request='icmp6[0] == 128' syn='ip6[6] == 6 and ip6[53] & 2 != 0'
    else
        ip=(ip) url=http://$vip suffix=''
        neighbors=arp question='arp[6:2] == 1' echo_request='icmp[0] == 8' syn='tcp[tcpflags] & tcp-syn != 0'
    fi
}

# at ADDRESS[/24]: itself, or in IPv6 the one with the same numbers: 2001:db8:A:B::C for 10.A.B.C, 2001:db8:20::1 for
# 20.0.0.1.
at() {
    local a b c d length prefix
    if [[ $ipv6 == no ]]; then echo "$1"; return; fi
    IFS=./ read -r a b c d length <<<"$1"
    case $a.$b.$c in
        10.0.0) prefix=2001:db8 ;;
        10.*) prefix=2001:db8:$b:$c ;;
        *) prefix=2001:db8:$a ;;
    esac
    echo "$prefix::$d${length:+/64}"
}

# --- What every lab can be told to do -----------------------------------------------------------------------------

# The whole of it, with a clean end however it ends. What an earlier one left, because it was kept or killed, goes first.
action_demonstration() {
    if [[ -n $binaries ]]; then
        binaries=$(realpath "$binaries")
    else
        step "What is missing on this machine, and building leat"
        "$repository/scripts/install.sh"
        cd "$repository" || exit
        quietly "cargo build --release" cargo build --release
        binaries=$repository/target/release
    fi
    action_down
    trap clean_up EXIT
    trap 'exit 130' INT TERM HUP
    rm -rf "$work"
    mkdir -p "$work"
    # In a process of its own, so that no program started later inherits the lock.
    (action_up)
    demonstrate
    if [[ -n $keep ]]; then
        step "It goes on running. Look around:"
        what_next
        hint "$0 --name $name down" "the end of it"
    fi
}

# hint COMMAND TEXT: something to try.
hint() {
    printf '    %-63s %s\n' "$@"
}

clean_up() {
    local status=$?
    trap - EXIT
    if [[ -z $keep || $status -ne 0 ]]; then
        action_down
    fi
    exit "$status"
}

action_up() {
    lock
    if whole; then return; fi
    remove
    # A network that could not be finished is taken away again.
    trap remove EXIT
    build
    picture >"$record"
    trap - EXIT
}

action_down() {
    lock
    remove
    rm -f "/run/leat/$name"-*.sock
    unlock
}

action_exec() {
    [[ $# -ge 2 ]] || usage_error "exec needs a host and a command"
    need_host "$1"
    exec ip netns exec "$(namespace "$1")" "${@:2}"
}

action_status() {
    local ns
    for ns in $(namespaces); do
        printf '%-4s %-24s processes: %s\n' "${ns##*-}" "$ns" "$(processes_in "$ns" | paste -sd ' ')"
        ip -n "$ns" -br address | awk '$1 != "lo" { print "       " $0 }'
    done
    [[ -n $(namespaces) ]] || { echo "'$name' is down"; return 1; }
    whole || { echo "'$name' is broken or half made: up rebuilds it"; return 1; }
}

need_host() {
    exists "$(namespace "$1")" || die "there is no '$1' in '$name': say up first, or status"
}

# Everything that was made is there still, in the version that is asked for. What came later, such as a TUN device, does not count.
whole() {
    [[ -s $record && $(recorded_version) == "$ipv6" && -z $(comm -23 "$record" <(picture)) ]]
}

# The version of IP, all interfaces, and all addresses that were given out, sorted.
picture() {
    local ns
    {
        echo "ipv6=$ipv6"
        for ns in $(namespaces); do
            ip -n "$ns" -o link | awk -v ns="$ns" '{ print ns, $2 }'
            ip -n "$ns" -o address show scope global | awk -v ns="$ns" '{ print ns, $2, $4 }'
        done
    } | LC_ALL=C sort
}

# --- Networks -----------------------------------------------------------------------------------------------------

# isolated_switch HOSTS: hosts h1, h2, ... `at` 10.0.0.1, 10.0.0.2, ... with Ethernet addresses 00:00:00:00:00:01 and so
# on, at a bridge in lb whose ports are isolated from each other. Only leat's port reaches all, so the hosts hear
# nothing of each other but what leat lets through.
isolated_switch() {
    local lb host mac
    lb=$(namespace lb)
    add_namespace "$lb"
    add_bridge "$lb"
    add_tap "$lb"
    for ((host = 1; host <= $1; host++)); do
        add_namespace "$(namespace "h$host")"
        mac=$(printf '00:00:00:00:00:%02x' "$host")
        wire "h$host" eth0 "10.0.0.$host/24" lb "h$host"
        ip -n "$lb" link set "h$host" master br0
        bridge -n "$lb" link set dev "h$host" isolated on
    done
}

# wire HOST INTERFACE ADDRESS/LEN HOST INTERFACE [ADDRESS/LEN]: a cable between two hosts, which are `at` these addresses.
# The first interface has the Ethernet address $mac, where that is set.
wire() {
    local ns peer
    ns=$(namespace "$1") peer=$(namespace "$4")
    ip -n "$ns" link add "$2" ${mac:+address "$mac"} type veth peer name "$5" netns "$peer"
    whole_frames "$ns" "$2"
    whole_frames "$peer" "$5"
    ip -n "$ns" link set "$2" up
    ip -n "$peer" link set "$5" up
    add_address "$ns" "$2" "$3"
    [[ -z ${6:-} ]] || add_address "$peer" "$5" "$6"
}

# add_address NAMESPACE INTERFACE ADDRESS/LEN: the one that it is `at`.
add_address() {
    if [[ $ipv6 == yes ]]; then
        enable_ipv6 "$1" "$2"
        ip -n "$1" address add "$(at "$3")" dev "$2" nodad
    else
        ip -n "$1" address add "$3" dev "$2"
    fi
}

# ports_at_once HOST: it keeps no connection in TIME-WAIT, so a port that is asked for by its number is free again.
ports_at_once() {
    on "$1" sysctl -qw net.ipv4.tcp_max_tw_buckets=0
}

# --- Programs -----------------------------------------------------------------------------------------------------

# on HOST COMMAND...
on() {
    ip netns exec "$(namespace "$1")" "${@:2}"
}

# shown HOST COMMAND...: the same, and says so.
shown() {
    say "$bold\$ ${*:2}$plain   (on $1)"
    on "$@"
}

# background LOG HOST COMMAND...: starts it so that it outlives this script and its terminal; its id is in $!. It gets a
# session of its own: to nginx the SIGHUP of a closed terminal is an order to start anew.
background() {
    # Emptied here, not by the process to be: who waits for a word in the log must not find an earlier run's.
    : >"$1"
    setsid ip netns exec "$(namespace "$2")" "${@:3}" </dev/null >>"$1" 2>&1 &
}

# start_leat HOST OPTION...: on the host's tap; its id is in $leat_pid, its log is leat-HOST.log.
start_leat() {
    local host=$1 log=$work/leat-$1.log
    local command=(-l 0 --no-pci "--vdev=net_tap0,iface=tapdpdk" -- "${@:2}")
    say "$bold\$ leat ${command[*]}$plain   (on $host)"
    background "$log" "$host" "$binaries/leat" "${command[@]}" --api "unix:/run/leat/$name-$host.sock"
    leat_pid=$!
    until_true "leat on $host" "$log" "$leat_pid" grep -qx 'leat: ready' "$log"
}

# leat_says HOST FILTER: jq's view of the status of leat on a host.
leat_says() {
    curl -sS --fail --unix-socket "/run/leat/$name-$1.sock" http://leat/api/v1/status | jq -r "$2"
}

# start_nginx HOST PORT TEXT: it answers / with TEXT; its files are in nginx-HOST.
start_nginx() {
    local directory=$work/nginx-$1 listen=$2
    mkdir -p "$directory"
    if [[ $ipv6 == yes ]]; then listen="[::]:$2"; fi
    nginx_configuration "$directory" "$listen" "$3" >"$directory/nginx.conf"
    background "$directory/log" "$1" nginx -e stderr -p "$directory" -c "$directory/nginx.conf"
    until_true "nginx on $1" "$directory/log" "$!" listens "$1" "$2"
}

listens() {
    [[ -n $(on "$1" ss -Hlnt "sport = :$2") ]]
}

# capture HOST INTERFACE FILE [FILTER...]: tcpdump in the background until `end_captures`.
capture() {
    local log=$work/tcpdump-$3.log
    rm -f "$work/$3"
    background "$log" "$1" tcpdump -Z root --immediate-mode -U -i "$2" -w "$work/$3" "${@:4}"
    captures+=("$!")
    until_true "tcpdump on $1" "$log" "$!" grep -q 'listening on' "$log"
}
captures=()

end_captures() {
    kill -TERM "${captures[@]}"
    wait "${captures[@]}" || true
    captures=()
}

# packets FILE [ARGUMENT...]: what tcpdump says of a capture, one line for each packet.
packets() {
    tcpdump -nn -t -r "$work/$1" "${@:2}" 2>/dev/null
}

# count FILE [FILTER...]: how many packets of a capture match.
count() {
    packets "$@" | grep -c '^' || true
}

# patiently WHAT COMMAND...: tries for up to 30 seconds.
patiently() {
    local tries
    for tries in {1..300}; do
        "${@:2}" && return
        sleep 0.1
    done
    die "waited $((tries / 10)) seconds in vain for $1"
}

indent() {
    sed 's/^/      /'
}
