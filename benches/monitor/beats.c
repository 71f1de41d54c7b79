/* Publishes beats of many agents over one connection, or receives them and does nothing with them.

   beats publish PORT SHAPE AGENTS RATE SECONDS   RATE 0: as fast as Redis takes them
   beats discard PORT WAIT_MS                     until SIGTERM; WAIT_MS: pause after each read
   beats fetch PORT PATH COUNT                    GET over HTTP, so many times; prints the median and the 99th percentile in ms, and the bytes

   SHAPE: same      a sidecar's beat; from beat to beat only time, sequence and slot change
          varying   its figures, progress and evidence change too, as a real sidecar's do
          foreign   varying, with a key that no decoder of hb knows
          seed      a beat without the object hb
   Each agent keeps its interval of 30 s in its slots, whatever the rate: extra beats are beats between two slots.
   Before the clock starts each agent has sent one beat. Prints one line of figures. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { UNANSWERED_MAX = 8192, OUT_BYTES = 1 << 20, DIGITS_MAX = 64 };

/* A command whose changing digits are marked by a byte below ' ' each, so that a beat costs the generator little. */
enum mark { TIME = 1, SEQUENCE, SLOT, FIGURE };
struct command {
    char *text;
    int length;
    uint64_t sequence;
};
static struct { int at, digits; enum mark mark; } fields[DIGITS_MAX];

static int64_t now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int dial(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static int body(char *out, size_t size, const char *shape, int agent)
{
    int is_seed = !strcmp(shape, "seed"), varies = strcmp(shape, "same") != 0;
    int n = snprintf(out, size,
        "{\"agentId\":\"agent-%06d\",\"agentType\":\"writer\",\"timestamp\":\1\1\1\1\1\1\1\1\1\1\1\1\1,"
        "\"sequence\":\2\2\2\2\2\2\2\2\2,\"status\":\"healthy\",\"metrics\":{\"cpuPercent\":%s,\"memoryMB\":%s,"
        "\"activeTasks\":1,\"queueDepth\":0,\"tokensUsedThisHour\":%s,\"errorsLast5Min\":0},"
        "\"currentTask\":\"index repo\",\"taskProgress\":%s",
        agent, varies ? "\4.\4" : "3.1", varies ? "1\4\4.0" : "182.0", varies ? "51\4\4" : "5120",
        varies ? "4\4.0" : "42.0");
    if (!is_seed)
        n += snprintf(out + n, size - n,
            ",\"hb\":{\"v\":1,\"intervalMs\":30000,\"epoch\":7,\"slot\":\3\3\3\3\3\3\3\3\3,"
            "\"instance\":\"5b1c9a52-4f2e-4c53-9a62-0b8a3c%06d\",\"host\":\"node-%d\",\"pid\":%d,"
            "\"startedAt\":1763990000000,\"restarts\":0,\"ready\":true,\"activity\":{\"verdict\":\"working\","
            "\"since\":1763999990000,\"cause\":\"progress\",\"confidence\":\"none\",\"evidence\":"
            "[{\"signal\":\"tcp.bytes_received\",\"value\":\"%s kB in 30 s\",\"source\":\"observed\"}]},"
            "\"runtime\":{\"kind\":\"docker\",\"id\":\"3fa\"},\"exit\":null,\"life\":{\"step\":1,\"phase\":\"running\","
            "\"since\":1763990000000,\"incarnation\":0},\"order\":null%s}",
            agent, agent % 50, 4711 + agent % 30000, varies ? "1\4" : "18", !strcmp(shape, "foreign") ? ",\"later\":1" : "");
    return n + snprintf(out + n, size - n, "}");
}

static void make(struct command *command, const char *shape, int agent)
{
    char json[2048], text[4096];
    int length = body(json, sizeof json, shape, agent);
    command->length = snprintf(text, sizeof text, "*3\r\n$7\r\nPUBLISH\r\n$10\r\nheartbeats\r\n$%d\r\n%s\r\n", length, json);
    command->text = malloc(command->length);
    if (!command->text) die("malloc");
    memcpy(command->text, text, command->length);
    command->sequence = 100000000;
}

/* Where a command has its marks. */
static int find_fields(const struct command *command)
{
    int found = 0;
    for (int at = 0; at < command->length; at++) {
        unsigned char c = command->text[at];
        if (c >= ' ' || c == '\r' || c == '\n') continue;
        fields[found].at = at;
        fields[found].mark = c;
        for (fields[found].digits = 0; command->text[at] == c; at++) fields[found].digits++;
        if (++found == DIGITS_MAX) break;
    }
    return found;
}

static void digits(char *at, int count, uint64_t value)
{
    for (; count > 0; value /= 10) at[--count] = '0' + value % 10;
}

static void render(char *out, const struct command *command, const int *places, int count, int64_t ms, uint64_t slot, uint32_t *random)
{
    memcpy(out, command->text, command->length);
    for (int i = 0; i < count; i++) {
        uint64_t value = 0;
        switch (fields[i].mark) {
        case TIME: value = ms; break;
        case SEQUENCE: value = command->sequence; break;
        case SLOT: value = 100000000 + slot; break;
        case FIGURE: *random = *random * 1664525 + 1013904223; value = *random >> 16; break;
        }
        digits(out + places[i], fields[i].digits, value);
        if (fields[i].mark == FIGURE && out[places[i]] == '0') out[places[i]] = '1'; /* JSON has no leading zeros */
    }
}

struct link { int fd; char *out; int have, sent; uint64_t queued, answered; };

static void exchange(struct link *link, int wait_ms)
{
    static char in[1 << 16];
    struct pollfd p = {link->fd, POLLIN | (link->have > link->sent ? POLLOUT : 0), 0};
    if (poll(&p, 1, wait_ms) < 0 && errno != EINTR) die("poll");
    if (p.revents & POLLOUT) {
        ssize_t n = write(link->fd, link->out + link->sent, link->have - link->sent);
        if (n < 0 && errno != EAGAIN) die("write");
        if (n > 0) link->sent += n;
        if (link->sent == link->have) link->sent = link->have = 0;
    }
    if (p.revents & (POLLIN | POLLHUP)) {
        ssize_t n = read(link->fd, in, sizeof in);
        if (n == 0 || (n < 0 && errno != EAGAIN)) die("read");
        for (ssize_t i = 0; i < n; i++) link->answered += in[i] == '\n';
    }
}

static void publish(int port, const char *shape, int agents, double rate, double seconds)
{
    struct command *commands = calloc(agents, sizeof *commands);
    int (*places)[DIGITS_MAX] = malloc(agents * sizeof *places), count = 0;
    for (int i = 0; i < agents; i++) {
        make(&commands[i], shape, i);
        count = find_fields(&commands[i]);
        for (int k = 0; k < count; k++) places[i][k] = fields[k].at;
    }
    struct link link = {.fd = dial(port), .out = malloc(OUT_BYTES)};
    fcntl(link.fd, F_SETFL, O_NONBLOCK);
    prctl(PR_SET_TIMERSLACK, 1);
    uint32_t random = 1;
    int at = 0;
    const int64_t began = now_ns(CLOCK_MONOTONIC);
    int64_t start = 0, end = 0;
    double pace = agents < 20000 ? 20000 : 50000;
    for (uint64_t first = agents;;) { /* one beat each, then the measurement */
        int64_t now = now_ns(CLOCK_MONOTONIC);
        if (!start && link.answered == first) {
            usleep(500000);
            start = now = now_ns(CLOCK_MONOTONIC);
            end = start + (int64_t)(seconds * 1e9);
            pace = rate;
            printf("start\n");
            fflush(stdout);
        }
        if (start && now >= end && link.answered == link.queued) break;
        uint64_t due;
        if (!start) due = (now - began) / 1e9 * pace < first ? (now - began) / 1e9 * pace : first;
        else if (now >= end) due = 0;
        else due = pace > 0 ? first + (uint64_t)((now - start) / 1e9 * pace) : UINT64_MAX;
        if (!start && (now - began) / 1e9 * pace > first) due = first;
        int64_t ms = now_ns(CLOCK_REALTIME) / 1000000;
        while (link.queued < due && link.queued - link.answered < UNANSWERED_MAX && link.have + 4096 < OUT_BYTES) {
            uint64_t slot = (now - began + INT64_C(30000000000) * at / agents) / INT64_C(30000000000);
            render(link.out + link.have, &commands[at], places[at], count, ms, slot, &random);
            commands[at].sequence++;
            link.have += commands[at].length;
            link.queued++;
            at = at + 1 == agents ? 0 : at + 1;
            if (pace > 0 && pace <= 40000) break; /* at a real rate each beat is a packet of its own */
        }
        int is_ahead = pace > 0 && link.queued >= due && link.have == link.sent;
        if (is_ahead && link.answered == link.queued) usleep(pace <= 40000 ? 10 : 200);
        exchange(&link, link.answered == link.queued && link.have == link.sent ? 0 : 1);
    }
    double took = (now_ns(CLOCK_MONOTONIC) - start) / 1e9;
    printf("published %lu measured %lu seconds %.3f bytes %d\n", link.queued, link.queued - agents, took, commands[0].length);
}

static volatile sig_atomic_t ended;
static void end(int signal) { (void)signal; ended = 1; }

static void discard(int port, int wait_ms)
{
    static char in[1 << 20];
    const char *subscribe = "*2\r\n$9\r\nSUBSCRIBE\r\n$10\r\nheartbeats\r\n";
    struct sigaction action = {.sa_handler = end};
    sigaction(SIGTERM, &action, NULL);
    int fd = dial(port);
    if (write(fd, subscribe, strlen(subscribe)) < 0) die("write");
    uint64_t beats = 0;
    while (!ended) {
        ssize_t n = read(fd, in, sizeof in);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) die("read");
        for (char *p = in; (p = memchr(p, '*', in + n - p)); p++) beats++;
        if (wait_ms) usleep(wait_ms * 1000);
    }
    printf("beats %lu\n", beats - 1); /* the first is the confirmation */
}

static int by_value(const void *a, const void *b)
{
    double difference = *(const double *)a - *(const double *)b;
    return (difference > 0) - (difference < 0);
}

static void fetch(int port, const char *path, int count)
{
    static char in[1 << 20];
    double *took = calloc(count, sizeof *took);
    int64_t bytes = 0;
    char request[512];
    int length = snprintf(request, sizeof request, "GET %s HTTP/1.0\r\nHost: 127.0.0.1:%d\r\n\r\n", path, port);
    for (int i = 0; i < count; i++) {
        usleep(60000); /* the next snapshot */
        int64_t began = now_ns(CLOCK_MONOTONIC);
        int fd = dial(port);
        if (write(fd, request, length) < 0) die("write");
        ssize_t n;
        for (bytes = 0; (n = read(fd, in, sizeof in)) > 0; bytes += n) {}
        if (n < 0) die("read");
        close(fd);
        took[i] = (now_ns(CLOCK_MONOTONIC) - began) / 1e6;
    }
    qsort(took, count, sizeof *took, by_value);
    printf("median %.3f p99 %.3f bytes %ld\n", took[count / 2], took[count * 99 / 100], bytes);
}

int main(int argc, char **argv)
{
    if (argc == 7 && !strcmp(argv[1], "publish"))
        publish(atoi(argv[2]), argv[3], atoi(argv[4]), atof(argv[5]), atof(argv[6]));
    else if (argc == 4 && !strcmp(argv[1], "discard"))
        discard(atoi(argv[2]), atoi(argv[3]));
    else if (argc == 5 && !strcmp(argv[1], "fetch"))
        fetch(atoi(argv[2]), argv[3], atoi(argv[4]));
    else {
        fprintf(stderr, "beats publish PORT SHAPE AGENTS RATE SECONDS | discard PORT WAIT_MS | fetch PORT PATH COUNT\n");
        return 2;
    }
    return 0;
}
