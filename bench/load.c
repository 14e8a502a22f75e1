/* Subscribers for the bench: one thread that opens WebSocket lines as a browser does and counts.
 *
 *   load PORT CONNECTIONS WINDOW REPLIES TOKENS SUBSCRIBE
 *
 * Opens CONNECTIONS to 127.0.0.1:PORT/ws, at most WINDOW of them on their way at a time. On each it
 * sends `auth` with a line of the file TOKENS, behind the answer the message SUBSCRIBE, and it is ready
 * when it has had REPLIES text messages; told to try again it does so at once. When all are ready one line of JSON says so.
 *
 * Then each line "CHANGES SECONDS" on stdin starts a count of pushes, which ends when every line
 * has had CHANGES of them or the seconds are over, and is answered by one line of JSON. A push is
 * known by its "seq", the microsecond (CLOCK_MONOTONIC) at which it was published. The end of stdin
 * ends the program.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 1 << 20, CHANGES_MAX = 1 << 17, EVENTS = 512 };
enum state { CONNECTING, UPGRADING, TALKING, READY, LOST };

struct line {
    int fd;
    enum state state;
    long texts;
    int64_t last_seq;
    size_t rest_len;
    char *rest; /* the beginning of a frame whose end has not come */
};

struct change {
    int64_t seq, last_at;
    long arrivals;
};

static struct line *lines;
static char **tokens, *subscribe;
static long token_count, connections, window, replies, port;
static long opened, ready, lost, refused;
static int epoll;
static char buffer[BUFFER];

static struct change changes[CHANGES_MAX];
static long received, bytes, out_of_order, wanted;
static int64_t first_at, last_at, count_ends_at;
static bool counting;

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void lose(struct line *line) {
    if (line->state == LOST) return;
    line->state = LOST;
    close(line->fd);
    lost++;
}

static void send_all(struct line *line, const void *data, size_t size) {
    if (send(line->fd, data, size, MSG_NOSIGNAL) != (ssize_t)size) lose(line);
}

/* A frame of a client, whose mask of zeros leaves the payload as it is. */
static void send_frame(struct line *line, unsigned char opcode, const char *payload, size_t size) {
    unsigned char frame[4096] = {0x80 | opcode};
    size_t head = 2;
    if (size + 8 > sizeof frame) fail("a message that is too long for its frame");
    if (size < 126) {
        frame[1] = 0x80 | size;
    } else {
        frame[1] = 0x80 | 126;
        frame[2] = size >> 8;
        frame[3] = size;
        head = 4;
    }
    memcpy(frame + head + 4, payload, size);
    send_all(line, frame, head + 4 + size);
}

static void open_line(struct line *line) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    line->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (line->fd < 0) fail("socket");
    int on = 1;
    setsockopt(line->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(line->fd, (void *)&address, sizeof address) && errno != EINPROGRESS) fail("connect");
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = line};
    epoll_ctl(epoll, EPOLL_CTL_ADD, line->fd, &event);
}

static void upgrade(struct line *line) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(line->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        lose(line);
        return;
    }
    char request[2048];
    int n = snprintf(
        request, sizeof request,
        "GET /ws HTTP/1.1\r\nHost: localhost:%ld\r\nConnection: Upgrade\r\nPragma: no-cache\r\n"
        "Cache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 "
        "(KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\nUpgrade: websocket\r\n"
        "Origin: http://localhost:%ld\r\nSec-WebSocket-Version: 13\r\n"
        "Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9,de;q=0.8\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n",
        port, port);
    send_all(line, request, n);
    if (line->state == LOST) return;
    line->state = UPGRADING;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = line};
    epoll_ctl(epoll, EPOLL_CTL_MOD, line->fd, &event);
}

static struct change *change_of(int64_t seq) {
    static struct change *recent = changes;
    if (recent->seq == seq) return recent;
    size_t at = (uint64_t)seq * UINT64_C(0x9E3779B97F4A7C15) >> 47;
    while (changes[at].seq && changes[at].seq != seq) at = (at + 1) % CHANGES_MAX;
    changes[at].seq = seq;
    return recent = &changes[at];
}

static void on_push(struct line *line, const char *text, size_t size, int64_t now) {
    size_t tail = size < 40 ? size : 40; /* seq is the last field */
    const char *field = memmem(text + size - tail, tail, "\"seq\":", 6);
    if (!field || !counting) return;
    int64_t seq = strtoll(field + 6, NULL, 10);
    if (seq <= line->last_seq) out_of_order++;
    line->last_seq = seq;
    if (!received++) first_at = now;
    last_at = now;
    bytes += size;
    struct change *change = change_of(seq);
    change->arrivals++;
    change->last_at = now;
}

static void on_text(struct line *line, const char *text, size_t size, int64_t now) {
    if (memmem(text, size < 32 ? size : 32, "\"heartbeat\"", 11)) return;
    if (line->state == READY) {
        on_push(line, text, size, now);
        return;
    }
    if (memmem(text, size < 32 ? size : 32, "\"error\"", 7)) {
        if (!memmem(text, size, "\"retryable\":true", 16)) {
            fprintf(stderr, "refused: %.*s\n", (int)size, text);
            exit(1);
        }
        refused++;
        send_frame(line, 1, subscribe, strlen(subscribe));
        return;
    }
    if (++line->texts == 1) send_frame(line, 1, subscribe, strlen(subscribe));
    if (line->texts == replies) {
        line->state = READY;
        ready++;
    }
}

/* Returns how many bytes were whole frames. */
static size_t on_frames(struct line *line, char *data, size_t size, int64_t now) {
    size_t at = 0;
    while (size - at >= 2 && line->state != LOST) {
        unsigned char *frame = (unsigned char *)data + at;
        size_t head = 2, length = frame[1] & 127;
        if (length == 127) fail("a frame of more than 64 KB");
        if (length == 126) {
            if (size - at < 4) break;
            length = frame[2] << 8 | frame[3];
            head = 4;
        }
        if (size - at < head + length) break;
        int opcode = frame[0] & 15;
        if (opcode == 1) on_text(line, data + at + head, length, now);
        if (opcode == 8) lose(line);
        if (opcode == 9) send_frame(line, 10, data + at + head, length);
        at += head + length;
    }
    return at;
}

static size_t on_handshake(struct line *line, char *data, size_t size) {
    char *end = memmem(data, size, "\r\n\r\n", 4);
    if (!end) return 0;
    if (memcmp(data, "HTTP/1.1 101", 12)) {
        fprintf(stderr, "refused: %.*s\n", (int)(end - data), data);
        exit(1);
    }
    line->state = TALKING;
    opened++;
    char auth[2048];
    const char *token = tokens[(line - lines) % token_count];
    const char *format = "{\"type\":\"auth\",\"id\":1,\"payload\":{\"token\":\"%s\"}}";
    send_frame(line, 1, auth, snprintf(auth, sizeof auth, format, token));
    return end + 4 - data;
}

static void on_readable(struct line *line) {
    memcpy(buffer, line->rest, line->rest_len);
    ssize_t n = recv(line->fd, buffer + line->rest_len, BUFFER - line->rest_len, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
        lose(line);
        return;
    }
    size_t size = line->rest_len + n, used = 0;
    if (line->state == UPGRADING) used = on_handshake(line, buffer, size);
    if (line->state >= TALKING) used += on_frames(line, buffer + used, size - used, now_us());
    free(line->rest);
    line->rest_len = size - used;
    line->rest = line->rest_len ? memcpy(malloc(line->rest_len), buffer + used, line->rest_len) : NULL;
}

static void read_tokens(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) fail(path);
    tokens = calloc(connections, sizeof *tokens);
    size_t allocated = 0;
    while (token_count < connections && getline(&tokens[token_count], &allocated, file) > 0) {
        tokens[token_count][strcspn(tokens[token_count], "\n")] = 0;
        token_count++;
        allocated = 0;
    }
    fclose(file);
    if (!token_count) fail("no tokens");
}

static void start_count(void) {
    char request[128];
    ssize_t n = read(STDIN_FILENO, request, sizeof request - 1);
    if (n <= 0) exit(0);
    request[n] = 0;
    long count;
    double seconds;
    if (sscanf(request, "%ld %lf", &count, &seconds) != 2) fail("CHANGES SECONDS");
    memset(changes, 0, sizeof changes);
    received = bytes = out_of_order = 0;
    first_at = last_at = 0;
    wanted = count * connections;
    count_ends_at = now_us() + (int64_t)(seconds * 1e6);
    counting = true;
    printf("{\"counting\":%ld}\n", count);
    fflush(stdout);
}

static void end_count(void) {
    counting = false;
    printf("{\"received\":%ld,\"bytes\":%ld,\"out_of_order\":%ld,\"lost_lines\":%ld,\"first_us\":%" PRId64
           ",\"last_us\":%" PRId64 ",\"changes\":[",
           received, bytes, out_of_order, lost, first_at, last_at);
    const char *comma = "";
    for (struct change *c = changes; c < changes + CHANGES_MAX; c++) {
        if (!c->seq) continue;
        printf("%s[%" PRId64 ",%ld,%" PRId64 "]", comma, c->seq, c->arrivals, c->last_at - c->seq);
        comma = ",";
    }
    printf("]}\n");
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc != 7) {
        fprintf(stderr, "usage: load PORT CONNECTIONS WINDOW REPLIES TOKENS SUBSCRIBE\n");
        return 2;
    }
    port = atol(argv[1]);
    connections = atol(argv[2]);
    window = atol(argv[3]);
    replies = atol(argv[4]);
    read_tokens(argv[5]);
    subscribe = argv[6];
    lines = calloc(connections, sizeof *lines);
    epoll = epoll_create1(0);
    struct epoll_event input = {.events = EPOLLIN, .data.ptr = NULL}, events[EVENTS];
    epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &input);

    int64_t started_at = now_us();
    long begun = 0;
    bool told = false;
    for (;;) {
        while (begun < connections && begun - ready - lost < window) open_line(&lines[begun++]);
        int n = epoll_wait(epoll, events, EVENTS, 20);
        for (int i = 0; i < n; i++) {
            struct line *line = events[i].data.ptr;
            if (!line) start_count();
            else if (line->state == CONNECTING) upgrade(line);
            else if (line->state != LOST) on_readable(line);
        }
        if (!told && ready + lost == connections) {
            told = true;
            printf("{\"ready\":%ld,\"lost_lines\":%ld,\"refused\":%ld,\"started_us\":%" PRId64 ",\"ready_us\":%" PRId64 "}\n",
                   ready, lost, refused, started_at, now_us());
            fflush(stdout);
        }
        if (counting && (received >= wanted || now_us() > count_ends_at)) end_count();
    }
}
