// Waits for a semaphore in a file, which any program may post, with a task of its own.
#include <fcntl.h>
#include <semaphore.h>
#include <sys/mman.h>
#include "zoo.h"

int main(void) {
  char path[4096];
  snprintf(path, sizeof path, "%s/orders", getenv("ZOO_DIR"));
  int file = open(path, O_RDWR | O_CREAT, 0600);
  if (file < 0 || ftruncate(file, sizeof(sem_t))) return 2;
  sem_t *orders = mmap(NULL, sizeof *orders, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (orders == MAP_FAILED || sem_init(orders, 1, 0)) return 2;
  say("task=\"next order\"");
  mark(NULL, 0);
  sem_wait(orders);
  return 0;
}
