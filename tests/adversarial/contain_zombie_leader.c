/* A process whose first thread has ended while another one runs: /proc says Z for it, and whoever
 * believes that skips a live process. Expected in a box: killed with the box, and no survivor. */
#include "attack.h"
#include <pthread.h>

static void *live_on(void *leader)
{
    char text[512], path[64];
    snprintf(path, sizeof path, "/proc/self/stat");
    for (int tries = 0; tries < 1000000; tries++) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
        if (fd >= 0)
            close(fd);
        if (got <= 0)
            _exit(INCONCLUSIVE);
        text[got] = 0;
        char *end = strrchr(text, ')');
        if (end && end[2] == 'Z') {
            ready();
            forever();
        }
    }
    (void)leader;
    _exit(INCONCLUSIVE);
}

int main(int argc, char **argv)
{
    attack("contain_zombie_leader");
    ready_open();
    pid_t pid = spawn();
    if (pid < 0)
        inconclusive("fork");
    if (pid == 0) {
        pthread_t thread;
        setsid();
        if (pthread_create(&thread, NULL, live_on, NULL))
            _exit(INCONCLUSIVE);
        syscall(SYS_exit, 0);
    }
    await_ready(1);
    armed(argc, argv, "thread group leader is a zombie, its thread lives");
}
