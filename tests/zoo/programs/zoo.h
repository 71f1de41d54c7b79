// What the programs in C share: scaled time, a request to the peer, the mark of the moment they wedge, the status line.
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static inline double scaled(double seconds) {
  const char *scale = getenv("ZOO_SCALE");
  return seconds * (scale ? atof(scale) : 1);
}

static inline void mark(const char *key, long value) {
  const char *path = getenv("ZOO_MARK");
  char fresh[4096];
  if (!path || strlen(path) > 4000) return;
  snprintf(fresh, sizeof fresh, "%s.new", path);
  FILE *file = fopen(fresh, "w");
  if (!file) return;
  if (key) fprintf(file, "%s=%ld\n", key, value);
  if (fclose(file) == 0) rename(fresh, path);
}

// A connection to the peer with one request sent.
static inline int ask(const char *path) {
  char host[256], *port, text[512];
  const char *at = getenv("ZOO_PEER");
  snprintf(host, sizeof host, "%s", at ? at : "127.0.0.1:8000");
  if (!(port = strrchr(host, ':'))) exit(2);
  *port++ = 0;
  struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
  if (getaddrinfo(host, port, &hints, &found)) exit(2);
  int peer = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(peer, found->ai_addr, found->ai_addrlen)) exit(2);
  freeaddrinfo(found);
  int length = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: zoo\r\n\r\n", path);
  if (write(peer, text, (size_t)length) != length) exit(2);
  return peer;
}

static inline int unix_socket(const char *path) {
  struct sockaddr_un there = {.sun_family = AF_UNIX};
  if (!path || strlen(path) >= sizeof there.sun_path) return -1;
  strcpy(there.sun_path, path);
  int end = socket(AF_UNIX, SOCK_STREAM, 0);
  return connect(end, (struct sockaddr *)&there, sizeof there) ? -1 : end;
}

// Without a sidecar nobody listens, and that is no error.
static inline void say(const char *line) {
  int contract = unix_socket(getenv("HB_SOCKET"));
  if (contract >= 0 && dprintf(contract, "%s\n", line) < 0) close(contract);
}
