# shellcheck shell=bash
# What all networks of namespaces are made of: netns.sh's, and the labs'. Sourced after lib.sh, never run.
#
# A network is called $name, and its host HOST is the namespace leat-NAME-HOST. Nothing of it is in the first namespace.

# --- Names ------------------------------------------------------------------------------------------------------

# shellcheck disable=SC2154 # $name is set by those that source this file
namespace() {
    echo "leat-$name-$1"
}

exists() {
    [[ -e /run/netns/$1 ]]
}

# The namespaces of this name, also of one half made.
namespaces() {
    ip netns list | awk '{ print $1 }' | grep -E "^leat-$name-[a-z0-9]+\$" | sort || true
}

processes_in() {
    ip netns pids "$1" 2>/dev/null || true
}

# --- Making -----------------------------------------------------------------------------------------------------

add_namespace() {
    ip netns add "$1"
    ip netns exec "$1" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
    ip -n "$1" link set lo up
}

# enable_ipv6 NAMESPACE LINK: with a link-local address, and without waiting for or listening to anybody.
enable_ipv6() {
    ip netns exec "$1" sysctl -qw "net.ipv6.conf.$2.accept_dad=0" "net.ipv6.conf.$2.accept_ra=0" \
        "net.ipv6.conf.$2.router_solicitations=0" "net.ipv6.conf.$2.disable_ipv6=0" net.ipv6.conf.lo.disable_ipv6=0
}

# add_bridge NAMESPACE: br0. It gets a fixed address: by itself it would change whenever a port's does.
add_bridge() {
    ip -n "$1" link add br0 address 02:00:00:00:01:00 type bridge stp_state 0 forward_delay 0 mcast_snooping 0
    ip -n "$1" link set br0 up
    quiet_bridge "$1"
}

# Where the machine filters bridged packets, this bridge does not.
quiet_bridge() {
    local key
    for key in arptables iptables ip6tables; do
        ip netns exec "$1" sysctl -qw "net.bridge.bridge-nf-call-$key=0" 2>/dev/null || true
    done
}

# add_tap NAMESPACE: tapdpdk, leat's port, on its bridge.
add_tap() {
    # net_tap opens every queue with IFF_MULTI_QUEUE; the kernel refuses that on a tap made without it.
    ip -n "$1" tuntap add dev tapdpdk mode tap multi_queue
    # The kernel drops what does not fit into the tap's queue. It is to hold what comes in while leat waits for its CPU,
    # which it shares with all the others here: a thousand packets, the default, are a few milliseconds.
    ip -n "$1" link set tapdpdk txqueuelen 10000 master br0 up
}

# A veth hands over packets whose checksum is not written yet and which are longer than the MTU, unless told not to.
whole_frames() {
    ip netns exec "$1" ethtool -K "$2" tx off sg off tso off gso off gro off >/dev/null
}

# --- Looking ----------------------------------------------------------------------------------------------------

# bridged NAMESPACE LINK [up]
bridged() {
    ip -n "$1" -o link show dev "$2" "${@:3}" 2>/dev/null | grep -q ' master br0 '
}

# linked NAMESPACE LINK: it and its peer are up.
linked() {
    ip -n "$1" -o link show dev "$2" up 2>/dev/null | grep -q ',LOWER_UP'
}

# --- Removing ---------------------------------------------------------------------------------------------------

remove() {
    local ns
    for ns in $(namespaces); do
        end_processes "$ns"
        ip netns delete "$ns"
    done
}

# SIGTERM first, so that leat can stop its ports; SIGKILL for what is still there after three seconds.
end_processes() {
    local ns=$1 tries pids
    for tries in {1..60}; do
        mapfile -t pids < <(processes_in "$ns")
        [[ ${#pids[@]} -gt 0 ]] || return 0
        # A process may end between the list and the signal.
        [[ $tries -gt 1 ]] || kill -TERM "${pids[@]}" 2>/dev/null || true
        sleep 0.05
    done
    kill -KILL "${pids[@]}" 2>/dev/null || true
}

# --- One at a time ----------------------------------------------------------------------------------------------

# Two runs with the same name wait for each other. The lock's file is removed with the topology, and what a lab noted of
# it as well; so who got the lock must check that it is still the file that others see.
lock() {
    local file=/run/leat-netns/$name.lock
    while :; do
        mkdir -p /run/leat-netns
        exec {lock_fd}>"$file"
        flock -w 60 "$lock_fd" || die "another run has held the lock of '$name' for a minute: $file"
        [[ $file -ef /proc/self/fd/$lock_fd ]] && return
        exec {lock_fd}>&-
    done
}

unlock() {
    rm -f "/run/leat-netns/$name.lab" "/run/leat-netns/$name.lock"
    exec {lock_fd}>&-
}
