/* Signals to the init of the box and to everybody: kill(1, every signal), kill(-1, SIGKILL), through
 * a pidfd as well. Expected in a box: init lives (it is still our parent), and kill(-1) reaches
 * nobody but the payload's own child. In a pen, kill(-1) kills a stranger of the same uid, whose pid
 * the harness gives as the first argument. */
#include "attack.h"

int main(int argc, char **argv)
{
    attack("contain_signal_init");
    if (getuid() == 0)
        inconclusive("kill(-1) as root would hit the host");
    pid_t init = getppid(), victim = argc > 1 ? atoi(argv[1]) : init;
    pid_t child = spawn();
    if (child < 0)
        inconclusive("fork");
    if (child == 0)
        forever();
    if (in_box()) {
        for (int number = 1; number <= SIGRTMAX; number++)
            if (kill(init, number) == 0)
                tried("kill(init)", number);
        int pidfd = (int)syscall(SYS_pidfd_open, init, 0);
        if (pidfd >= 0)
            tried("pidfd_send_signal(init, SIGKILL)", syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0));
    }
    signal(SIGTERM, SIG_IGN);
    int all = kill(-1, SIGKILL);
    say("tried: kill(-1, SIGKILL) = %s", all ? strerrorname_np(errno) : "OK");
    int status;
    if (waitpid(child, &status, 0) != child || !WIFSIGNALED(status))
        inconclusive("kill(-1, SIGKILL) did not kill even our own child");
    if (in_box() && getppid() != init)
        tried("init is gone", 0);
    /* Another process's end is seen in its state; it takes a moment, so it is asked for until it shows. */
    for (int tries = 0; !in_box() && tries < 200000; tries++) {
        char path[64], text[256] = "";
        snprintf(path, sizeof path, "/proc/%d/stat", (int)victim);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t got = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
        if (fd >= 0)
            close(fd);
        char *end = got > 0 ? strrchr(text, ')') : NULL;
        if (!end || end[2] == 'Z' || end[2] == 'X') {
            tried("kill(-1) killed a stranger of the same uid", 0);
            break;
        }
    }
    conclude();
}
