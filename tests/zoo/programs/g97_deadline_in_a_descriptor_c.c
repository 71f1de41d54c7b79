// A loop that ticks each second; its deadline, half an hour away, is in a timer descriptor.
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include "zoo.h"

int main(void) {
  int timer = timerfd_create(CLOCK_MONOTONIC, 0), loop = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN};
  struct itimerspec once = {.it_value = {(time_t)scaled(1800), 1}};
  timerfd_settime(timer, 0, &once, NULL);
  epoll_ctl(loop, EPOLL_CTL_ADD, timer, &event);
  say("task=\"nightly run\"");
  mark(NULL, 0);
  while (epoll_wait(loop, &event, 1, (int)(1000 * scaled(1))) == 0) continue;
  return 0;
}
