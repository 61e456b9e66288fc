/* A copy of this program that carries every file capability is executed; its path is the first argument. A
 * runtime that leaves the inheritable set full (runc CVE-2022-29162), or forgets no_new_privs, hands them out.
 * Expected in a box: all sets stay empty. In a pen the copy has them. */
#include "attack.h"

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "inside") == 0)
        return no_capability() ? CONTAINED : ESCAPED;
    attack("contain_file_caps");
    if (argc < 2)
        inconclusive("usage: contain_file_caps COPY");
    pid_t child = spawn();
    if (child == 0) {
        execl(argv[1], argv[1], "inside", NULL);
        _exit(errno == EPERM ? CONTAINED : INCONCLUSIVE);
    }
    int status;
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) == INCONCLUSIVE)
        inconclusive("the copy did not run");
    if (WEXITSTATUS(status) == ESCAPED)
        tried("exec of a program with file capabilities", 0);
    else
        say("tried: exec of a program with file capabilities = none gained");
    conclude();
}
