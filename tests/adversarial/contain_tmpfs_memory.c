/* Memory that belongs to no process: files in a tmpfs, whose writer has long ended when they are counted. The
 * first argument is the number of MiB. Expected in a box whose memory limit is smaller: MLE, since a tmpfs of
 * the box is charged to the box. In a pen: all of it. */
#include "attack.h"

static char block[1 << 20];

int main(int argc, char **argv)
{
    attack("contain_tmpfs_memory");
    int wanted = argc > 1 ? atoi(argv[1]) : 32;
    memset(block, 'x', sizeof block);
    char path[] = "/dev/shm/contain-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0)
        inconclusive("mkstemp");
    unlink(path);
    for (int i = 0; i < wanted; i++) {
        pid_t writer = spawn();
        if (writer < 0)
            inconclusive("fork");
        if (writer == 0)
            _exit(pwrite(fd, block, sizeof block, (off_t)i << 20) == (ssize_t)sizeof block ? 0 : INCONCLUSIVE);
        int status;
        if (waitpid(writer, &status, 0) != writer || status != 0)
            inconclusive("a writer failed");
    }
    tried("hold more memory in files than the box may have", wanted);
    conclude();
}
