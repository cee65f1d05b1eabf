#!/usr/bin/env bash
# demo.sh: shows leat at work on this machine, with nothing but network namespaces. Run it as root.
#
#   demo.sh [--keep] [--ipv6]
#   demo.sh --stop
#
#   --ipv6    speaks IPv6
#   --keep    leaves all of it running at the end, and says how to look around
#   --stop    ends what --keep left
#
# It installs what is missing, builds leat, makes a network of a client and two backends with nginx, starts leat between
# them, follows one connection through it packet by packet, makes 200 requests and shows where they went. Captures and
# logs stay in target/demo/.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$repository"

name=demo
work=$repository/target/demo
leat=$repository/target/release/leat
client=10.0.0.1
vip=10.0.0.10
backends=(10.0.0.2 10.0.0.3)
port=8080
requests=200
# The address as it stands before a port.
listen=$vip
network=()
api=/run/leat/leat.sock
trace_file=$work/trace.log

# leat's command line; what a machine needs besides is added by `fit_to_machine`.
eal=(-l 0 "--vdev=net_tap0,iface=tapdpdk")

keep=''
leat_pid=''

main() {
    while [[ $# -gt 0 ]]; do
        case $1 in
            -h | --help) help "$0"; exit 0 ;;
            --keep) keep=yes ;;
            --ipv6)
                client=2001:db8::1 vip=2001:db8::10 backends=(2001:db8::2 2001:db8::3)
                listen="[$vip]" network=(--ipv6)
                ;;
            --stop)
                need_root "it removes network namespaces"
                if up; then take_down; say "stopped"; else say "it is not running"; fi
                exit 0
                ;;
            *) usage_error "unknown argument '$1'" ;;
        esac
        shift
    done
    need_root "it makes network namespaces and runs DPDK"
    url=http://$listen:$port/
    own=(--vip "$listen:$port" --backend "${backends[0]}" --backend "${backends[1]}")

    step "1/7 What is missing on this machine"
    scripts/install.sh
    say "all there"

    step "2/7 Building leat"
    quietly "cargo build --release" cargo build --release

    trap clean_up EXIT
    trap 'exit 130' INT TERM
    mkdir -p "$work"
    # Another demo may have been kept, or have crashed.
    take_down
    fit_to_machine

    step "3/7 A network of namespaces"
    scripts/netns.sh --name "$name" up "${network[@]}"
    picture

    step "4/7 nginx on both backends"
    start_nginx b1 "${backends[0]}"
    start_nginx b2 "${backends[1]}"

    step "5/7 One connection, packet by packet"
    follow_one_connection

    step "6/7 $requests requests, each on a connection of its own"
    start_leat
    make_requests
    step "7/7 What leat counted"
    show_statistics

    what_next
}

# --- The network ------------------------------------------------------------------------------------------------

picture() {
    cat <<END

        client                       leat                        backends
    ┌─────────────┐        ┌─────────────────────┐        ┌────────────────────┐
    │ $(column 11 "$client") │        │ $(column 19 "$listen:$port") │        │ $(column 18 "$(place "${backends[0]}")") │
    └──────┬──────┘        └──────────┬──────────┘        │ $(column 18 "$(place "${backends[1]}")") │
           │                          │ tapdpdk           └─────────┬──────────┘
           └──────────────────────────┴────── bridge ───────────────┘

END
}

# column WIDTH TEXT: the text, filled up with spaces.
column() {
    printf "%-$1s" "$2"
}

# place ADDRESS: with the port.
place() {
    if [[ $1 == *:* ]]; then echo "[$1]:$port"; else echo "$1:$port"; fi
}

# in_role ROLE COMMAND...
in_role() {
    scripts/netns.sh --name "$name" exec "$@"
}

# background LOG ROLE COMMAND...: starts it so that it outlives this script and its terminal; its id is in $!. It gets a
# session of its own: nohup would not do, because to nginx the SIGHUP of a closed terminal is an order to start anew.
background() {
    local log=$1
    shift
    # Emptied here, not by the process to be: who waits for a word in the log must not find an earlier run's.
    : >"$log"
    setsid scripts/netns.sh --name "$name" exec "$@" </dev/null >>"$log" 2>&1 &
}

start_nginx() {
    local role=$1 address=$2 directory=$work/nginx-$1 listen=$port
    [[ $address != *:* ]] || listen="[::]:$port"
    mkdir -p "$directory"
    nginx_configuration "$directory" "$listen" "Hello from backend $address" >"$directory/nginx.conf"
    background "$directory/log" "$role" nginx -e stderr -p "$directory" -c "$directory/nginx.conf"
    until_true "nginx on $role" "$directory/log" "$!" listens "$role"
    say "$role listens on $(place "$address")"
}

listens() {
    [[ -n $(in_role "$1" ss -Hlnt "sport = :$port") ]]
}

# --- leat -------------------------------------------------------------------------------------------------------

# start_leat [OPTION...]: in the namespace with the bridge, with its output in target/demo/leat.log.
start_leat() {
    local command=("${eal[@]}" -- "${own[@]}" "$@")
    command_line "leat ${command[*]}"
    background "$work/leat.log" lb "$leat" "${command[@]}"
    leat_pid=$!
    until_true "leat" "$work/leat.log" "$leat_pid" grep -qx 'leat: ready' "$work/leat.log"
}

stop_leat() {
    kill -TERM "$leat_pid" 2>/dev/null || true
    wait "$leat_pid" || die "leat did not end well, see $work/leat.log"
    leat_pid=''
}

# A NIC that DPDK could take belongs to somebody else, and so does the socket of a leat that runs already.
fit_to_machine() {
    if compgen -G '/sys/bus/pci/drivers/vfio-pci/0*' >/dev/null ||
        compgen -G '/sys/bus/pci/drivers/uio_pci_generic/0*' >/dev/null ||
        compgen -G '/sys/bus/pci/drivers/igb_uio/0*' >/dev/null ||
        compgen -G '/sys/bus/pci/drivers/mlx[45]_core/0*' >/dev/null; then
        eal+=(--no-pci)
    fi
    if curl -s -o /dev/null --max-time 2 --unix-socket "$api" http://leat/api/v1/status; then
        api=$work/leat.sock
        own+=(--api "unix:$api")
    fi
}

# --- What is shown ----------------------------------------------------------------------------------------------

# command_line COMMAND [WHERE]: what somebody would type.
command_line() {
    say "$bold\$ $1$plain${2:+   ($2)}"
}

follow_one_connection() {
    local capture said role answer backend tcpdumps=()
    start_leat --trace
    for role in client b1 b2; do
        capture=$work/$role.pcap
        rm -f "$capture"
        background "$work/tcpdump-$role.log" "$role" \
            tcpdump -Z root --immediate-mode -U -i eth0 -w "$capture" "tcp port $port"
        tcpdumps+=("$!")
        until_true "tcpdump on $role" "$work/tcpdump-$role.log" "$!" grep -q 'listening on' "$work/tcpdump-$role.log"
    done

    said=$(wc -l <"$work/leat.log")
    command_line "curl $url" "on the client"
    answer=$(in_role client curl -sS --fail --max-time 10 "$url") || die "no answer from $url, see $work/leat.log"
    say "$answer"
    backend=${answer##* }
    role=$([[ $backend == "${backends[0]}" ]] && echo b1 || echo b2)
    # Each side closes with a FIN, and the last of the packets is the ACK of the second one.
    until_true "the end of the connection" "$work/leat.log" "$leat_pid" closed "$work/client.pcap"
    until_true "the end of the connection" "$work/leat.log" "$leat_pid" closed "$work/$role.pcap"
    tail -n +"$((said + 1))" "$work/leat.log" >"$trace_file"
    kill -TERM "${tcpdumps[@]}"
    wait "${tcpdumps[@]}" || true
    stop_leat

    crossing "The client opens a connection. leat chooses a backend for it" 'S' client "$role"
    crossing "The backend agrees. Its answer leaves as the VIP's" 'S.' "$role" client
    crossing "The client's request. leat knows the connection by now" 'P.' client "$role"
    conversation "All of it on the client's wire: it talks to $vip, and to nobody else" client
    conversation "The same segments on the wire of backend $backend: it talks to leat" "$role"
    say "The block of each packet, leat's own questions to its neighbours among them: ${trace_file#"$repository"/}"
}

closed() {
    # Not by a filter: those cannot look into TCP over IPv6.
    [[ $(tcpdump -nn -r "$1" 2>/dev/null | grep -c 'Flags \[F') -ge 2 ]]
}

# crossing TITLE FLAGS FROM TO: the first segment with these flags, as tcpdump writes them, on the wire that it comes
# from, within leat, and on the wire that it goes to.
crossing() {
    echo
    say "$bold$1$plain"
    printf '      %-8s %s\n' "$3" "$(wire "$3" | grep -F -m 1 "Flags [$2]")"
    first_block "$2" | sed "1 s/^/      leat     /; 2,\$ s/^/           /"
    printf '      %-8s %s\n' "$4" "$(wire "$4" | grep -F -m 1 "Flags [$2]")"
}

# conversation TITLE ROLE
conversation() {
    echo
    say "$bold$1$plain"
    wire "$2" | sed 's/^/      /'
}

# wire ROLE: its capture, without what no line has room for.
wire() {
    tcpdump -nn -t -S -r "$work/$1.pcap" 2>/dev/null | sed -E 's/^IP6? //; s/, options \[[^]]*\]//'
}

# first_block FLAGS: what leat said about the first TCP segment with these flags.
first_block() {
    awk -v flags=" [$1] " '
        /^port / { if (found) exit; found = / tcp / && index($0, flags) }
        found' "$trace_file"
}

make_requests() {
    local answers=$work/answers.txt good count backend
    command_line "curl -H 'Connection: close' '$url?[1-$requests]'" "on the client"
    in_role client curl -sS --fail --max-time 10 -H 'Connection: close' "$url?[1-$requests]" >"$answers" || true
    good=$(grep -c '^Hello from backend ' "$answers" || true)
    for backend in "${backends[@]}"; do
        count=$(grep -cx "Hello from backend $backend" "$answers" || true)
        printf '    %-12s %4d  %s\n' "$backend" "$count" "$(bar "$count")"
    done
    say "$good answered, $((requests - good)) failed"
    [[ $good -eq $requests ]] || die "requests failed, see $work/leat.log"
}

# One mark for every four.
bar() {
    printf '%*s' $(($1 / 4)) '' | tr ' ' '#'
}

show_statistics() {
    local said
    said=$(wc -l <"$work/leat.log")
    command_line "kill -USR1 $leat_pid"
    kill -USR1 "$leat_pid"
    until_true "the statistics" "$work/leat.log" "$leat_pid" grew "$said"
    tail -n +"$((said + 1))" "$work/leat.log" | sed 's/^./      &/'
}

# Did the log get longer, and has it come to rest?
grew() {
    local before after
    before=$(wc -l <"$work/leat.log")
    sleep 0.2
    after=$(wc -l <"$work/leat.log")
    [[ $before -gt $1 && $before -eq $after ]]
}

what_next() {
    if [[ -n $keep ]]; then
        step "It goes on running. Look around:"
        cat <<END
    scripts/netns.sh exec client curl $url
                                            a request through leat
    scripts/netns.sh exec client ping -c 3 $vip
                                            leat answers for its VIP
    scripts/netns.sh exec b1 tcpdump -ni eth0
                                            what a backend sees
    scripts/netns.sh exec client bash       a shell on the client
    scripts/netns.sh status                 who is where
    kill -USR1 $(printf '%-7d' "$leat_pid")                      statistics, at the end of $work/leat.log
    curl --unix-socket $api http://leat/api/v1/status
                                            the same as JSON
    scripts/demo.sh --stop                  the end of it
END
    else
        step "What to try next"
        cat <<END
    scripts/demo.sh --keep                  the same, left running for you to look around
    wireshark target/demo/client.pcap       the client's side of that connection; b1.pcap, b2.pcap: the backends'
    leat --help                             schedulers, persistence, UDP; it is target/release/leat
    README.md                               a configuration file, and leat on a real NIC
END
    fi
}

# --- The end ----------------------------------------------------------------------------------------------------

clean_up() {
    local status=$?
    trap - EXIT
    if [[ -z $keep || $status -ne 0 ]]; then
        take_down
    fi
    exit "$status"
}

# Is there a demo's network, whole or not?
up() {
    [[ -e /run/netns/leat-$name-lb ]]
}

# Ends every process in the namespaces, leat first of all by SIGTERM, and removes them.
take_down() {
    scripts/netns.sh --name "$name" down
}

main "$@"
