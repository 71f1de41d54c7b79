#!/usr/bin/env bash
# Asks for the state of a long job each 30 s; the answer grows.
. "$(dirname "$0")/zoo.sh"
done=0
mark
while :; do
  done=$((done + 1))
  echo "$done" > "$ZOO_DIR/job"
  cat "$ZOO_DIR/job"
  sleep "$(scaled 30)"
done
