// Threads that park in a word of memory beside which their own number happens to stand, as in a locked mutex.
#include <linux/futex.h>
#include <sys/syscall.h>
#include "zoo.h"

struct place { int word, count, thread; };

static void *park(void *given) {
  (void)given;
  struct place *place = calloc(1, sizeof *place);
  place->word = 2;
  place->thread = (int)syscall(SYS_gettid);
  for (;;) syscall(SYS_futex, &place->word, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
}

int main(void) {
  pthread_t other;
  pthread_create(&other, NULL, park, NULL);
  mark(NULL, 0);
  for (;;) sleep((unsigned)scaled(500) + 1);
}
