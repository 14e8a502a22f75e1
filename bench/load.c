/* Subscribers for the bench: one thread that opens WebSocket lines as a browser does and counts.
 *
 *   load PORT CONNECTIONS WINDOW REPLIES TOKENS SUBSCRIBE RECEIVE_BUFFER
 *
 * Opens CONNECTIONS to 127.0.0.1:PORT/ws, at most WINDOW of them on their way at a time. On each it
 * sends `auth` with a line of the file TOKENS, behind the answer the message SUBSCRIBE, and it is ready
 * when it has had REPLIES text messages; told to try again it does so at once. When all are ready one
 * line of JSON says so. With a RECEIVE_BUFFER in bytes other than 0 it reads nothing from then on.
 *
 * Then lines on stdin tell it what to do; the end of stdin ends the program.
 *
 *   count CHANGES SECONDS   Count pushes until every line has had CHANGES of them or the seconds are
 *                           over; one line of JSON says that it begins, one what came.
 *   arrivals                One line of JSON with the microsecond of the last push on each line.
 *   read SECONDS            Read again where nothing was read, until all lines have ended or the
 *                           seconds are over; one line of JSON says how they ended.
 *
 * A push is known by its task and its "seq", which the bench's own contenders set to the microsecond
 * (CLOCK_MONOTONIC) at which the change was due.
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
#include <zlib.h>

enum { BUFFER = 1 << 20, TEXT_MAX = 1 << 16, CHANGES_MAX = 1 << 17, TASKS_MAX = 1 << 12, EVENTS = 512 };
enum { LINES_OF_AN_ADDRESS = 8192 };
enum state { CONNECTING, UPGRADING, TALKING, READY, LOST };

struct line {
    int fd;
    enum state state;
    long texts;
    int close_code;   /* of the server's close frame; 0 where none came */
    int64_t *last_seq; /* by task */
    int64_t pushed_at;
    z_stream *context; /* where the server keeps one over its messages */
    size_t rest_len;
    char *rest; /* the beginning of a frame whose end has not come */
};

struct change {
    int64_t seq, last_at;
    long task;
    long arrivals;
};

static struct line *lines;
static char **tokens, *subscribe;
static long token_count, connections, window, replies, port, receive_buffer;
static long opened, ready, lost, refused;
static int epoll;
static char buffer[BUFFER];

static struct change changes[CHANGES_MAX];
static long received, bytes, out_of_order, wanted;
static int64_t first_at, last_at, count_ends_at, read_ends_at;
static bool counting, reading_again;

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

/* One that is lost on its way in ends the row, and its reason is told. */
static void lose(struct line *line, const char *why) {
    if (line->state == LOST) return;
    if (line->state != READY)
        fprintf(stderr, "a browser of port %ld was dropped after %ld texts: %s\n", port, line->texts, why);
    line->state = LOST;
    close(line->fd);
    lost++;
    free(line->rest);
    line->rest = NULL;
    line->rest_len = 0;
}

static void send_all(struct line *line, const void *data, size_t size) {
    if (send(line->fd, data, size, MSG_NOSIGNAL) != (ssize_t)size) lose(line, strerror(errno));
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
    int on = 1, size = receive_buffer;
    if (size) setsockopt(line->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    setsockopt(line->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    /* Of 28,232 ports of an address the kernel takes the even half first; to find the next one behind
     * that costs it 2 ms. */
    struct sockaddr_in own = {.sin_family = AF_INET};
    own.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (line - lines) / LINES_OF_AN_ADDRESS);
    setsockopt(line->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(line->fd, (void *)&own, sizeof own)) fail("bind");
    if (connect(line->fd, (void *)&address, sizeof address) && errno != EINPROGRESS) fail("connect");
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = line};
    epoll_ctl(epoll, EPOLL_CTL_ADD, line->fd, &event);
}

static void upgrade(struct line *line) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(line->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        lose(line, strerror(error));
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

/* A number for the task that the text is about, by the last eight digits of its id. */
static long task_of(const char *text, size_t size) {
    static const char name[] = "\"videoId\":\"";
    static uint64_t keys[TASKS_MAX];
    static long numbers[TASKS_MAX], known;
    static size_t at;
    size_t length = sizeof name - 1;
    if (at + length + 40 > size || memcmp(text + at, name, length)) {
        const char *found = memmem(text, size, name, length);
        if (!found || found + length + 40 > text + size) return 0;
        at = found - text;
    }
    const char *end = memchr(text + at + length, '"', 40);
    uint64_t key;
    memcpy(&key, (end ? end : text + at + length + 38) - sizeof key, sizeof key);
    size_t slot = key * UINT64_C(0x9E3779B97F4A7C15) >> 52;
    while (keys[slot] && keys[slot] != key) slot = (slot + 1) % TASKS_MAX;
    if (!keys[slot]) {
        if (known == replies) fail("pushes of tasks that nobody subscribed");
        keys[slot] = key;
        numbers[slot] = known++;
    }
    return numbers[slot];
}

static struct change *change_of(long task, int64_t seq) {
    static struct change *recent = changes;
    if (recent->seq == seq && recent->task == task) return recent;
    size_t at = ((uint64_t)seq * TASKS_MAX + task) * UINT64_C(0x9E3779B97F4A7C15) >> 47;
    while (changes[at].seq && (changes[at].seq != seq || changes[at].task != task)) at = (at + 1) % CHANGES_MAX;
    changes[at].seq = seq;
    changes[at].task = task;
    return recent = &changes[at];
}

static void on_push(struct line *line, const char *text, size_t size, size_t wire_size, int64_t now) {
    size_t tail = size < 40 ? size : 40; /* seq is the last field */
    const char *field = memmem(text + size - tail, tail, "\"seq\":", 6);
    if (!field || !counting) return;
    int64_t seq = strtoll(field + 6, NULL, 10);
    long task = task_of(text, size);
    if (!line->last_seq) line->last_seq = calloc(replies, sizeof *line->last_seq);
    if (seq <= line->last_seq[task]) out_of_order++;
    line->last_seq[task] = seq;
    if (!received++) first_at = now;
    last_at = line->pushed_at = now;
    bytes += wire_size;
    struct change *change = change_of(task, seq);
    change->arrivals++;
    change->last_at = now;
}

/* The text of a compressed message (RFC 7692 section 7.2.2), good until the next call. Most lines get
 * the very bytes that the one before got: those are not inflated again. */
static const char *inflated(struct line *line, const char *data, size_t size, size_t *text_size) {
    static char text[TEXT_MAX], last[TEXT_MAX], input[TEXT_MAX + 4];
    static size_t last_size, last_text_size;
    static z_stream shared;
    if (!line->context && size == last_size && !memcmp(data, last, size)) {
        *text_size = last_text_size;
        return text;
    }
    z_stream *stream = line->context ? line->context : &shared;
    if (!stream->state && inflateInit2(stream, -15) != Z_OK) fail("inflateInit2");
    if (stream == &shared) inflateReset(stream);
    if (size > TEXT_MAX) fail("a compressed message of more than 64 KB");
    memcpy(input, data, size);
    memcpy(input + size, "\0\0\xff\xff", 4);
    stream->next_in = (void *)input;
    stream->avail_in = size + 4;
    stream->next_out = (void *)text;
    stream->avail_out = sizeof text;
    int result = inflate(stream, Z_SYNC_FLUSH);
    if (result != Z_OK && result != Z_BUF_ERROR) fail("inflate");
    *text_size = last_text_size = sizeof text - stream->avail_out;
    last_size = line->context ? 0 : size;
    memcpy(last, data, last_size);
    return text;
}

static void on_text(struct line *line, const char *text, size_t size, size_t wire_size, int64_t now) {
    if (memmem(text, size < 32 ? size : 32, "\"heartbeat\"", 11)) return;
    if (line->state == READY) {
        on_push(line, text, size, wire_size, now);
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
        if (receive_buffer) epoll_ctl(epoll, EPOLL_CTL_DEL, line->fd, NULL);
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
        const char *text = data + at + head;
        size_t text_size = length;
        if (opcode == 1 && frame[0] & 0x40) text = inflated(line, text, length, &text_size);
        if (opcode == 1) on_text(line, text, text_size, head + length, now);
        if (opcode == 8) {
            if (length >= 2) line->close_code = frame[head] << 8 | frame[head + 1];
            char why[32];
            snprintf(why, sizeof why, "closed with %d", line->close_code);
            lose(line, why);
        }
        if (opcode == 9) send_frame(line, 10, text, length);
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
    bool deflates = memmem(data, end - data, "permessage-deflate", 18);
    if (deflates && !memmem(data, end - data, "server_no_context_takeover", 26))
        line->context = calloc(1, sizeof *line->context);
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
        lose(line, n < 0 ? strerror(errno) : "it ended");
        return;
    }
    size_t size = line->rest_len + n, used = 0;
    if (line->state == UPGRADING) used = on_handshake(line, buffer, size);
    if (line->state >= TALKING) used += on_frames(line, buffer + used, size - used, now_us());
    free(line->rest);
    if (line->state == LOST) return;
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

static void start_count(long count, double seconds) {
    memset(changes, 0, sizeof changes);
    received = bytes = out_of_order = 0;
    first_at = last_at = 0;
    wanted = count * connections;
    count_ends_at = now_us() + (int64_t)(seconds * 1e6);
    counting = true;
    printf("{\"counting\":%ld}\n", count);
    fflush(stdout);
}

static void tell_arrivals(void) {
    printf("{\"arrivals_us\":[");
    for (long i = 0; i < connections; i++) printf("%s%" PRId64, i ? "," : "", lines[i].pushed_at);
    printf("]}\n");
    fflush(stdout);
}

static void read_again(double seconds) {
    for (struct line *line = lines; line < lines + connections; line++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = line};
        if (line->state == READY) epoll_ctl(epoll, EPOLL_CTL_ADD, line->fd, &event);
    }
    read_ends_at = now_us() + (int64_t)(seconds * 1e6);
    reading_again = true;
}

static void end_read(void) {
    reading_again = false;
    long by_code[5000] = {0};
    for (struct line *line = lines; line < lines + connections; line++)
        if (line->state == LOST && line->close_code < 5000) by_code[line->close_code]++;
    printf("{\"still_open\":%ld,\"closed\":{", connections - lost);
    const char *comma = "";
    for (int code = 0; code < 5000; code++) {
        if (!by_code[code]) continue;
        printf("%s\"%d\":%ld", comma, code, by_code[code]);
        comma = ",";
    }
    printf("}}\n");
    fflush(stdout);
}

static void on_command(void) {
    char request[128];
    ssize_t n = read(STDIN_FILENO, request, sizeof request - 1);
    if (n <= 0) exit(0);
    request[n] = 0;
    long count;
    double seconds;
    if (sscanf(request, "count %ld %lf", &count, &seconds) == 2) start_count(count, seconds);
    else if (sscanf(request, "read %lf", &seconds) == 1) read_again(seconds);
    else if (!strcmp(request, "arrivals\n")) tell_arrivals();
    else fail("an unknown command");
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
    if (argc != 8) {
        fprintf(stderr, "usage: load PORT CONNECTIONS WINDOW REPLIES TOKENS SUBSCRIBE RECEIVE_BUFFER\n");
        return 2;
    }
    port = atol(argv[1]);
    connections = atol(argv[2]);
    window = atol(argv[3]);
    replies = atol(argv[4]);
    read_tokens(argv[5]);
    subscribe = argv[6];
    receive_buffer = atol(argv[7]);
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
            if (!line) on_command();
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
        if (reading_again && (lost == connections || now_us() > read_ends_at)) end_read();
    }
}
