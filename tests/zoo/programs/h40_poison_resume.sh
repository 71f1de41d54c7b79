#!/usr/bin/env bash
# Hangs in the same way after every restart: what it resumes is what stops it.
. "$(dirname "$0")/zoo.sh"
echo "start" >> "$ZOO_DIR/starts"
bash -c 'while :; do kill -STOP $$; done' &
mark "child=$!"
wait
