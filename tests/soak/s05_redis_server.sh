#!/usr/bin/env bash
# A store without clients.
. "$(dirname "$0")/../zoo/programs/zoo.sh"
mark
exec redis-server --port 0 --unixsocket "$ZOO_DIR/idle.sock" --dir "$ZOO_DIR" --save "" --appendonly no
