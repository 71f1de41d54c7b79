# A demo agent: works like the writer, unless the file `broken` is there.
dir=${0%/*}
while :; do
  if [ -e "$dir/broken" ]; then
    echo "scraper: the configuration names no feed" >&2
    exit 1
  fi
  i=0
  while [ "$i" -lt 2000 ]; do i=$((i + 1)); done
  sleep 0.2
done
