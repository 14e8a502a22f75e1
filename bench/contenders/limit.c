/* The limit: what the kernel itself takes for one send() a message. No protocol beyond what the
 * load needs, no checks, one frame built once a change. Arguments and commands as in sora.py.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { FDS_MAX = 1 << 17, FRAME_MAX = 4096, EVENTS = 256 };
enum step { HANDSHAKE, AUTH, SUBSCRIBE, DONE };

static enum step steps[FDS_MAX];
static int readers[FDS_MAX], reader_count;
static const char *template;
static long tasks;

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
}

static void push(int fd, const char *data, size_t size) {
    while (size) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            struct pollfd writable = {.fd = fd, .events = POLLOUT};
            poll(&writable, 1, -1);
        } else if (sent < 0) {
            return;
        } else {
            data += sent;
            size -= sent;
        }
    }
}

static size_t text_frame(char *frame, const char *text, size_t size) {
    size_t head = size < 126 ? 2 : 4;
    frame[0] = (char)0x81;
    frame[1] = size < 126 ? size : 126;
    if (head == 4) {
        frame[2] = size >> 8;
        frame[3] = size;
    }
    memcpy(frame + head, text, size);
    return head + size;
}

static size_t state_frame(char *frame, int64_t seq) {
    char text[FRAME_MAX];
    const char *hole = strstr(template, "SEQ");
    int size = snprintf(text, sizeof text, "%.*s%" PRId64 "%s", (int)(hole - template), template, seq, hole + 3);
    return text_frame(frame, text, size);
}

static void reply(int fd, const char *text) {
    char frame[FRAME_MAX];
    push(fd, frame, text_frame(frame, text, strlen(text)));
}

static void on_input(int fd) {
    static const char accepted[] =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    char input[8192], frame[FRAME_MAX];
    ssize_t n = recv(fd, input, sizeof input, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN) close(fd);
        return;
    }
    if (steps[fd] == HANDSHAKE) {
        push(fd, accepted, sizeof accepted - 1);
    } else if (steps[fd] == AUTH) {
        reply(fd, "{\"type\":\"authSuccess\"}");
    } else if (steps[fd] == SUBSCRIBE) {
        reply(fd, "{\"type\":\"subscribeSuccess\"}");
        for (long i = 0; i < tasks; i++) push(fd, frame, state_frame(frame, 1));
        readers[reader_count++] = fd;
    }
    if (steps[fd] != DONE) steps[fd]++;
}

static void publish(long count, long together, long interval_us) {
    char frame[FRAME_MAX];
    int64_t begin = now_us(), seq = 0;
    for (long i = 0; i < count; i++) {
        int64_t due = interval_us ? begin + i / together * interval_us : now_us();
        int64_t wait = due - now_us();
        if (wait > 0) usleep(wait);
        seq = due > seq ? due : seq + 1;
        size_t size = state_frame(frame, seq);
        for (int r = 0; r < reader_count; r++) push(readers[r], frame, size);
    }
    printf("{\"published\":%ld}\n", count);
    fflush(stdout);
}

static void on_command(void) {
    char line[128];
    ssize_t n = read(STDIN_FILENO, line, sizeof line - 1);
    if (n <= 0) exit(0);
    line[n] = 0;
    long count, together, interval_us;
    if (sscanf(line, "%ld %ld %ld", &count, &together, &interval_us) == 3) publish(count, together, interval_us);
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    tasks = atol(argv[1]);
    template = argv[2];
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int door = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    if (bind(door, (void *)&address, size) || listen(door, 1024)) return 1;
    getsockname(door, (void *)&address, &size);
    printf("{\"port\":%d}\n", ntohs(address.sin_port));
    fflush(stdout);

    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = door}, events[EVENTS];
    epoll_ctl(epoll, EPOLL_CTL_ADD, door, &event);
    event.data.fd = STDIN_FILENO;
    epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event);
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == STDIN_FILENO) {
                on_command();
            } else if (fd != door) {
                on_input(fd);
            } else if ((fd = accept4(door, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                steps[fd] = HANDSHAKE;
                event.data.fd = fd;
                epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
            }
        }
    }
}
