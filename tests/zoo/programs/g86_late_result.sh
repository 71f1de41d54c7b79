#!/usr/bin/env bash
# A tool's shell has ended, and a job that it left behind ends later and then prints its result, which is collected.
. "$(dirname "$0")/zoo.sh"
mark
result=$( (sleep "$(scaled 1200)"; echo result) & )
echo "$result"
