// The same in C: recv() without a time limit.
#include "zoo.h"

int main(void) {
  char answer[4096];
  int peer = ask("/hang");
  mark(NULL, 0);
  return recv(peer, answer, sizeof answer, 0) < 0;
}
