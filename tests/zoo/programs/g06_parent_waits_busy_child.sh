#!/usr/bin/env bash
# A shell that only waits; each child computes for four minutes, says its result and ends.
. "$(dirname "$0")/zoo.sh"
mark
while :; do
  "${ZOO_PYTHON:-python3}" -c '
import sys, time
until = time.monotonic() + float(sys.argv[1])
total = 0
while time.monotonic() < until:
    for i in range(100_000):
        total = (total * 31 + i) % 1_000_003
print(total)
' "$(scaled 240)"
done
