/*
 * The yardstick for a warm run: vfork, exec, wait, COUNT times, PAUSE microseconds apart, with nothing around it. Prints
 * the nanoseconds of each.
 *
 * spawner COUNT PAUSE PROGRAM
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	/* Not on the stack, which the child of a vfork shares. */
	static int left;
	for (left = atoi(argv[1]); left > 0; left--) {
		int status;
		usleep(atoi(argv[2]));
		long long start = now();
		pid_t pid = vfork();
		if (pid == 0) {
			execl(argv[3], argv[3], (char *)0);
			_exit(127);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
			return 1;
		printf("%lld\n", now() - start);
	}
	return 0;
}
