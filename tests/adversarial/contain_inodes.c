/* Makes as many empty files as the first argument says, in /tmp or in the second: each costs an inode and kernel memory, and no byte of
 * a quota. Expected in a box: ENOSPC or ENOMEM before, or the memory limit. In a pen: all of them. */
#include "attack.h"

int main(int argc, char **argv)
{
    attack("contain_inodes");
    int wanted = argc > 1 ? atoi(argv[1]) : 100000, made = 0, why = 0;
    char directory[200], name[32];
    snprintf(directory, sizeof directory, "%.150s/contain-XXXXXX", argc > 2 ? argv[2] : "/tmp");
    if (!mkdtemp(directory) || chdir(directory))
        inconclusive("mkdtemp");
    for (; made < wanted; made++) {
        snprintf(name, sizeof name, "%d", made);
        int fd = open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        if (fd < 0) {
            why = errno;
            break;
        }
        close(fd);
    }
    for (int i = 0; i < made; i++) {
        snprintf(name, sizeof name, "%d", i);
        unlink(name);
    }
    if (chdir("/") || rmdir(directory))
        inconclusive("rmdir");
    errno = why;
    tried("make as many files as wanted", why ? -1 : made);
    conclude();
}
