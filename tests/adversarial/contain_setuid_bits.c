/* A copy of this program with the setuid and setgid bits, owned by root, is executed. Its path is the
 * first argument. Expected in a box: the bits do nothing (nosuid and no_new_privs), the copy sees the
 * same uid as before. In a pen it is root. */
#include "attack.h"

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "inside") == 0) {
        uid_t r, e, s;
        gid_t gr, ge, gs;
        if (getresuid(&r, &e, &s) || getresgid(&gr, &ge, &gs))
            return INCONCLUSIVE;
        return e != r || s != r || ge != gr || gs != gr || e == 0 ? ESCAPED : CONTAINED;
    }
    attack("contain_setuid_bits");
    if (argc < 2)
        inconclusive("usage: contain_setuid_bits COPY");
    struct stat st;
    if (stat(argv[1], &st) || !(st.st_mode & S_ISUID))
        inconclusive("the copy has no setuid bit");
    pid_t child = spawn();
    if (child == 0) {
        execl(argv[1], argv[1], "inside", NULL);
        _exit(INCONCLUSIVE);
    }
    int status;
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) == INCONCLUSIVE)
        inconclusive("the copy did not run");
    if (WEXITSTATUS(status) == ESCAPED)
        tried("exec of a setuid root program", 0);
    else
        say("tried: exec of a setuid root program = no change of uid or gid");
    conclude();
}
