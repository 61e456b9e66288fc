/* The same system calls by other doors: the 32-bit table through int 0x80, and the x32 bit. A filter that
 * looks at numbers alone takes unshare for something harmless (CVE-2009-0835). Each is tried in a child of its
 * own, since a filter may kill for it. Expected in a box: the child is killed or the call fails. Without the
 * filter the 32-bit getpid answers. */
#include "attack.h"

enum { GETPID_32 = 20, X32 = 0x40000000 };

static long by_int80(long number)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(0), "c"(0), "d"(0) : "memory", "r8", "r9", "r10", "r11");
    return result;
}

static void door(const char *what, int which)
{
    int answer[2];
    if (pipe2(answer, O_CLOEXEC))
        inconclusive("pipe2");
    pid_t child = spawn();
    if (child == 0) {
        long result = which ? syscall(X32 | SYS_getpid) : by_int80(GETPID_32);
        if (which && result < 0)
            result = -errno;
        _exit(write(answer[1], &result, sizeof result) == sizeof result ? 0 : INCONCLUSIVE);
    }
    long result = 0;
    int status;
    close(answer[1]);
    ssize_t got = read(answer[0], &result, sizeof result);
    close(answer[0]);
    waitpid(child, &status, 0);
    if (got != sizeof result) {
        say("tried: %s = killed by signal %d", what, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
        return;
    }
    errno = result < 0 ? (int)-result : 0;
    tried(what, result < 0 ? -1 : result);
}

int main(void)
{
    attack("contain_foreign_abi");
    door("getpid by int 0x80", 0);
    door("getpid by the x32 table", 1);
    conclude();
}
