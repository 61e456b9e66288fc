/*
 * Many idle processes at little cost: crowd COUNT [DIRECTORY...]
 *
 * Forks COUNT children in all, an equal part of them in each cgroup directory. Says "ready", and ends them when standard
 * input ends. They end with their parent, too, whatever becomes of it.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void join(const char *directory)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/cgroup.procs", directory);
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "0", 1) != 1) {
		perror(path);
		exit(1);
	}
	close(fd);
}

static void idle(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(0);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	long count = argc > 1 ? atol(argv[1]) : 0;
	int groups = argc > 2 ? argc - 2 : 1;
	pid_t *children = calloc(count > 0 ? (size_t)count : 1, sizeof(*children));
	pid_t self = getpid();
	char end;

	if (count <= 0 || !children)
		return 2;
	for (long made = 0; made < count; made++) {
		if (argc > 2 && made % ((count + groups - 1) / groups) == 0)
			join(argv[2 + made / ((count + groups - 1) / groups)]);
		children[made] = fork();
		if (children[made] == 0)
			idle(self);
		if (children[made] < 0) {
			perror("fork");
			count = made;
			break;
		}
	}
	printf("ready %ld\n", count);
	fflush(stdout);
	while (read(0, &end, 1) > 0)
		;
	for (long n = 0; n < count; n++)
		kill(children[n], SIGKILL);
	while (wait(NULL) > 0)
		;
	return 0;
}
