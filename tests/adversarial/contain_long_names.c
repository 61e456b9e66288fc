/* Processes whose command line and environment are megabytes, and whose executable's path is as long as a path
 * can be (systemd CVE-2018-16864: a stack sized by the attacker's command line). Whoever reads /proc has to
 * stop somewhere. Expected in a box: killed with it, in time. */
#include "attack.h"

enum { WORDS = 15, LENGTH = 100000 };

int main(int argc, char **argv)
{
    attack("contain_long_names");
    if (argc > 3 && strcmp(argv[1], "long") == 0) {
        ready_pipe[1] = atoi(argv[2]);
        ready();
        forever();
    }
    static char word[LENGTH + 1], number[16], *arguments[WORDS + 5], pen[200];
    memset(word, 'a', LENGTH);
    memcpy(word, "\n\033[31m) Z 1", 11);
    if (pipe(ready_pipe))
        inconclusive("pipe");
    snprintf(number, sizeof number, "%d", ready_pipe[1]);
    snprintf(pen, sizeof pen, "CONTAIN_PEN=%s", getenv("CONTAIN_PEN") ? getenv("CONTAIN_PEN") : "");
    char *environment[] = {pen, word, NULL};
    arguments[0] = word;
    arguments[1] = "long";
    arguments[2] = number;
    for (int i = 3; i < WORDS + 3; i++)
        arguments[i] = word;
    for (int i = 0; i < 4; i++) {
        pid_t pid = spawn();
        if (pid < 0)
            inconclusive("fork");
        if (pid == 0) {
            setsid();
            execve("/proc/self/exe", arguments, environment);
            _exit(INCONCLUSIVE);
        }
    }
    await_ready(4);
    armed(argc, argv, "four processes with command lines of megabytes");
}
