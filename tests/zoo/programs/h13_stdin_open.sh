#!/usr/bin/env bash
# Reads more input from a standard input that somebody left open.
. "$(dirname "$0")/zoo.sh"
echo "Reading additional input from stdin..."
mark
exec cat
