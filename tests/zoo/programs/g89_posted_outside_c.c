// Two processes, and a semaphore in shared memory that a program outside of their tree posts now and then.
#include <fcntl.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include "zoo.h"

int main(void) {
  char path[4096];
  snprintf(path, sizeof path, "%s/semaphore", getenv("ZOO_DIR"));
  int file = open(path, O_RDWR);
  sem_t *jobs = mmap(NULL, sizeof *jobs, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (file < 0 || jobs == MAP_FAILED) return 2;
  pid_t worker = fork();
  if (worker == 0)
    for (;;) sem_wait(jobs);
  mark("worker", worker);
  wait(NULL);
}
