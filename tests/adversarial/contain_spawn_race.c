/* Forks ("fork"), allocates ("memory") or executes ("exec") as its very first act, before even asking where it
 * is: what is born, touched or started before the process sits in its cgroup is never accounted. All of them
 * hold until the harness, which reads their cgroup from the host, closes standard input. */
#include "attack.h"
#include <sys/mman.h>

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "exec") == 0)
        execl("/proc/self/exe", argv[0], "fork", NULL);
    int is_memory = argc > 1 && strcmp(argv[1], "memory") == 0;
    char *memory = NULL;
    size_t bytes = (size_t)8 << 20;
    pid_t child = -1;
    if (is_memory) {
        memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    } else {
        child = fork();
        if (child >= 0 && !in_box() && !in_pen()) {
            /* Started bare: the child ends at once, and is waited for. */
            if (child == 0)
                _exit(NOT_IN_BOX);
            waitpid(child, NULL, 0);
        }
    }
    attack("contain_spawn_race");
    if (is_memory ? memory == MAP_FAILED : child < 0)
        inconclusive("the first act failed");
    if (is_memory)
        memory[bytes / 2] = 1;
    if (child == 0) {
        setsid();
        if (spawn() > 0)
            _exit(0);
    } else {
        say("armed: %s", is_memory ? "8 MiB touched first" : "forked first");
    }
    char byte;
    while (read(0, &byte, 1) > 0)
        ;
    if (child > 0)
        waitpid(child, NULL, 0);
    return CONTAINED;
}
