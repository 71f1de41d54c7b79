// Waits for a byte that its own handler writes, with a task of its own: the socket on which it listens sends the signal, and
// that has the number of one that asks programs to end.
#define _GNU_SOURCE
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include "zoo.h"

static int woken[2];

static void wakes(int signal) {
  (void)signal;
  (void)!write(woken[1], "x", 1);
}

int main(void) {
  int door = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (pipe(woken) || bind(door, (struct sockaddr *)&here, sizeof here) || listen(door, 5)) return 2;
  signal(SIGQUIT, wakes);
  fcntl(door, F_SETOWN, getpid());
  fcntl(door, F_SETSIG, SIGQUIT);
  fcntl(door, F_SETFL, O_RDWR | O_ASYNC);
  say("task=\"next caller\"");
  mark(NULL, 0);
  char byte;
  return read(woken[0], &byte, 1) == 1 ? 0 : 3;
}
