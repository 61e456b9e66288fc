/* Makes system calls and tells what came of them.
 *
 * usage: try_calls NUMBER:ARGUMENT,ARGUMENT,... ...
 * Each call is made by a process of its own. Prints `NUMBER returned VALUE`, `NUMBER failed ERRNO` or
 * `NUMBER killed SIGNAL`, one line per call in order. Arguments that are not given are 0.
 * `int80:NUMBER` makes a call through the i386 ABI, `tiocsti:HIGH` types into a terminal
 * of its own with HIGH in the upper half of the request, and prints how many bytes arrived.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

struct outcome {
	long value;
	int error;
};

static long tiocsti(unsigned long high)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY), waiting = 0;
	struct termios raw;
	if (master < 0 || grantpt(master) || unlockpt(master))
		return -1;
	/* The session has no terminal yet, so opening one makes it the controlling terminal. */
	int terminal = open(ptsname(master), O_RDWR);
	if (terminal < 0 || tcgetattr(terminal, &raw))
		return -1;
	cfmakeraw(&raw);
	if (tcsetattr(terminal, TCSANOW, &raw) || syscall(SYS_ioctl, terminal, TIOCSTI | high << 32, "x"))
		return -1;
	return ioctl(terminal, FIONREAD, &waiting) ? -1 : waiting;
}

static long int80(long number)
{
#ifdef __x86_64__
	long result;
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(0L), "c"(0L), "d"(0L) : "memory");
	result = (int)result;
	if (result < 0 && result >= -4095) {
		errno = (int)-result;
		return -1;
	}
	return result;
#else
	(void)number;
	errno = ENOSYS;
	return -1;
#endif
}

static long attempt(const char *text)
{
	unsigned long arguments[6] = { 0 };
	char *end;
	if (!strncmp(text, "tiocsti:", 8))
		return tiocsti(strtoul(text + 8, NULL, 0));
	if (!strncmp(text, "int80:", 6))
		return int80(strtol(text + 6, NULL, 0));
	long number = strtol(text, &end, 0);
	for (int i = 0; i < 6 && *end; i++)
		arguments[i] = strtoul(end + 1, &end, 0);
	errno = 0;
	long value = syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
	/* The child of a clone that succeeded has nothing to tell. */
	if (number == SYS_clone && value == 0)
		_exit(0);
	return value;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		int pipes[2], status, length;
		struct outcome outcome = { 0 };
		if (!strchr(argv[i], ':') || pipe(pipes))
			return 1;
		if (!strncmp(argv[i], "int80", 5) || !strncmp(argv[i], "tiocsti", 7))
			length = (int)strlen(argv[i]);
		else
			length = (int)strcspn(argv[i], ":");
		pid_t child = fork();
		if (child < 0)
			return 1;
		if (child == 0) {
			/* A session of its own: vhangup has no terminal to hang up. */
			setsid();
			outcome.value = attempt(argv[i]);
			outcome.error = errno;
			_exit(write(pipes[1], &outcome, sizeof outcome) != sizeof outcome);
		}
		close(pipes[1]);
		ssize_t got = read(pipes[0], &outcome, sizeof outcome);
		close(pipes[0]);
		if (waitpid(child, &status, 0) != child)
			return 1;
		if (WIFSIGNALED(status))
			printf("%.*s killed %d\n", length, argv[i], WTERMSIG(status));
		else if (got != sizeof outcome)
			return 1;
		else if (outcome.value == -1)
			printf("%.*s failed %d\n", length, argv[i], outcome.error);
		else
			printf("%.*s returned %ld\n", length, argv[i], outcome.value);
	}
	return 0;
}
