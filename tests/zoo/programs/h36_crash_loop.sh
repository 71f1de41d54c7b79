#!/usr/bin/env bash
# Ends at once, each time in the same way.
. "$(dirname "$0")/zoo.sh"
echo "start" >> "$ZOO_DIR/starts"
mark
echo "cannot read the configuration" >&2
exit 1
