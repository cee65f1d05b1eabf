#!/usr/bin/env bash
# fullnat.sh: a client and two backends on one subnet, and leat on a tap between them. Explained in docs/labs/fullnat.md.
#
#   fullnat.sh [--keep] [--ipv6]                  shows the whole lab: it is scripts/demo.sh
#   fullnat.sh [--name NAME] up [--ipv6]          its network alone: it is scripts/netns.sh's
#   fullnat.sh [--name NAME] down | status
#   fullnat.sh [--name NAME] exec HOST COMMAND... a command on a host: client, b1, b2, or lb, where leat's port is
#
#   --keep    leaves it running at the end; `down` ends it
#   --ipv6    speaks IPv6

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

for word in "$@"; do
    case $word in
        -h | --help) help "$0"; exit 0 ;;
        --keep | --ipv6) ;;
        *) exec "$repository/scripts/netns.sh" "$@" ;;
    esac
done
exec "$repository/scripts/demo.sh" "$@"
