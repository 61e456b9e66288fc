/* A child under PTRACE_TRACEME that sits in a trace stop while its tracer ignores it. Under the
 * default filter ptrace is denied, which is the barrier; without the filter the tracee must still
 * die with the box. */
#include "attack.h"
#include <sys/ptrace.h>

int main(int argc, char **argv)
{
    attack("contain_traced");
    ready_open();
    pid_t tracer = spawn();
    if (tracer < 0)
        inconclusive("fork");
    if (tracer == 0) {
        setsid();
        pid_t tracee = spawn();
        if (tracee == 0) {
            if (ptrace(PTRACE_TRACEME, 0, 0, 0))
                _exit(errno == EPERM ? 1 : INCONCLUSIVE);
            raise(SIGTRAP);
            forever();
        }
        int status;
        if (waitpid(tracee, &status, 0) != tracee)
            _exit(INCONCLUSIVE);
        if (WIFEXITED(status))
            _exit(WEXITSTATUS(status));
        ready();
        forever();
    }
    char byte;
    close(ready_pipe[1]);
    if (read(ready_pipe[0], &byte, 1) == 1)
        armed(argc, argv, "tracee in a trace stop, and its tracer");
    int status;
    waitpid(tracer, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 1)
        inconclusive("ptrace");
    say("tried: ptrace(PTRACE_TRACEME) = EPERM");
    conclude();
}
