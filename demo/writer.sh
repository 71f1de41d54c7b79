# A demo agent: writes drafts, a little work and a little rest. Plain sh: nothing of hb in it.
n=0
while :; do
  n=$((n + 1))
  i=0
  while [ "$i" -lt 2000 ]; do i=$((i + 1)); done
  sleep 0.2
done
