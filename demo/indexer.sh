# A demo agent: works like the writer until the file `hang` is there. Then the shell waits for its child, and the child for
# the shell.
dir=${0%/*}
while :; do
  i=0
  while [ "$i" -lt 2000 ]; do i=$((i + 1)); done
  if [ -e "$dir/hang" ]; then
    rm "$dir/hang"
    # The child reads a pipe that these two alone can write to; the shell reads what the child prints, to its end.
    true | { exec 3<>/proc/self/fd/0; answer=$(cat <&3); }
  fi
  sleep 0.2
done
