// Stand-in for inference on a GPU: one thread spins until the device is done, the other gives out a token each 0.4 s.
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static atomic_long spins;

static void *spin(void *none) {
  for (;;) atomic_fetch_add_explicit(&spins, 1, memory_order_relaxed);
  return none;
}

static void mark(void) {
  const char *path = getenv("ZOO_MARK");
  char fresh[4096];
  if (!path || strlen(path) > 4000) return;
  snprintf(fresh, sizeof fresh, "%s.new", path);
  FILE *file = fopen(fresh, "w");
  if (file && fclose(file) == 0) rename(fresh, path);
}

int main(void) {
  pthread_t thread;
  struct timespec step = {0, 400 * 1000 * 1000};
  if (pthread_create(&thread, NULL, spin, NULL)) return 1;
  mark();
  for (long n = 0;; n++) {
    printf("token %ld\n", n);
    fflush(stdout);
    nanosleep(&step, NULL);
  }
}
