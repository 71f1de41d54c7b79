# A demo agent: works like the writer, and goes on when its sidecar is killed.
while :; do
  i=0
  while [ "$i" -lt 2000 ]; do i=$((i + 1)); done
  sleep 0.3
done
