// The peer has sent and closed; the program waits for a condition that only a reader nobody started would signal.
#include "zoo.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t arrived = PTHREAD_COND_INITIALIZER;

int main(void) {
  ask("/close");
  mark(NULL, 0);
  pthread_mutex_lock(&lock);
  for (;;) pthread_cond_wait(&arrived, &lock);
}
