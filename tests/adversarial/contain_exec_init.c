/* Executes the runtime's own program: /proc/1/exe of the init (or of the pid given as the first argument), by
 * name, through a descriptor and through /proc/self/exe again. Whoever can start the supervisor's binary inside
 * can read and debug it (runc CVE-2019-5736). Expected in a box: EACCES for the init's, and a program that
 * executes itself is still in the box. */
#include "attack.h"

static void try_exec(const char *what, const char *path, int flags)
{
    int report[2];
    if (pipe2(report, O_CLOEXEC))
        inconclusive("pipe2");
    pid_t child = spawn();
    if (child == 0) {
        char *arguments[] = {"exec_init", "--version", NULL}, *none[] = {NULL};
        int fd = flags ? open(path, O_PATH | O_CLOEXEC) : AT_FDCWD;
        if (!flags || fd >= 0)
            syscall(SYS_execveat, fd, flags ? "" : path, arguments, none, flags);
        int why = errno;
        _exit(write(report[1], &why, sizeof why) == sizeof why ? 0 : INCONCLUSIVE);
    }
    close(report[1]);
    int why = 0, got = (int)read(report[0], &why, sizeof why);
    close(report[0]);
    waitpid(child, NULL, 0);
    errno = why;
    tried(what, got == sizeof why ? -1 : 0);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "again") == 0)
        return in_box() ? CONTAINED : ESCAPED;
    attack("contain_exec_init");
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/exe", argc > 1 ? atoi(argv[1]) : 1);
    try_exec("execve(/proc/1/exe)", path, 0);
    try_exec("execveat(descriptor of /proc/1/exe)", path, AT_EMPTY_PATH);
    pid_t child = spawn();
    if (child == 0) {
        execl("/proc/self/exe", "again", "again", NULL);
        _exit(INCONCLUSIVE);
    }
    int status;
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) == INCONCLUSIVE)
        inconclusive("exec of /proc/self/exe");
    if (in_box() && WEXITSTATUS(status) == ESCAPED)
        tried("exec of /proc/self/exe left the box", 0);
    else
        say("tried: exec of /proc/self/exe = still inside");
    conclude();
}
