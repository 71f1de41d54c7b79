#!/usr/bin/env bash
# ordinary.sh COMMAND: an ordinary program, as a shell starts it. Its own time is real: only hbsidecar's waiting is scaled.
. "$(dirname "$0")/../zoo/programs/zoo.sh"
cd "$ZOO_DIR" || exit 1
mark
exec bash -c "$1"
