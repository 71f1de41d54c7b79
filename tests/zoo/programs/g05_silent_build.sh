#!/usr/bin/env bash
# A build without a word: one short compiler after the other.
. "$(dirname "$0")/zoo.sh"
cd "$ZOO_DIR" || exit 1
mark
for n in $(seq 1000000); do
  { echo '#include <stdio.h>'; echo '#include <stdlib.h>'; echo "int f$n(int x) { return printf(\"%d\", x * $n); }"; } > unit.c
  cc -O2 -c unit.c -o unit.o || exit 1
done
