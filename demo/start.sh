# Starts an agent of the demo under its sidecar, which takes the place of this shell: start.sh DIRECTORY SIDECAR STORE ID
dir=$1 sidecar=$2 store=$3 id=$4
kind=${id%-*}
# Nothing of the user's: no setting of hb, and a runtime directory of the demo's own.
exec env -i PATH="$PATH" HOME="$dir" XDG_RUNTIME_DIR="$dir" \
  "$sidecar" --redis-url "$store" --id "$id" --type "$kind" --interval 1s --patience 0.1 --backoff 200ms -- sh "$dir/$kind.sh"
