/* Taking over a process of another: PTRACE_SEIZE and ATTACH, process_vm_readv, /proc/PID/mem, fd,
 * environ and syscall, pidfd_getfd. The target is init, or the pid given as the first argument.
 * Expected in a box: EPERM from the filter (ptrace, process_vm_*, pidfd_getfd) and EACCES or EPERM
 * from the kernel's own check for /proc. */
#include "attack.h"
#include <sys/ptrace.h>
#include <sys/uio.h>

int main(int argc, char **argv)
{
    attack("contain_ptrace_init");
    pid_t target = argc > 1 ? atoi(argv[1]) : getppid();
    char byte, path[64], what[128];
    struct iovec here = {&byte, 1}, there = {(void *)0x400000, 1};
    static const char *files[] = {"mem", "fd", "environ", "syscall", "fdinfo", "map_files", "cwd/.", "root/."};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "/proc/%d/%s", (int)target, files[i]);
        snprintf(what, sizeof what, "open(%s)", path);
        tried(what, open(path, O_RDONLY | O_CLOEXEC));
    }
    tried("process_vm_readv", process_vm_readv(target, &here, 1, &there, 1, 0));
    int pidfd = (int)syscall(SYS_pidfd_open, target, 0);
    if (pidfd >= 0)
        tried("pidfd_getfd", syscall(SYS_pidfd_getfd, pidfd, 0, 0));
    long attached = ptrace(PTRACE_SEIZE, target, 0, 0);
    tried("ptrace(PTRACE_SEIZE)", attached);
    if (attached < 0)
        tried("ptrace(PTRACE_ATTACH)", ptrace(PTRACE_ATTACH, target, 0, 0));
    conclude();
}
