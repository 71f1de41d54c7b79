#!/usr/bin/env bash
# git log opens a pager, which waits for keys.
. "$(dirname "$0")/zoo.sh"
export PAGER=less LESS= GIT_PAGER=less
repo="$ZOO_DIR/repo"
git init -q "$repo"
{
  for n in $(seq 200); do
    printf 'commit refs/heads/long\ncommitter z <z@localhost> %d +0000\ndata <<EOT\nchange %d\nEOT\n' "$((1700000000 + n))" "$n"
  done
} | git -C "$repo" fast-import --quiet
mark
git -C "$repo" log long
