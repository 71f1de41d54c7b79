// An event loop whose only timer is a timerfd, and which owes work.
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include "zoo.h"

int main(void) {
  int timer = timerfd_create(CLOCK_MONOTONIC, 0), loop = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN};
  double pause = scaled(200);
  struct itimerspec every = {.it_value = {(time_t)pause, 1}, .it_interval = {(time_t)pause, 1}};
  timerfd_settime(timer, 0, &every, NULL);
  epoll_ctl(loop, EPOLL_CTL_ADD, timer, &event);
  say("task=\"nightly run\"");
  mark(NULL, 0);
  for (;;) {
    unsigned long ticks;
    if (epoll_wait(loop, &event, 1, -1) == 1 && read(timer, &ticks, sizeof ticks) == sizeof ticks) puts("tick");
    fflush(stdout);
  }
}
