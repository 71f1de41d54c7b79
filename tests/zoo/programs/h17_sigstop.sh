#!/usr/bin/env bash
# A child that stops itself, and a parent that waits for it.
. "$(dirname "$0")/zoo.sh"
bash -c 'kill -STOP $$; echo continued' &
mark "child=$!"
wait
