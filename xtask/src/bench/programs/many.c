/*
 * Starts as many processes as the argument says, says that they run, and ends with all of them when its standard input does.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int count = argc > 1 ? atoi(argv[1]) : 0, status = 0;
	pid_t *pids = calloc(count + 1, sizeof *pids);
	char byte;
	if (pids == NULL)
		return 1;
	for (int i = 0; i < count && status == 0; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
		status = pids[i] < 0;
	}
	if (status == 0 && write(1, "ready\n", 6) != 6)
		status = 1;
	while (status == 0 && read(0, &byte, 1) > 0)
		;
	for (int i = 0; i < count && pids[i] > 0; i++)
		kill(pids[i], SIGKILL);
	while (wait(NULL) > 0)
		;
	return status;
}
