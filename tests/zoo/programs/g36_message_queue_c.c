// Waits for a message of System V, which anybody may send, with a task of its own.
#include "zoo.h"
#include <sys/ipc.h>
#include <sys/msg.h>

int main(void) {
  int queue = msgget(IPC_PRIVATE, 0600);
  char message[64];
  say("task=\"next order\"");
  mark(NULL, 0);
  msgrcv(queue, message, sizeof message - sizeof(long), 0, 0);
  return 0;
}
