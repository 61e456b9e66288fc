/*
 * The yardstick for boxes: single-use boxes, one after the other, with the namespaces and the cgroups of a box of rustbox.
 * A `bare` one has nothing else. A `full` one has a root, credentials and a filter like those of rustbox too. Of neither is
 * anything written down, read back or proved, and nobody cleans up if it dies. Prints boxes per second; with 0 SECONDS it
 * makes one box.
 *
 * boxloop SECONDS PROGRAM bare|full CGROUP2_ROOT [CGROUP1_ROOT...]
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UID 70000
/* Of the arguments: the directory in the first hierarchy. */
#define FIRST 4
#define LENGTH(array) (sizeof(array) / sizeof(array)[0])

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

static void must(int held, const char *what)
{
	if (held)
		return;
	perror(what);
	_exit(1);
}

/* Shows a file or directory of the host below the working directory, if there is one. */
static void show(const char *source, const char *place)
{
	struct stat st;
	if (stat(source, &st) != 0)
		return;
	must((S_ISDIR(st.st_mode) ? mkdir(place, 0755) : mknod(place, S_IFREG | 0444, 0)) == 0, place);
	must(mount(source, place, NULL, MS_BIND | MS_REC, NULL) == 0, source);
}

static void seal(const char *place, unsigned flags, unsigned long set, unsigned long clear)
{
	struct mount_attr attr = { .attr_set = set, .attr_clr = clear };
	must(syscall(SYS_mount_setattr, AT_FDCWD, place, flags, &attr, sizeof attr) == 0, "mount_setattr");
}

static void mount_tmpfs(const char *place, const char *options)
{
	mkdir(place, 0755);
	must(mount("tmpfs", place, "tmpfs", MS_NOSUID | MS_NODEV, options) == 0, place);
}

static void show_system(void)
{
	static const char *links[] = { "bin", "sbin", "lib", "lib64" };
	static const char *etc[] = { "alternatives", "ca-certificates", "ld.so.cache", "localtime", "pki", "ssl", "crypto-policies" };
	char source[64], target[64];
	for (size_t i = 0; i < LENGTH(links); i++) {
		snprintf(target, sizeof target, "usr/%s", links[i]);
		must(symlink(target, links[i]) == 0, links[i]);
	}
	must(mkdir("etc", 0755) == 0, "etc");
	show("/usr", "usr");
	for (size_t i = 0; i < LENGTH(etc); i++) {
		snprintf(source, sizeof source, "/etc/%s", etc[i]);
		show(source, source + 1);
	}
}

static void make_devices(void)
{
	static const struct { const char *name; int major, minor; } devices[] = {
		{ "dev/null", 1, 3 }, { "dev/zero", 1, 5 }, { "dev/full", 1, 7 },
		{ "dev/random", 1, 8 }, { "dev/urandom", 1, 9 }, { "dev/tty", 5, 0 },
	};
	must(mkdir("dev", 0755) == 0 && mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755") == 0, "dev");
	for (size_t i = 0; i < LENGTH(devices); i++)
		must(mknod(devices[i].name, S_IFCHR | 0666, makedev(devices[i].major, devices[i].minor)) == 0, devices[i].name);
	must(symlink("/proc/self/fd", "dev/fd") == 0 && symlink("/proc/self/fd/0", "dev/stdin") == 0, "dev/fd");
	must(symlink("/proc/self/fd/1", "dev/stdout") == 0 && symlink("/proc/self/fd/2", "dev/stderr") == 0, "dev/fd");
	must(mkdir("dev/shm", 0755) == 0, "dev/shm");
	seal("dev", 0, MOUNT_ATTR_RDONLY, 0);
}

static void mount_proc(void)
{
	static const char *masks[] = { "kcore", "keys", "key-users", "kallsyms", "modules", "interrupts", "timer_list" };
	char path[64];
	unsigned long flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
	must(mkdir("proc", 0755) == 0 && mount("proc", "proc", "proc", flags, "hidepid=invisible") == 0, "proc");
	for (size_t i = 0; i < LENGTH(masks); i++) {
		snprintf(path, sizeof path, "proc/%s", masks[i]);
		/* Not every kernel has every one. */
		mount("dev/null", path, NULL, MS_BIND, NULL);
	}
}

static void write_etc(void)
{
	static const char *names[] = { "etc/passwd", "etc/group", "etc/hosts", "etc/nsswitch.conf" };
	for (size_t i = 0; i < LENGTH(names); i++) {
		int fd = open(names[i], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		must(fd >= 0 && write(fd, "root:x:0:\n", 10) == 10 && close(fd) == 0, names[i]);
	}
}

static void enter_root(const char *program)
{
	must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "private");
	int context = syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);
	must(syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0, "fsconfig");
	int root = syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	must(syscall(SYS_move_mount, root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) == 0, "move_mount");
	must(fchdir(root) == 0, "fchdir");
	show_system();
	show(program, "program");
	seal("", AT_EMPTY_PATH | AT_RECURSIVE, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, 0);
	seal("", AT_EMPTY_PATH, 0, MOUNT_ATTR_RDONLY);
	make_devices();
	mount_tmpfs("tmp", "size=64M,nr_inodes=65536,mode=1777");
	mount_tmpfs("dev/shm", "size=64M,nr_inodes=65536,mode=1777");
	mount_tmpfs("box", "size=256M,nr_inodes=65536,mode=0700,uid=70000,gid=70000");
	mount_proc();
	write_etc();
	seal("", AT_EMPTY_PATH, MOUNT_ATTR_RDONLY, 0);
	must(syscall(SYS_pivot_root, ".", ".") == 0 && umount2(".", MNT_DETACH) == 0 && chdir("/") == 0, "pivot_root");
	close(context);
	close(root);
}

/* As long as that of rustbox, and it allows everything, which is found out at once. */
static void load_filter(void)
{
	static struct sock_filter filter[292];
	for (size_t i = 0; i < LENGTH(filter); i++)
		filter[i] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = { .len = LENGTH(filter), .filter = filter };
	must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0, "seccomp");
}

static int payload(void *unused)
{
	(void)unused;
	must(setsid() > 0 && setgroups(0, NULL) == 0, "setgroups");
	must(setresgid(UID, UID, UID) == 0 && setresuid(UID, UID, UID) == 0, "setresuid");
	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && chdir("/box") == 0, "box");
	load_filter();
	execl("/program", "program", (char *)0);
	_exit(127);
}

/* The init of a full box. */
static void serve(const char *program)
{
	static char stack[65536] __attribute__((aligned(16)));
	struct ifreq loopback = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int status = 1, sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	must(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && sethostname("rustbox", 7) == 0, "sethostname");
	must(ioctl(sock, SIOCSIFFLAGS, &loopback) == 0 && close(sock) == 0, "loopback");
	enter_root(program);
	for (int capability = 0; prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0; capability++)
		;
	int pid = clone(payload, stack + sizeof stack, CLONE_VM | SIGCHLD, NULL);
	must(pid > 0 && waitpid(pid, &status, 0) == pid, "payload");
	_exit(status != 0);
}

static int box(int argc, char **argv, const char *name)
{
	char path[600];
	int procs[8], status = 0;
	for (int i = FIRST; i < argc; i++) {
		snprintf(path, sizeof path, "%s/%s", argv[i], name);
		if (mkdir(path, 0755) != 0)
			return 1;
		put(argv[i], name, "memory.limit_in_bytes", "1073741824");
		procs[i - FIRST] = i > FIRST ? open_in(argv[i], name, "tasks", O_WRONLY) : -1;
	}
	int dir = open_in(argv[FIRST], name, ".", O_RDONLY | O_DIRECTORY);
	struct clone_args args = {
		.flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | CLONE_INTO_CGROUP,
		.exit_signal = SIGCHLD,
		.cgroup = dir,
	};
	long pid = syscall(SYS_clone3, &args, sizeof args);
	if (pid == 0) {
		for (int i = FIRST + 1; i < argc; i++)
			must(write(procs[i - FIRST], "0", 1) == 1, "tasks");
		must(unshare(CLONE_NEWCGROUP) == 0, "unshare");
		if (strcmp(argv[3], "full") == 0)
			serve(argv[2]);
		execl(argv[2], argv[2], (char *)0);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		status = 1;
	put(argv[FIRST], name, "cgroup.kill", "1");
	close(dir);
	for (int i = argc - 1; i >= FIRST; i--) {
		if (i > FIRST)
			close(procs[i - FIRST]);
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
	if (argc <= FIRST || argc > FIRST + 8)
		return 2;
	snprintf(name, sizeof name, "bench-loop-%d", (int)getpid());
	double start = now(), end = start + atof(argv[1]);
	do {
		if (box(argc, argv, name) != 0)
			return 1;
		count++;
	} while (now() < end);
	if (end > start)
		printf("%.1f\n", count / (now() - start));
	return 0;
}
