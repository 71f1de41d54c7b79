#!/usr/bin/env bash
# A long list that is worked off one by one: its producer waits at a full pipe for whole minutes.
. "$(dirname "$0")/zoo.sh"
pause=$(scaled 40)
mark
seq 1 100000 | xargs -n1 sh -c "sleep $pause"
