/* Holds so many MiB as given first, in the buffers of TCP connections with itself: nobody reads, so the kernel keeps what was
 * sent. What does not fit there it holds in memory of its own. Expected in a box with less memory: killed for memory, on
 * cgroup v2 by what is in the buffers, on v1, which counts that apart, by the rest. In a pen with more of it: all is held. */
#include "attack.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

enum { PAIRS = 400, DEFAULT_MIB = 128 };

static char block[1 << 16];

static long fill(int fd)
{
    long sent = 0;
    for (ssize_t got; (got = send(fd, block, sizeof block, MSG_DONTWAIT | MSG_NOSIGNAL)) > 0;)
        sent += got;
    return sent;
}

int main(int argc, char **argv)
{
    attack("contain_socket_memory");
    long wanted = (argc > 1 ? atol(argv[1]) : DEFAULT_MIB) << 20, held = 0;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof here;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&here, length) || listen(listener, 16) ||
        getsockname(listener, (struct sockaddr *)&here, &length))
        inconclusive("listen");
    for (int pair = 0; pair < PAIRS && held < wanted; pair++) {
        int ours = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (ours < 0 || connect(ours, (struct sockaddr *)&here, sizeof here) || accept4(listener, NULL, NULL, SOCK_CLOEXEC) < 0)
            inconclusive("connect");
        held += fill(ours);
    }
    say("held in buffers: %ld MiB", held >> 20);
    for (; held < wanted; held += sizeof block) {
        char *more = malloc(sizeof block);
        if (!more)
            inconclusive("malloc");
        memset(more, 1, sizeof block);
    }
    tried("hold as much as wanted", held);
    conclude();
}
