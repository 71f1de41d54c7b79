// fork() while another thread holds a mutex: the child's copy of it is never released.
#include <sys/wait.h>
#include "zoo.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t held;

static void *hold(void *none) {
  pthread_mutex_lock(&lock);
  pthread_barrier_wait(&held);
  usleep(500 * 1000);
  pthread_mutex_unlock(&lock);
  return none;
}

int main(void) {
  pthread_t thread;
  pthread_barrier_init(&held, NULL, 2);
  pthread_create(&thread, NULL, hold, NULL);
  pthread_barrier_wait(&held);
  pid_t child = fork();
  if (child == 0) {
    pthread_mutex_lock(&lock);
    _exit(0);
  }
  pthread_join(thread, NULL);
  mark("child", child);
  waitpid(child, NULL, 0);
}
