#!/usr/bin/env bash
# A tool that sleeps ten minutes at a time.
. "$(dirname "$0")/zoo.sh"
mark
while :; do
  sleep "$(scaled 600)"
done
