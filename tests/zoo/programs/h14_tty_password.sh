#!/usr/bin/env bash
# Asks for a password on the terminal.
. "$(dirname "$0")/zoo.sh"
mark
read -r -s -p "Password: " password </dev/tty
