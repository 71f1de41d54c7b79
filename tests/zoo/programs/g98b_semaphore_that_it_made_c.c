// Waits for a named semaphore, which any program may post, with a task of its own. It made it: the C library does so under
// another name, so that the kernel calls what it has mapped deleted.
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include "zoo.h"

static char name[64];

static void ends(int signal) {
  sem_unlink(name);
  _exit(128 + signal);
}

int main(void) {
  snprintf(name, sizeof name, "/hb-zoo-%d", (int)getpid());
  sem_t *orders = sem_open(name, O_CREAT | O_EXCL, 0600, 0);
  if (orders == SEM_FAILED) return 2;
  signal(SIGTERM, ends);
  signal(SIGINT, ends);
  say("task=\"next order\"");
  mark(NULL, 0);
  sem_wait(orders);
  return 0;
}
