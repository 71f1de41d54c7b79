// Waits for a flag that nobody sets, without a pause.
#include "zoo.h"

static volatile int ready;

int main(void) {
  mark(NULL, 0);
  while (!ready) {
  }
}
