#!/usr/bin/env bash
# make -j2 of many small C files, over and over; not a word of it.
. "$(dirname "$0")/zoo.sh"
cd "$ZOO_DIR" || exit 1
for n in $(seq 40); do
  printf '#include <stdio.h>\n#include <stdlib.h>\nint f%s(int a) { return printf("%%d", a) + %s; }\n' "$n" "$n" > "f$n.c"
done
printf 'all: $(patsubst %%.c,%%.o,$(wildcard f*.c))\n' > Makefile
mark
while :; do
  make -s -j2 && rm -f f*.o
done
