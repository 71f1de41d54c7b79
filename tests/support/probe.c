// What runs in the tests' container beside busybox. Static: the image has no compiler and no more libraries than needed.
//   probe listen              says "ready", then every signal it gets, with code and value; ends at TERM with 42
//   probe send PID            one of each signal that a process can be sent and survive, real-time ones with a value
//   probe orphans N SEED CODE N children and N orphaned grandchildren end with random codes; counts what went wrong
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int listen_to_all(void) {
    sigset_t all;
    siginfo_t got;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    puts("ready");
    for (;;) {
        int signal = sigwaitinfo(&all, &got);
        if (signal < 0) continue;
        printf("signal %d value %d\n", signal, got.si_code == SI_QUEUE ? got.si_value.sival_int : 0);
        if (signal == SIGTERM) return 42;
    }
}

// Stops and faults speak of the process that has them, CHLD of its children, KILL and STOP cannot be caught.
static int is_passed_on(int signal) {
    static const int own[] = {SIGKILL, SIGSTOP, SIGCHLD, SIGTSTP, SIGTTIN, SIGTTOU, SIGSEGV, SIGBUS,
                              SIGFPE,  SIGILL,  SIGTRAP, SIGABRT, SIGSYS,  SIGTERM};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (signal == own[i]) return 0;
    return signal < 32 || signal >= SIGRTMIN;
}

static int send_all(pid_t to) {
    for (int signal = 1; signal <= SIGRTMAX; signal++) {
        if (!is_passed_on(signal)) continue;
        union sigval value = {.sival_int = 1000 + signal};
        int failed = signal >= SIGRTMIN ? sigqueue(to, signal, value) : kill(to, signal);
        if (failed) return perror("probe send"), 1;
        printf("sent %d\n", signal);
    }
    return 0;
}

// Others: every process but PID 1 and this one. Zombies among them are counted apart.
static void count(int *others, int *zombies) {
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    *others = *zombies = 0;
    while (proc && (entry = readdir(proc))) {
        char path[300], text[512] = "", *state;
        int pid = atoi(entry->d_name);
        if (!isdigit((unsigned char)*entry->d_name) || pid == 1 || pid == getpid()) continue;
        snprintf(path, sizeof path, "/proc/%d/stat", pid);
        FILE *stat = fopen(path, "r");
        if (!stat) continue;
        if (fread(text, 1, sizeof text - 1, stat) == 0) *text = 0;
        fclose(stat);
        state = strrchr(text, ')');
        if (!state) continue;
        ++*others;
        if (state[2] == 'Z') ++*zombies;
    }
    closedir(proc);
}

static int orphans(int number, unsigned seed, int code) {
    int wrong = 0, others, zombies;
    srand(seed);
    for (int i = 0; i < number; i++) {
        int of_child = rand() % 256, of_orphan = rand() % 256, pause = rand() % 20000, status;
        pid_t child = fork();
        if (child < 0) return perror("probe orphans: fork"), 1;
        if (child == 0) {
            pid_t orphan = fork();
            if (orphan == 0) {
                usleep(pause);
                _exit(of_orphan);
            }
            _exit(orphan < 0 ? 254 : of_child);
        }
        if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != of_child) wrong++;
    }
    time_t until = time(NULL) + 10;
    do {
        usleep(20000);
        count(&others, &zombies);
    } while (others && time(NULL) < until);
    printf("wrong %d left %d zombies %d\n", wrong, others, zombies);
    return code;
}

int main(int count, char **words) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (count == 2 && !strcmp(words[1], "listen")) return listen_to_all();
    if (count == 3 && !strcmp(words[1], "send")) return send_all(atoi(words[2]));
    if (count == 5 && !strcmp(words[1], "orphans"))
        return orphans(atoi(words[2]), (unsigned)strtoul(words[3], NULL, 10), atoi(words[4]));
    return 99;
}
