#!/usr/bin/env bash
# Ignores TERM, and so does its child.
. "$(dirname "$0")/zoo.sh"
trap '' TERM
sleep 1000 &
mark "child=$!"
while :; do wait; done
