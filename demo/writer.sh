# A demo agent: computes a little, sleeps a little. Plain sh that knows nothing of hb.
n=0
while :; do
  n=$((n + 1))
  i=0
  while [ "$i" -lt 2000 ]; do i=$((i + 1)); done
  sleep 0.2
done
