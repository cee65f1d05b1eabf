# shellcheck shell=bash
# What leat's scripts share: how they speak, how they stop, and who may run them. Sourced, never run.

# Where the repository is, whatever the current directory.
# shellcheck disable=SC2034 # for those that source this file
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Colours only where somebody looks at a terminal.
if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
    bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'
else
    bold='' dim='' plain=''
fi

# step TEXT: announces the next thing that is done.
step() {
    printf '%s==> %s%s\n' "$bold" "$*" "$plain"
}

# say TEXT: a line of what happens within a step.
say() {
    printf '    %s\n' "$*"
}

# die TEXT: one message, exit status 1.
die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# usage_error TEXT: the command line is wrong, exit status 2.
usage_error() {
    printf '%s: %s (see --help)\n' "$(basename "$0")" "$*" >&2
    exit 2
}

# value_of OPTION [VALUE]: insists on the value.
value_of() {
    [[ -n ${2:-} ]] || usage_error "$1 needs a value"
}

# need_root WHY: stops unless the script runs as root.
need_root() {
    [[ $EUID -eq 0 ]] || die "must run as root: $1. Try: sudo $0"
}

# help FILE: prints the comment at the top of a script, which is its manual.
help() {
    sed -n '2,/^[^#]/ { /^#/ s/^# \{0,1\}//p }' "$1"
}

# quietly LABEL COMMAND...: runs a command with its output in a log; on a terminal its last line is shown as it goes.
# When the command fails, the end of the log is printed.
quietly() {
    local label=$1 log status=0 started=$SECONDS
    shift
    log=$(mktemp)
    if [[ -t 1 ]]; then
        local width line
        width=$(tput cols 2>/dev/null || echo 80)
        { "$@" </dev/null 2>&1 || echo "$?" >"$log.status"; } | while IFS= read -r line; do
            printf '%s\n' "$line" >>"$log"
            printf '\r\e[K    %s%s%s' "$dim" "${line:0:width-6}" "$plain"
        done
        printf '\r\e[K'
        [[ -f $log.status ]] && status=$(<"$log.status")
    else
        "$@" </dev/null >"$log" 2>&1 || status=$?
    fi
    if [[ $status -eq 0 ]]; then
        say "$label: done in $((SECONDS - started)) s"
    else
        tail -n 25 "$log" >&2
        say "$label: failed" >&2
    fi
    rm -f "$log" "$log.status"
    return "$status"
}

# until_true WHAT LOG PID COMMAND...: waits up to 20 seconds, and no longer than the process lives.
until_true() {
    local what=$1 log=$2 pid=$3 tries
    shift 3
    for tries in {1..200}; do
        "$@" && return
        if ! kill -0 "$pid" 2>/dev/null || [[ $tries -eq 200 ]]; then
            tail -n 25 "$log" >&2
            die "$what did not start; its last words are above, all of them in $log"
        fi
        sleep 0.1
    done
}

# nginx_configuration DIRECTORY PORT TEXT: for an nginx of one process in the foreground that answers / with a line, and
# gives out and takes in (PUT under /upload/) the files in DIRECTORY.
nginx_configuration() {
    cat <<END
user root;
daemon off;
master_process off;
pid $1/nginx.pid;
events {}
http {
    access_log off;
    default_type text/plain;
    client_body_temp_path $1/body;
    client_max_body_size 0;
    server {
        listen $2;
        root $1;
        location = / { return 200 "$3\n"; }
        location /upload/ { dav_methods PUT; create_full_put_path on; }
    }
}
END
}
