// Waits for SIGUSR1, which it handles; a timer of another program will send it.
#include <signal.h>
#include "zoo.h"

static void handle(int number) { (void)number; }

int main(void) {
  sigset_t all, none;
  signal(SIGUSR1, handle);
  signal(SIGALRM, handle);
  sigemptyset(&none);
  sigfillset(&all);
  sigprocmask(SIG_BLOCK, &all, NULL);
  say("task=\"wait for the order\"");
  mark(NULL, 0);
  for (;;) sigsuspend(&none);
}
