#!/usr/bin/env bash
# Asks a person for approval.
. "$(dirname "$0")/zoo.sh"
mark
read -r -p "Approve? [y/N] " answer
echo "$answer"
