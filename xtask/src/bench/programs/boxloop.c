/*
 * The yardstick for throughput: single-use boxes, one after the other, with the namespaces and the cgroups of a box of
 * rustbox and nothing else: no root of its own, no filter, no credentials, nothing read back. Prints boxes per second.
 *
 * boxloop SECONDS PROGRAM CGROUP2_ROOT [CGROUP1_ROOT...]
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static int open_in(const char *root, const char *name, const char *file, int flags)
{
	char path[600];
	snprintf(path, sizeof path, "%s/%s/%s", root, name, file);
	return open(path, flags | O_CLOEXEC);
}

static void put(const char *root, const char *name, const char *file, const char *value)
{
	int fd = open_in(root, name, file, O_WRONLY);
	if (fd < 0)
		return; /* Another controller's directory. */
	if (write(fd, value, 1 + (value[1] != 0) * 9) < 0)
		perror(file);
	close(fd);
}

static int box(int argc, char **argv, const char *name)
{
	char path[600];
	int procs[8], status = 0;
	for (int i = 3; i < argc; i++) {
		snprintf(path, sizeof path, "%s/%s", argv[i], name);
		if (mkdir(path, 0755) != 0)
			return 1;
		put(argv[i], name, "memory.limit_in_bytes", "1073741824");
		procs[i - 3] = i > 3 ? open_in(argv[i], name, "tasks", O_WRONLY) : -1;
	}
	int dir = open_in(argv[3], name, ".", O_RDONLY | O_DIRECTORY);
	struct clone_args args = {
		.flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | CLONE_INTO_CGROUP,
		.exit_signal = SIGCHLD,
		.cgroup = dir,
	};
	long pid = syscall(SYS_clone3, &args, sizeof args);
	if (pid == 0) {
		for (int i = 4; i < argc; i++)
			if (write(procs[i - 3], "0", 1) != 1)
				_exit(1);
		if (unshare(CLONE_NEWCGROUP) != 0)
			_exit(1);
		execl(argv[2], argv[2], (char *)0);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		status = 1;
	put(argv[3], name, "cgroup.kill", "1");
	close(dir);
	for (int i = argc - 1; i >= 3; i--) {
		if (i > 3)
			close(procs[i - 3]);
		snprintf(path, sizeof path, "%s/%s", argv[i], name);
		if (rmdir(path) != 0)
			status = 1;
	}
	return status;
}

int main(int argc, char **argv)
{
	char name[64];
	int count = 0;
	if (argc < 4 || argc > 11)
		return 2;
	snprintf(name, sizeof name, "bench-loop-%d", (int)getpid());
	double start = now(), end = start + atof(argv[1]);
	while (now() < end) {
		if (box(argc, argv, name) != 0)
			return 1;
		count++;
	}
	printf("%.1f\n", count / (now() - start));
	return 0;
}
