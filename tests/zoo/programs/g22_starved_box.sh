#!/usr/bin/env bash
# Real work at the lowest priority on a processor that others fill: it moves at a fiftieth of its speed.
. "$(dirname "$0")/zoo.sh"
cd "$ZOO_DIR" || exit 1
renice -n 19 $$ >/dev/null
mark
n=0
while :; do
  n=$((n + 1))
  echo "step $n" > "step$((n % 10))"
done
