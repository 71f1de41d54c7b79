// A server that nobody asks.
#include <netinet/in.h>
#include "zoo.h"

int main(void) {
  struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(listener, (struct sockaddr *)&any, sizeof any) || listen(listener, 5)) return 2;
  mark(NULL, 0);
  for (;;) close(accept(listener, NULL, NULL));
}
