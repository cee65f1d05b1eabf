#!/usr/bin/env bash
# fullnat.sh: a client and two backends on one subnet, and leat on a tap between them. Explained in docs/labs/fullnat.md.
#
#   fullnat.sh [--keep]                           shows the whole lab: it is scripts/demo.sh
#   fullnat.sh [--name NAME] up | down | status   its network alone: it is scripts/netns.sh's
#   fullnat.sh [--name NAME] exec HOST COMMAND... a command on a host: client, b1, b2, or lb, where leat's port is
#
#   --keep    leaves it running at the end; `down` ends it

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

case ${1:-} in
    -h | --help) help "$0" ;;
    '' | --keep) exec "$repository/scripts/demo.sh" "$@" ;;
    *) exec "$repository/scripts/netns.sh" "$@" ;;
esac
