// Computes, and says how far it is each minute.
#include <time.h>
#include "zoo.h"

static double now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return at.tv_sec + at.tv_nsec / 1e9;
}

int main(void) {
  unsigned long sum = 0;
  double next = now();
  mark(NULL, 0);
  for (unsigned long n = 0;; n++) {
    for (int i = 0; i < 1000000; i++) sum = sum * 31 + (unsigned)i;
    if (now() >= next) {
      printf("round %lu: %lu\n", n, sum);
      fflush(stdout);
      next += scaled(60);
    }
  }
}
