/* Loads a filter from a file and runs a program under it, and nothing else of a box.
 *
 * usage: under_filter FILTER MODE PROGRAM [ARGUMENT]...
 * MODE is `off` (FILTER is not read: the control), `errno`, or `kill`. In `kill` this process holds the
 * listener: for every notification it prints `notified ARCH NUMBER` on stderr and kills the caller.
 * The program is killed after 120 s, so that a test cannot hang on it.
 * The exit status is the program's, 128 + n for a signal, 125 for a failure of this program.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static struct sock_filter program[4096];

static void die(const char *what)
{
	fprintf(stderr, "under_filter: %s: %s\n", what, strerror(errno));
	_exit(125);
}

static int load(const char *path, unsigned flags)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t bytes = fd < 0 ? -1 : read(fd, program, sizeof program);
	if (bytes <= 0)
		die(path);
	close(fd);
	struct sock_fprog filter = { .len = bytes / sizeof program[0], .filter = program };
	int result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter);
	if (result < 0)
		die("seccomp");
	return result;
}

union control {
	char bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

static void send_fd(int socket, int fd)
{
	char byte = 0;
	union control control = { 0 };
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1,
				  .msg_control = control.bytes, .msg_controllen = sizeof control.bytes };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(header), &fd, sizeof fd);
	if (sendmsg(socket, &message, 0) != 1)
		die("sendmsg");
}

static int receive_fd(int socket)
{
	char byte;
	int fd;
	union control control;
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1,
				  .msg_control = control.bytes, .msg_controllen = sizeof control.bytes };
	if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1 || !CMSG_FIRSTHDR(&message))
		die("recvmsg");
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
	return fd;
}

/* Answers notifications until nobody is left who could cause one. */
static void watch(int listener)
{
	struct pollfd poll_fd = { .fd = listener, .events = POLLIN };
	while (poll(&poll_fd, 1, -1) >= 0 || errno == EINTR) {
		struct seccomp_notif notification = { 0 };
		if (!(poll_fd.revents & POLLIN))
			return;
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &notification) < 0)
			continue;
		fprintf(stderr, "notified %u %d\n", notification.data.arch, notification.data.nr);
		kill(notification.pid, SIGKILL);
	}
}

int main(int argc, char **argv)
{
	int pair[2], status;
	if (argc < 4)
		return 125;
	int errno_mode = !strcmp(argv[2], "errno"), kill_mode = !strcmp(argv[2], "kill");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		die("socketpair");
	pid_t child = fork();
	if (child < 0)
		die("fork");
	if (child == 0) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
			die("no_new_privs");
		if (errno_mode)
			load(argv[1], 0);
		if (kill_mode)
			send_fd(pair[1], load(argv[1], SECCOMP_FILTER_FLAG_NEW_LISTENER));
		alarm(120);
		execvp(argv[3], argv + 3);
		die(argv[3]);
	}
	close(pair[1]);
	if (kill_mode)
		watch(receive_fd(pair[0]));
	if (waitpid(child, &status, 0) != child)
		die("waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
