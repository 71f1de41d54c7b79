// vfork() whose child pauses: the parent is in state D and no signal but the child's end gets it out.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void mark(void) {
  const char *path = getenv("ZOO_MARK");
  char fresh[4096];
  if (!path || strlen(path) > 4000) return;
  snprintf(fresh, sizeof fresh, "%s.new", path);
  FILE *file = fopen(fresh, "w");
  if (file && fclose(file) == 0) rename(fresh, path);
}

int main(void) {
  mark();
  if (vfork() == 0) {
    pause();
    _exit(0);
  }
  return 0;
}
