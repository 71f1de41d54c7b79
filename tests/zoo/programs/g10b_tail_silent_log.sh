#!/usr/bin/env bash
# Follows a log in which nothing happens.
. "$(dirname "$0")/zoo.sh"
echo "started" > "$ZOO_DIR/log"
mark
exec busybox tail -f "$ZOO_DIR/log"
