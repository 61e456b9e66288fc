/* Reads the environment of others: the second argument is the beginning of a variable that only the
 * supervisor has; the first is a pid whose /proc/PID/environ, cmdline and auxv are opened (1, the init, in a
 * box). Expected in a box: the init's are closed, and our own environment does not hold it either. */
#include "attack.h"

extern char **environ;

int main(int argc, char **argv)
{
    attack("contain_environ");
    if (argc < 3)
        inconclusive("usage: contain_environ PID NAME");
    static char text[65536];
    for (char **each = environ; *each; each++)
        if (strncmp(*each, argv[2], strlen(argv[2])) == 0)
            tried("find it in our own environment", 0);
    static const char *files[] = {"environ", "auxv", "stack", "maps"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[64], what[96];
        snprintf(path, sizeof path, "/proc/%s/%s", argv[1], files[i]);
        snprintf(what, sizeof what, "read %s", files[i]);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
        if (fd >= 0)
            close(fd);
        tried(what, got);
        for (ssize_t at = 0; i == 0 && at < got; at += (ssize_t)strlen(text + at) + 1)
            if (strncmp(text + at, argv[2], strlen(argv[2])) == 0)
                tried("find it in the environment of another", 0);
    }
    conclude();
}
