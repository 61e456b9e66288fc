/* Memory spread over several processes, none of which is large: limits per process miss it. The first
 * argument is the number of MiB that each child touches, the second the number of children (4). Expected in a box whose limit is
 * smaller than the sum and larger than each: MLE, mle_kernel_oom. In a pen: all of it is touched. */
#include "attack.h"
#include <sys/mman.h>

int main(int argc, char **argv)
{
    attack("contain_memory_group");
    size_t bytes = (size_t)(argc > 1 ? atoi(argv[1]) : 24) << 20;
    int count = argc > 2 ? atoi(argv[2]) : 4;
    if (count < 1 || count > 64)
        inconclusive("usage: contain_memory_group MIB CHILDREN");
    ready_open();
    pid_t pids[64];
    for (int i = 0; i < count; i++) {
        pids[i] = spawn();
        if (pids[i] < 0)
            inconclusive("fork");
        if (pids[i] == 0) {
            char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (memory == MAP_FAILED)
                _exit(INCONCLUSIVE);
            for (size_t at = 0; at < bytes; at += 4096)
                memory[at] = 1;
            ready();
            forever();
        }
    }
    await_ready(count);
    tried("touch more memory than the box may have", (long)(bytes >> 20) * count);
    for (int i = 0; i < count; i++)
        kill(pids[i], SIGKILL);
    conclude();
}
