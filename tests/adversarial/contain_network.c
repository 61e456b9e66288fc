/* Ways out over the network: a TCP port of the host (first argument) by 127.0.0.1 and ::1, an address
 * of the outside, an abstract socket of the host (second argument), odd socket families. Expected in a
 * box: ECONNREFUSED, ENETUNREACH; EPERM or EAFNOSUPPORT for the families. */
#include "attack.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

static long reach4(const char *host, int port, int how)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    inet_pton(AF_INET, host, &address.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | how, 0);
    if (fd < 0)
        return -1;
    /* Under way counts as a way out: a network without a route answers at once. */
    return connect(fd, (struct sockaddr *)&address, sizeof address) == 0 || errno == EINPROGRESS ? 0 : -1;
}

int main(int argc, char **argv)
{
    attack("contain_network");
    if (argc < 3)
        inconclusive("usage: contain_network PORT ABSTRACT_NAME");
    int port = atoi(argv[1]);
    if (in_box()) {
        /* The loopback is up: a connection to a closed port is refused by this box's own stack. */
        struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
        int own = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (own < 0 || bind(own, (struct sockaddr *)&any, sizeof any))
            tried("the host's port is taken in here as well", 0);
        else
            say("tried: the host's port is free in here");
        close(own);
    }
    /* Blocking on the loopback: it answers at once, with a connection or a refusal. */
    tried("connect(127.0.0.1)", reach4("127.0.0.1", port, 0));
    tried("connect(192.0.2.1)", in_box() ? reach4("192.0.2.1", 9, SOCK_NONBLOCK) : -1);
    tried("connect(169.254.169.254)", in_box() ? reach4("169.254.169.254", 80, SOCK_NONBLOCK) : -1);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(argv[2]);
    memcpy(address.sun_path + 1, argv[2], length < 90 ? length : 90);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    tried("connect(abstract socket of the host)",
          connect(fd, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length)));
    if (in_box()) {
        tried("socket(AF_PACKET)", socket(AF_PACKET, SOCK_RAW, 0));
        tried("socket(AF_VSOCK)", socket(AF_VSOCK, SOCK_STREAM, 0));
        tried("socket(AF_ALG)", socket(AF_ALG, SOCK_SEQPACKET, 0));
        tried("socket(AF_INET, SOCK_RAW)", socket(AF_INET, SOCK_RAW, 1));
    }
    conclude();
}
