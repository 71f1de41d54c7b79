#!/usr/bin/env bash
# A loop that starts an agent every five minutes; the last line of its log is that agent's result.
. "$(dirname "$0")/zoo.sh"
while :; do
  echo '{"type":"result","result":"ok"}'
  mark
  sleep "$(scaled 300)"
done
