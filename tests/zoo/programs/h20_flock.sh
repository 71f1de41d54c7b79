#!/usr/bin/env bash
# Waits for a lock file that another process holds.
. "$(dirname "$0")/zoo.sh"
mark
flock "$ZOO_DIR/lock" echo "mine"
