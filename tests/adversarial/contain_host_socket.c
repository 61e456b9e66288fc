/* A socket of the host in the file system, whose path is the first argument, and those of well-known services:
 * the system bus, container engines, the journal. Expected in a box: ENOENT. In a pen: connected. */
#include "attack.h"
#include <sys/socket.h>
#include <sys/un.h>

static void reach(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char what[160];
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    snprintf(what, sizeof what, "connect(%s)", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    tried(what, connect(fd, (struct sockaddr *)&address, sizeof address));
    close(fd);
}

int main(int argc, char **argv)
{
    attack("contain_host_socket");
    if (argc < 2)
        inconclusive("usage: contain_host_socket PATH");
    char through_init[256];
    snprintf(through_init, sizeof through_init, "/proc/1/root%s", argv[1]);
    reach(argv[1]);
    if (strlen(through_init) < 100)
        reach(through_init);
    if (in_box()) {
        reach("/run/dbus/system_bus_socket");
        reach("/run/docker.sock");
        reach("/run/containerd/containerd.sock");
        reach("/run/systemd/journal/stdout");
    }
    conclude();
}
