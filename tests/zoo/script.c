// Plays a script of tests/support/scripts.rs with real forks, threads, pipes, sockets, futexes and signals.
//
// script outside SCRIPT PAGE COMMAND...   makes what a process outside the tree holds, then starts COMMAND and waits for it
// script play SCRIPT PAGE                 is the root of the tree; PAGE is where every thread notes how far it is
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { OBJECTS = 3, PROCESSES = 3, THREADS = 2, OPS = 16, WORDS = 8, ENDED = 255 };
// A pair has room for more messages than this, and the model stops counting long before.
enum { READ = 1, WRITE = 2, MESSAGE = 4096, MESSAGES_MAX = 50 };

typedef struct { char word[WORDS][12]; int words; } line;

// What `tests/zoo/random.rs` reads: bytes in this order, then numbers.
typedef struct {
  _Atomic unsigned char at[PROCESSES][THREADS], closed[PROCESSES][OBJECTS], alarm[PROCESSES], playing;
  _Atomic int count[OBJECTS][2], pid[PROCESSES], ready;
} page;

static line objects[OBJECTS], ops[PROCESSES][THREADS][OPS];
static int object_count, process_count, parent[PROCESSES], handles[PROCESSES], thread_count[PROCESSES];
static int op_count[PROCESSES][THREADS], fd[OBJECTS][2], pidfd[PROCESSES], me;
static page *noted;
// A page each: nothing beside a word may look like its owner.
static _Atomic int private_word[OBJECTS][1024], ended[THREADS][1024];
static _Atomic int *shared_word, *outside_word;

static void die(const char *what) {
  perror(what);
  _exit(99);
}

static void parse(const char *path) {
  FILE *file = fopen(path, "r");
  char text[256];
  if (!file) die(path);
  int p = -1, t = -1;
  while (fgets(text, sizeof text, file)) {
    line found = {0};
    for (char *word = strtok(text, " \n"); word && found.words < WORDS; word = strtok(NULL, " \n"))
      snprintf(found.word[found.words++], sizeof found.word[0], "%s", word);
    if (!found.words) continue;
    if (!strcmp(found.word[0], "process")) {
      if (++p == PROCESSES) exit(98);
      parent[p] = *found.word[1] == '-' ? -1 : atoi(found.word[1]);
      handles[p] = found.words > 2;
      t = -1;
    } else if (!strcmp(found.word[0], "thread")) {
      if (++t == THREADS) exit(98);
      thread_count[p] = t + 1;
    } else if (p < 0) {
      if (object_count == OBJECTS) exit(98);
      objects[object_count++] = found;
    } else {
      if (op_count[p][t] == OPS) exit(98);
      ops[p][t][op_count[p][t]++] = found;
    }
  }
  process_count = p + 1;
  fclose(file);
}

static int is(const line *of, int at, const char *word) { return of->words > at && !strcmp(of->word[at], word); }

static page *map_page(const char *path) {
  int file = open(path, O_RDWR);
  if (file < 0) die(path);
  page *mapped = mmap(NULL, sizeof *mapped, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (mapped == MAP_FAILED) die("mmap");
  close(file);
  return mapped;
}

static _Atomic int *map_words(int file) {
  _Atomic int *words = mmap(NULL, OBJECTS * 4096, PROT_READ | PROT_WRITE, MAP_SHARED | (file < 0 ? MAP_ANONYMOUS : 0), file, 0);
  if (words == MAP_FAILED) die("mmap");
  return words;
}

static void pause_for(long millis) {
  struct timespec rest = {millis / 1000, millis % 1000 * 1000000};
  while (nanosleep(&rest, &rest) && errno == EINTR) {
  }
}

static void futex_wait(_Atomic int *word, int seen, int private) {
  syscall(SYS_futex, word, FUTEX_WAIT | (private ? FUTEX_PRIVATE_FLAG : 0), seen, NULL, NULL, 0);
}

static void futex_wake(_Atomic int *word, int count, int private) {
  syscall(SYS_futex, word, FUTEX_WAKE | (private ? FUTEX_PRIVATE_FLAG : 0), count, NULL, NULL, 0);
}

static void take(_Atomic int *word, int private) {
  for (;;) {
    int seen = *word;
    if (seen > 0 && atomic_compare_exchange_strong(word, &seen, seen - 1)) return;
    if (seen <= 0) futex_wait(word, seen, private);
  }
}

static void add(_Atomic int *word, int private) {
  atomic_fetch_add(word, 1);
  // All of them: one alone may be killed between its wake-up and its turn, and then the others would sleep on.
  futex_wake(word, INT_MAX, private);
}

// Free, locked, locked with waiters.
static void lock(_Atomic int *word) {
  int seen = 0;
  if (atomic_compare_exchange_strong(word, &seen, 1)) return;
  while (atomic_exchange(word, 2)) futex_wait(word, 2, 1);
}

// Whether it was locked.
static int unlock(_Atomic int *word) {
  int seen = atomic_exchange(word, 0);
  if (seen == 2) futex_wake(word, 1, 1);
  return seen > 0;
}

static _Atomic int *semaphore(int n) {
  if (is(&objects[n], 1, "shared")) return shared_word + n * 1024;
  if (is(&objects[n], 1, "outside")) return outside_word + n * 1024;
  return private_word[n];
}

static int is_private(int n) { return !is(&objects[n], 1, "shared") && !is(&objects[n], 1, "outside"); }

static void close_end(int n, int which) {
  if (fd[n][which] >= 0) close(fd[n][which]);
  fd[n][which] = -1;
}

// A taker may note it before the giver: only the sum counts.
static void note(int n, int side, int change) { noted->count[n][side] += change; }

// Which of the finite times of a script are short is chosen by place: the others outlast every observation.
static long rest_of(int thread, int at) { return (me * 7 + thread * 3 + at) % 2 ? 60 + 40 * at : 3600 * 1000; }

// By poll, by select or by epoll: to the kernel each is another wait.
static void wait_by_poll(const int *list, int count, int millis) {
  struct pollfd watched[WORDS];
  for (int n = 0; n < count; n++) watched[n] = (struct pollfd){.fd = list[n], .events = POLLIN};
  while (poll(watched, count, millis) < 0 && errno == EINTR) {
  }
}

static void wait_by_select(const int *list, int count, int millis) {
  fd_set watched;
  do {
    FD_ZERO(&watched);
    for (int n = 0; n < count; n++) FD_SET(list[n], &watched);
    struct timeval rest = {millis / 1000, millis % 1000 * 1000};
    if (select(64, &watched, NULL, NULL, millis < 0 ? NULL : &rest) >= 0) return;
  } while (errno == EINTR);
}

static void wait_by_epoll(const int *list, int count, int millis, int nested) {
  int inner = epoll_create1(EPOLL_CLOEXEC), outer = nested ? epoll_create1(EPOLL_CLOEXEC) : -1;
  struct epoll_event event = {.events = EPOLLIN};
  for (int n = 0; n < count; n++)
    if (epoll_ctl(inner, EPOLL_CTL_ADD, list[n], &event) && errno != EEXIST) die("epoll_ctl");
  if (nested && epoll_ctl(outer, EPOLL_CTL_ADD, inner, &event)) die("epoll_ctl");
  while (epoll_wait(nested ? outer : inner, &event, 1, millis) < 0 && errno == EINTR) {
  }
  close(inner);
  if (nested) close(outer);
}

static void wait_for_any(const line *op, int thread, int at) {
  int list[WORDS], count = 0, timed = is(op, op->words - 1, "timer");
  for (int w = 1; w < op->words - timed; w++) {
    int n = atoi(op->word[w]), side = op->word[w][1] == 'b';
    // The kernel passes over a closed descriptor, the model returns at once.
    if (fd[n][side] < 0) return;
    list[count++] = fd[n][side];
  }
  int millis = timed ? (int)rest_of(thread, at) : -1;
  switch ((me + thread + at + object_count) % 4) {
    case 0: return wait_by_poll(list, count, millis);
    case 1: return wait_by_select(list, count, millis);
    case 2: return wait_by_epoll(list, count, millis, 0);
    default: return wait_by_epoll(list, count, millis, 1);
  }
}

static void child(const line *op) {
  if (is(op, 1, "any")) {
    while (waitpid(-1, NULL, 0) < 0 && errno == EINTR) {
    }
    return;
  }
  int n = atoi(op->word[1]);
  if (parent[n] != me) return;
  while (waitpid(noted->pid[n], NULL, 0) < 0 && errno == EINTR) {
  }
}

// A pipe is read by read, readv or splice to a file that takes all.
static ssize_t read_pipe(int from, char *message) {
  static int nowhere = -1;
  struct iovec part = {message, MESSAGE};
  switch ((me * 2 + object_count) % 6) {
    case 0:
    case 1: return readv(from, &part, 1);
    case 2:
      if (nowhere < 0) nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
      return splice(from, NULL, nowhere, NULL, MESSAGE, 0);
    default: return read(from, message, MESSAGE);
  }
}

static void move_data(const line *op, int n) {
  char message[MESSAGE] = {0};
  unsigned long long one = 1;
  if (is(op, 0, "read")) {
    if (fd[n][0] >= 0 && read_pipe(fd[n][0], message) > 0) note(n, 0, -1);
  } else if (is(op, 0, "write")) {
    if (fd[n][1] >= 0 && write(fd[n][1], message, MESSAGE) > 0) note(n, 0, 1);
  } else if (is(op, 0, "take")) {
    if (read(fd[n][0], &one, sizeof one) > 0) note(n, 0, -1);
  } else if (is(op, 0, "put")) {
    if (write(fd[n][0], &one, sizeof one) > 0) note(n, 0, 1);
  } else {
    int side = is(op, 2, "b");
    if (fd[n][side] < 0) return;
    if (is(op, 0, "recv")) {
      if (recv(fd[n][side], message, 1, 0) > 0) note(n, side, -1);
    } else if (noted->count[n][!side] < MESSAGES_MAX && send(fd[n][side], message, 1, 0) > 0) {
      note(n, !side, 1);
    }
  }
}

static void compute(void) {
  for (volatile int n = 0; n < 200000; n++) {
  }
}

static void on_memory(const line *op, int n) {
  if (is(op, 0, "lock")) {
    lock(private_word[n]);
    note(n, 0, 1);
  } else if (is(op, 0, "unlock")) {
    if (unlock(private_word[n])) note(n, 0, -1);
  } else if (is(op, 0, "wait")) {
    take(semaphore(n), is_private(n));
    note(n, 0, -1);
  } else {
    note(n, 0, 1);
    add(semaphore(n), is_private(n));
  }
}

static void perform(const line *op, int thread, int at) {
  const char *verb = op->word[0];
  int n = atoi(op->word[1]);
  if (!strcmp(verb, "close")) {
    int which = is(op, 2, "w") || is(op, 2, "b");
    close_end(n, which);
    noted->closed[me][n] |= which ? WRITE : READ;
  } else if (strstr("read write take put recv send", verb)) {
    move_data(op, n);
  } else if (strstr("lock unlock wait post", verb)) {
    on_memory(op, n);
  } else if (!strcmp(verb, "poll")) {
    wait_for_any(op, thread, at);
  } else if (!strcmp(verb, "sleep")) {
    pause_for(rest_of(thread, at));
  } else if (!strcmp(verb, "child")) {
    child(op);
  } else if (!strcmp(verb, "join")) {
    while (!ended[n][0]) futex_wait(ended[n], 0, 1);
  } else if (!strcmp(verb, "kill") || !strcmp(verb, "usr1")) {
    // By descriptor: the number may be another's by now.
    syscall(SYS_pidfd_send_signal, pidfd[n], *verb == 'k' ? SIGKILL : SIGUSR1, NULL, 0);
  } else if (!strcmp(verb, "alarm")) {
    long millis = rest_of(thread, at);
    struct itimerval timer = {.it_value = {millis / 1000, millis % 1000 * 1000}};
    noted->alarm[me] = 1;
    if (setitimer(ITIMER_REAL, &timer, NULL)) die("setitimer");
  } else if (!strcmp(verb, "pause")) {
    pause();
  } else if (!strcmp(verb, "step")) {
    compute();
  } else {
    die(verb);
  }
}

static void *thread(void *number) {
  int t = (int)(long)number;
  for (int at = 0; at < op_count[me][t];) {
    noted->at[me][t] = at;
    if (is(&ops[me][t][at], 0, "again")) {
      pause_for(10);
      at = 0;
      continue;
    }
    perform(&ops[me][t][at], t, at);
    at++;
  }
  noted->at[me][t] = ENDED;
  ended[t][0] = 1;
  futex_wake(ended[t], THREADS, 1);
  return NULL;
}

// Bits of the ends that this operation uses, as the model counts them.
static int uses(const line *op, int n) {
  int bits = 0;
  if (is(op, 0, "poll")) {
    for (int w = 1; w < op->words; w++)
      if (op->word[w][0] != 't' && atoi(op->word[w]) == n) bits |= op->word[w][1] == 'b' ? WRITE : READ;
    return bits;
  }
  if (op->words < 2 || atoi(op->word[1]) != n || !strstr("read write take put recv send close", op->word[0])) return 0;
  if (is(op, 0, "write") || is(op, 2, "w") || is(op, 2, "b")) return WRITE;
  return READ;
}

static void keep_what_is_used(void) {
  for (int n = 0; n < object_count; n++) {
    int bits = 0;
    for (int t = 0; t < thread_count[me]; t++)
      for (int at = 0; at < op_count[me][t]; at++) bits |= uses(&ops[me][t][at], n);
    if (!(bits & READ)) close_end(n, 0);
    if (!(bits & WRITE)) close_end(n, 1);
  }
}

static void on_usr1(int number) { (void)number; }

// Work is due, so that a wait for nothing is no rest. Without a sidecar nobody listens.
static void tell_the_task(void) {
  struct sockaddr_un there = {.sun_family = AF_UNIX};
  const char *path = getenv("HB_SOCKET");
  if (!path || strlen(path) >= sizeof there.sun_path) return;
  strcpy(there.sun_path, path);
  int end = socket(AF_UNIX, SOCK_STREAM, 0);
  if (connect(end, (struct sockaddr *)&there, sizeof there) || dprintf(end, "task=\"a random script\" state=working\n") < 0) perror(path);
  close(end);
}

static void meet(int count) {
  noted->ready++;
  while (noted->ready < count) pause_for(1);
}

static void play(void) {
  noted->pid[me] = getpid();
  // A child's number is higher than its parent's, so it goes on in this loop with its own children.
  for (int n = 0; n < process_count; n++) {
    if (parent[n] != me) continue;
    pid_t pid = fork();
    if (pid < 0) die("fork");
    if (!pid) noted->pid[me = n] = getpid();
  }
  meet(process_count);
  keep_what_is_used();
  for (int n = 0; n < process_count; n++)
    if ((pidfd[n] = (int)syscall(SYS_pidfd_open, noted->pid[n], 0)) < 0) die("pidfd_open");
  struct sigaction action = {.sa_handler = handles[me] ? on_usr1 : SIG_IGN, .sa_flags = SA_RESTART};
  sigaction(SIGUSR1, &action, NULL);
  signal(SIGPIPE, SIG_IGN);
  meet(2 * process_count);
  noted->playing = 1;
  pthread_t other;
  for (long t = 1; t < thread_count[me]; t++)
    if (pthread_create(&other, NULL, thread, (void *)t)) die("pthread_create");
  thread(0);
  // The process ends with its last thread.
  pthread_exit(NULL);
}

static void make(int n, int outside) {
  const line *object = &objects[n];
  if (is(object, 1, "outside") != outside) return;
  if (is(object, 0, "pipe")) {
    // Room for one message.
    if (pipe(fd[n]) || fcntl(fd[n][0], F_SETPIPE_SZ, MESSAGE) < 0) die("pipe");
  } else if (is(object, 0, "event")) {
    if ((fd[n][0] = eventfd(0, EFD_SEMAPHORE)) < 0) die("eventfd");
  } else if (is(object, 0, "pair")) {
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd[n])) die("socketpair");
  }
}

static int outside(char **command) {
  char name[64], value[16];
  int file = memfd_create("words", 0);
  if (file < 0 || ftruncate(file, OBJECTS * 4096)) die("memfd_create");
  outside_word = map_words(file);
  snprintf(value, sizeof value, "%d", file);
  setenv("SCRIPT_WORDS", value, 1);
  for (int n = 0; n < object_count; n++) {
    make(n, 1);
    for (int which = 0; which < 2; which++) {
      snprintf(name, sizeof name, "SCRIPT_FD_%d_%d", n, which);
      snprintf(value, sizeof value, "%d", fd[n][which]);
      setenv(name, value, 1);
    }
  }
  pid_t pid = fork();
  if (!pid) {
    execv(command[0], command);
    die(command[0]);
  }
  int status;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 97;
}

static int number(const char *name) {
  const char *value = getenv(name);
  return value ? atoi(value) : -1;
}

int main(int count, char **argument) {
  if (count < 4) return 96;
  parse(argument[2]);
  memset(fd, -1, sizeof fd);
  if (!strcmp(argument[1], "outside")) return outside(argument + 4);
  int file = number("SCRIPT_WORDS");
  if (file >= 0) outside_word = map_words(file), close(file);
  shared_word = map_words(-1);
  for (int n = 0; n < object_count; n++) {
    char name[64];
    make(n, 0);
    for (int which = 0; which < 2; which++) {
      snprintf(name, sizeof name, "SCRIPT_FD_%d_%d", n, which);
      if (is(&objects[n], 1, "outside")) fd[n][which] = number(name);
    }
  }
  noted = map_page(argument[3]);
  tell_the_task();
  play();
  return 0;
}
