#!/usr/bin/env bash
# A web server without requests.
. "$(dirname "$0")/../zoo/programs/zoo.sh"
mark
exec "${ZOO_PYTHON:-python3}" -m http.server --bind 127.0.0.1 --directory "$ZOO_DIR" 0
