/* Holds so many MiB as given first in the buffers of TCP connections with itself: nobody reads, so the kernel keeps what was
 * sent. Expected in a box with less memory: EAGAIN long before, and not because a connection is full, which takes more than
 * ENOUGH. In a pen with more of it: all. Tells of it when everything is given back: at the limit nobody has memory to talk. */
#include "attack.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

enum { PAIRS = 400, DEFAULT_MIB = 128, ENOUGH = 1 << 17 };

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
    long sent = ENOUGH;
    int full = 0;
    for (int pair = 0; pair < PAIRS && held < wanted && sent >= ENOUGH; pair++) {
        int ours = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (ours < 0 || connect(ours, (struct sockaddr *)&here, sizeof here))
            inconclusive("connect");
        if (accept4(listener, NULL, NULL, SOCK_CLOEXEC) < 0)
            inconclusive("accept4");
        held += sent = fill(ours);
        full = errno;
    }
    close_range(listener, ~0U, 0);
    say("held: %ld MiB", held >> 20);
    errno = full;
    tried("buffer as much as wanted", held < wanted ? -1 : held);
    conclude();
}
