// A token each 0.4 s.
#include "zoo.h"

int main(void) {
  char part[4096];
  int peer = ask("/slow");
  mark(NULL, 0);
  while (recv(peer, part, sizeof part, 0) > 0) {
  }
}
