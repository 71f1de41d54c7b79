// Waits in poll() for a daemon that is stopped.
#include <poll.h>
#include "zoo.h"

int main(void) {
  char path[4096];
  snprintf(path, sizeof path, "%s/daemon.sock", getenv("ZOO_DIR"));
  struct pollfd daemon = {.fd = unix_socket(path), .events = POLLIN};
  if (daemon.fd < 0 || dprintf(daemon.fd, "list\n") < 0) return 2;
  mark(NULL, 0);
  return poll(&daemon, 1, -1) < 0;
}
