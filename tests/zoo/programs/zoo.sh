# What the Bash programs share: scaled time, the mark of the moment they wedge, and the status line.
zoo_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# Seconds at ZOO_SCALE.
scaled() { awk -v s="$1" -v k="${ZOO_SCALE:-1}" 'BEGIN { print s * k }'; }

# mark [KEY=VALUE…]: the state this program is about begins now.
mark() {
  [ -n "${ZOO_MARK:-}" ] || return 0
  printf '%s\n' "$@" > "$ZOO_MARK.new" && mv "$ZOO_MARK.new" "$ZOO_MARK"
}

# say LINE: one status line, as a shell sends it: by a small program that ends.
say() { "${ZOO_PYTHON:-python3}" "$zoo_dir/say.py" "$@"; }
