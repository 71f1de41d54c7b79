# The command of the demo's policy, for an agent without a sidecar: again.sh DIRECTORY SIDECAR STORE. An agent that still
# runs is adopted, one that has ended is started.
sh "$1/start.sh" "$1" "$2" "$3" "$HB_AGENT_ID" </dev/null >/dev/null 2>>"$1/$HB_AGENT_ID.log" &
echo $! >"$1/$HB_AGENT_ID.pid"
