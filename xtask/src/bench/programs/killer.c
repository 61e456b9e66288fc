/*
 * The yardstick for killing: a crowd in a cgroup of its own, killed by cgroup.kill, waited for until the
 * kernel says that the cgroup is empty, removed. Prints the nanoseconds from the kill to the removal.
 *
 * killer CGROUP2_ROOT COUNT PROGRAM: PROGRAM is the crowd.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char directory[512];

static int open_in(const char *name, int flags)
{
	char path[600];
	snprintf(path, sizeof path, "%s/%s", directory, name);
	return open(path, flags | O_CLOEXEC);
}

static void fail(const char *what)
{
	perror(what);
	rmdir(directory);
	exit(1);
}

static long long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* The crowd's parent: pid 1 of a namespace of its own, as the init of a box is. */
static int crowd(void *arg)
{
	char **argv = arg;
	char byte = 'x';
	int procs = open_in("cgroup.procs", O_WRONLY);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || procs < 0 || write(procs, "0", 1) != 1)
		_exit(1);
	pid_t pid = fork();
	if (pid == 0) {
		execl(argv[3], argv[3], argv[2], (char *)0);
		_exit(1);
	}
	int status = 1;
	if (waitpid(pid, &status, 0) != pid || status != 0 || write(3, &byte, 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	static char stack[65536];
	int pipes[2];
	char text[256], byte;
	if (argc != 4)
		return 2;
	snprintf(directory, sizeof directory, "%s/rustbox-bench-%d", argv[1], (int)getpid());
	if (pipe(pipes) != 0 || mkdir(directory, 0755) != 0)
		fail(directory);
	/* Whatever the numbers were: the crowd writes to 3. */
	if (pipes[0] == 3 && (pipes[0] = dup(3)) < 0)
		fail("dup");
	if (pipes[1] != 3 && dup2(pipes[1], 3) != 3)
		fail("dup2");
	pid_t pid = clone(crowd, stack + sizeof stack, CLONE_NEWPID | SIGCHLD, argv);
	if (pid < 0)
		fail("clone");
	if (read(pipes[0], &byte, 1) != 1)
		fail("the crowd did not come");
	int kill = open_in("cgroup.kill", O_WRONLY), events = open_in("cgroup.events", O_RDONLY);
	if (kill < 0 || events < 0)
		fail("open");
	long long start = now();
	if (write(kill, "1", 1) != 1)
		fail("cgroup.kill");
	if (waitpid(pid, 0, 0) != pid)
		fail("waitpid");
	for (;;) {
		ssize_t length = pread(events, text, sizeof text - 1, 0);
		if (length <= 0)
			fail("cgroup.events");
		text[length] = 0;
		if (strstr(text, "populated 0"))
			break;
		struct pollfd ready = { .fd = events, .events = POLLPRI };
		poll(&ready, 1, 10000);
	}
	if (rmdir(directory) != 0)
		fail("rmdir");
	printf("%lld\n", now() - start);
	return 0;
}
