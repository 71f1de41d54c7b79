// An agent that knows nothing of hb: my-agent [work | exit CODE AFTER | hang AFTER | eat MEGABYTES AFTER | deaf].
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int count, char **words) {
  const char *how = count > 1 ? words[1] : "work";
  int first = count > 2 ? atoi(words[2]) : 0, second = count > 3 ? atoi(words[3]) : 0;
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (!strcmp(how, "exit")) {
    sleep(second);
    return first;
  }
  if (!strcmp(how, "hang")) {
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    sleep(first);
    pthread_mutex_lock(&lock);
    pthread_mutex_lock(&lock);
  }
  if (!strcmp(how, "eat")) {
    sleep(second);
    for (int megabyte = 0; megabyte < first; megabyte++) {
      char *memory = malloc(1 << 20);
      if (memory) memset(memory, 1, 1 << 20);
      usleep(5000);
    }
  }
  if (!strcmp(how, "deaf")) signal(SIGTERM, SIG_IGN);
  for (int step = 0;; step++) {
    printf("step %d\n", step);
    sleep(1);
  }
}
