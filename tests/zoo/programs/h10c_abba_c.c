// Two threads, two mutexes, taken in opposite order. With an argument the task is declared first.
#include "zoo.h"

static pthread_mutex_t locks[2] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER};
static pthread_barrier_t both;

static void *take(void *first) {
  long at = (long)first;
  pthread_mutex_lock(&locks[at]);
  pthread_barrier_wait(&both);
  pthread_mutex_lock(&locks[1 - at]);
  return NULL;
}

int main(int count, char **words) {
  pthread_t threads[2];
  char line[256];
  if (count > 1) {
    snprintf(line, sizeof line, "task=\"%s\" state=working", words[1]);
    say(line);
  }
  pthread_barrier_init(&both, NULL, 2);
  for (long at = 0; at < 2; at++) pthread_create(&threads[at], NULL, take, (void *)at);
  mark(NULL, 0);
  for (int at = 0; at < 2; at++) pthread_join(threads[at], NULL);
}
