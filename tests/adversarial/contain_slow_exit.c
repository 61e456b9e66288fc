/* Processes that take long to die: many threads, much touched memory, many mappings, many descriptors, each
 * of which the kernel has to give back while it kills. Whoever waits too short a time, or takes "signalled"
 * for "dead", reports a box as empty that is not. Expected in a box: empty before rustbox returns. */
#include "attack.h"
#include <pthread.h>
#include <sys/mman.h>

static void *idle(void *unused)
{
    (void)unused;
    forever();
}

static void heavy(void)
{
    size_t bytes = (size_t)24 << 20;
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        _exit(INCONCLUSIVE);
    for (size_t at = 0; at < bytes; at += 4096)
        memory[at] = 1;
    /* Every second page with other rights: thousands of mappings instead of one. */
    for (size_t at = 0; at < bytes / 4; at += 8192)
        mprotect(memory + at, 4096, PROT_READ);
    for (int i = 0; i < 200; i++)
        if (open("/dev/null", O_RDONLY | O_CLOEXEC) < 0)
            _exit(INCONCLUSIVE);
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    for (int i = 0; i < 6; i++) {
        pthread_t thread;
        if (pthread_create(&thread, &small, idle, NULL))
            _exit(INCONCLUSIVE);
    }
    ready();
    forever();
}

int main(int argc, char **argv)
{
    attack("contain_slow_exit");
    ready_open();
    for (int i = 0; i < 4; i++) {
        pid_t pid = spawn();
        if (pid < 0)
            inconclusive("fork");
        if (pid == 0) {
            setsid();
            heavy();
        }
    }
    await_ready(4);
    armed(argc, argv, "four processes with much to give back");
}
