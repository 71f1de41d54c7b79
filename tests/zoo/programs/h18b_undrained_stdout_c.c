// Prints into a pipe that nobody reads.
#include "zoo.h"

int main(void) {
  mark(NULL, 0);
  for (long n = 0;; n++) printf("line %ld of a long report\n", n);
}
