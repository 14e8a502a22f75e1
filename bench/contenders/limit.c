/* The limit: what the kernel itself takes for one send() a message. No protocol beyond what the load
 * needs, no checks, one frame built once a change. Arguments and commands as in sora.py, and of options:
 *
 *   deflate   compress each change, once for all
 *   skip      leave out for good whom a send() finds full; else wait for them
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

enum { FDS_MAX = 1 << 17, FRAME_MAX = 4096, EVENTS = 64, BACKLOG = 4096 };
enum { BEAT_US = 30000000 };
enum step { HANDSHAKE, AUTH, SUBSCRIBE, DONE };

static enum step steps[FDS_MAX];
static int readers[FDS_MAX], reader_count, open_count;
static const char *template;
static long tasks;
static bool deflates, skips;
static z_stream compressor;

/* What is being published. */
static long left, count, together, interval_us;
static int64_t begin, last_seq;
static int due_timer;

/* The longest turn of the loop while somebody wants to know it. */
static bool probing;
static int64_t turn_began, longest;

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
}

static void say(const char *what, int64_t value) {
    printf("{\"%s\":%" PRId64 "}\n", what, value);
    fflush(stdout);
}

/* False where the socket is full and `waits` is not, or where it is gone. */
static bool push(int fd, const char *data, size_t size, bool waits) {
    while (size) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN && waits) {
            struct pollfd writable = {.fd = fd, .events = POLLOUT};
            poll(&writable, 1, -1);
        } else if (sent < 0 || (!waits && (size_t)sent < size)) {
            return false;
        } else {
            data += sent;
            size -= sent;
        }
    }
    return true;
}

static void push_to_all(const char *data, size_t size) {
    int kept = 0;
    for (int r = 0; r < reader_count; r++)
        if (push(readers[r], data, size, !skips)) readers[kept++] = readers[r];
    reader_count = kept;
}

static size_t frame_of(char *frame, int first_byte, const char *text, size_t size) {
    size_t head = size < 126 ? 2 : 4;
    frame[0] = first_byte;
    frame[1] = size < 126 ? size : 126;
    if (head == 4) {
        frame[2] = size >> 8;
        frame[3] = size;
    }
    memcpy(frame + head, text, size);
    return head + size;
}

static size_t text_frame(char *frame, const char *text, size_t size) {
    return frame_of(frame, 0x81, text, size);
}

/* As RFC 7692 section 7.2.1 has it, without a context over messages. */
static size_t compressed_frame(char *frame, const char *text, size_t size) {
    char data[FRAME_MAX];
    deflateReset(&compressor);
    compressor.next_in = (void *)text;
    compressor.avail_in = size;
    compressor.next_out = (void *)data;
    compressor.avail_out = sizeof data;
    deflate(&compressor, Z_SYNC_FLUSH);
    return frame_of(frame, 0xc1, data, sizeof data - compressor.avail_out - 4);
}

static size_t state_frame(char *frame, int64_t seq) {
    char text[FRAME_MAX];
    const char *hole = strstr(template, "SEQ");
    int size = snprintf(text, sizeof text, "%.*s%" PRId64 "%s", (int)(hole - template), template, seq, hole + 3);
    return deflates ? compressed_frame(frame, text, size) : text_frame(frame, text, size);
}

static void reply(int fd, const char *text) {
    char frame[FRAME_MAX];
    push(fd, frame, text_frame(frame, text, strlen(text)), true);
}

static void accept_handshake(int fd) {
    char answer[512];
    int size = snprintf(
        answer, sizeof answer,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n%s\r\n",
        deflates ? "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n" : "");
    push(fd, answer, size, true);
}

static void subscribe(int fd, bool is_crowd) {
    char frame[FRAME_MAX];
    reply(fd, "{\"type\":\"subscribeSuccess\"}");
    for (long i = 0; i < (is_crowd ? 1 : tasks); i++) push(fd, frame, state_frame(frame, 1), true);
    if (!is_crowd) readers[reader_count++] = fd;
}

static void on_input(int fd) {
    char input[8192];
    ssize_t n = recv(fd, input, sizeof input, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN) close(fd), open_count--;
        return;
    }
    if (steps[fd] == HANDSHAKE) accept_handshake(fd);
    else if (steps[fd] == AUTH) reply(fd, "{\"type\":\"authSuccess\"}");
    else if (steps[fd] == SUBSCRIBE) subscribe(fd, memmem(input, n, "\"crowd\"", 7) != NULL);
    if (steps[fd] != DONE) steps[fd]++;
}

static void wake_at(int timer, int64_t due, int64_t every) {
    struct itimerspec when = {
        {every / 1000000, every % 1000000 * 1000},
        {due / 1000000, due % 1000000 * 1000},
    };
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
}

/* The next group of changes; between two of them others have their turn. */
static void publish_group(void) {
    char frame[FRAME_MAX];
    int64_t due = interval_us ? begin + (count - left) / together * interval_us : now_us();
    for (long i = 0; i < together; i++) {
        last_seq = due > last_seq ? due : last_seq + 1;
        push_to_all(frame, state_frame(frame, last_seq));
    }
    left -= together;
    if (left > 0) wake_at(due_timer, interval_us ? due + interval_us : now_us(), 0);
    else say("published", count);
}

static void beat(void) {
    static const char heartbeat[] = "{\"type\":\"heartbeat\",\"payload\":{\"connectedClients\":10000,\"uptime\":1000.123}}";
    char frames[FRAME_MAX];
    size_t size = text_frame(frames, heartbeat, sizeof heartbeat - 1);
    size += frame_of(frames + size, 0x89, "", 0);
    push_to_all(frames, size);
}

/* Everybody is told that the server goes: the longest that it takes is all of it. */
static void leave(void) {
    char frame[FRAME_MAX];
    int64_t start = now_us();
    push_to_all(frame, frame_of(frame, 0x88, "\x03\xe9", 2));
    say("held_us", now_us() - start);
}

static void obey(const char *command) {
    if (sscanf(command, "publish %ld %ld %ld", &count, &together, &interval_us) == 3) {
        left = count;
        begin = now_us();
        wake_at(due_timer, begin, 0);
    } else if (!strcmp(command, "probe")) {
        longest = 0;
        probing = true;
        say("probing", 1);
    } else if (!strcmp(command, "held")) {
        probing = false;
        say("held_us", longest);
    } else if (!strcmp(command, "lines")) {
        say("lines", open_count);
    } else if (!strcmp(command, "leave")) {
        leave();
    } else {
        exit(3);
    }
}

/* Written as whole lines; two of them may have come together. */
static void on_commands(void) {
    char input[256];
    ssize_t n = read(STDIN_FILENO, input, sizeof input - 1);
    if (n <= 0) exit(0);
    input[n] = 0;
    for (char *command = strtok(input, "\n"); command; command = strtok(NULL, "\n")) obey(command);
}

static void watch(int epoll, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static void let_in(int epoll, int door) {
    int fd = accept4(door, NULL, NULL, SOCK_NONBLOCK), on = 1;
    if (fd < 0) return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    steps[fd] = HANDSHAKE;
    open_count++;
    watch(epoll, fd);
}

static int listening(void) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int door = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(door, (void *)&address, size) || listen(door, BACKLOG)) exit(1);
    getsockname(door, (void *)&address, &size);
    say("port", ntohs(address.sin_port));
    return door;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    tasks = atol(argv[1]);
    template = argv[2];
    for (int i = 3; i < argc; i++) {
        deflates |= !strcmp(argv[i], "deflate");
        skips |= !strcmp(argv[i], "skip");
    }
    if (deflates && deflateInit2(&compressor, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -12, 5, Z_DEFAULT_STRATEGY)) return 1;
    int epoll = epoll_create1(0), door = listening(), beat_timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    due_timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    wake_at(beat_timer, now_us() + BEAT_US, BEAT_US);
    int sources[] = {door, STDIN_FILENO, beat_timer, due_timer};
    for (int i = 0; i < 4; i++) watch(epoll, sources[i]);

    struct epoll_event events[EVENTS];
    uint64_t expirations;
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS, -1);
        turn_began = now_us();
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == STDIN_FILENO) on_commands();
            else if (fd == door) let_in(epoll, door);
            else if (fd == due_timer) { if (read(fd, &expirations, 8) == 8) publish_group(); }
            else if (fd == beat_timer) { if (read(fd, &expirations, 8) == 8) beat(); }
            else on_input(fd);
        }
        if (probing && now_us() - turn_began > longest) longest = now_us() - turn_began;
    }
}
