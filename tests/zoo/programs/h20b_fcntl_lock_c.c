// Waits for a record lock that another process holds.
#include <fcntl.h>
#include "zoo.h"

int main(void) {
  char path[4096];
  snprintf(path, sizeof path, "%s/lock", getenv("ZOO_DIR"));
  int file = open(path, O_RDWR | O_CREAT, 0600);
  struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  mark(NULL, 0);
  return fcntl(file, F_SETLKW, &whole) ? 1 : 0;
}
