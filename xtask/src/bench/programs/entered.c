/*
 * Which functions a program and its children enter: a breakpoint at each, taken away where it was hit.
 *
 * entered ADDRESSES OUT PROGRAM [ARG...]
 *
 * ADDRESSES has an address of the ELF file on each line, in hexadecimal, none twice, and so has OUT then. PROGRAM is position
 * independent. A child that executes something else is let go. The exit code is PROGRAM's.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define BREAKPOINT 0xcc
#define MOST 200000
#define OPTIONS (PTRACE_O_EXITKILL | PTRACE_O_TRACEEXEC | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE)

struct function {
	unsigned long address;
	unsigned char byte;
	int entered;
};

static struct function functions[MOST];
static size_t count;
static unsigned long base;

static void fail(const char *what)
{
	perror(what);
	exit(2);
}

static int by_address(const void *a, const void *b)
{
	unsigned long one = ((const struct function *)a)->address, other = ((const struct function *)b)->address;
	return one < other ? -1 : one > other;
}

static void read_addresses(const char *path)
{
	FILE *file = fopen(path, "r");
	if (!file)
		fail(path);
	while (count < MOST && fscanf(file, "%lx", &functions[count].address) == 1)
		count++;
	fclose(file);
	qsort(functions, count, sizeof functions[0], by_address);
}

/* Where the kernel has put a program that has not run yet. */
static void find_base(pid_t pid)
{
	char path[64], program[4096] = "", line[8192];
	snprintf(path, sizeof path, "/proc/%d/exe", pid);
	if (readlink(path, program, sizeof program - 1) < 0)
		fail(path);
	snprintf(path, sizeof path, "/proc/%d/maps", pid);
	FILE *maps = fopen(path, "r");
	if (!maps)
		fail(path);
	while (base == 0 && fgets(line, sizeof line, maps))
		if (strstr(line, program))
			base = strtoul(line, NULL, 16);
	fclose(maps);
}

static int memory_of(pid_t pid)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/mem", pid);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		fail(path);
	return fd;
}

static void set_breakpoints(pid_t pid)
{
	int memory = memory_of(pid);
	for (size_t i = 0; i < count; i++) {
		unsigned char trap = BREAKPOINT;
		off_t at = (off_t)(base + functions[i].address);
		if (pread(memory, &functions[i].byte, 1, at) != 1 || pwrite(memory, &trap, 1, at) != 1)
			fail("set a breakpoint");
	}
	close(memory);
}

/* Whether the process stands behind one of the breakpoints, which is then taken away. */
static int entered(pid_t pid)
{
	struct user_regs_struct registers;
	if (ptrace(PTRACE_GETREGS, pid, 0, &registers) != 0)
		return 0;
	struct function key = { .address = registers.rip - 1 - base };
	struct function *found = bsearch(&key, functions, count, sizeof key, by_address);
	if (!found)
		return 0;
	found->entered = 1;
	int memory = memory_of(pid);
	if (pwrite(memory, &found->byte, 1, (off_t)(registers.rip - 1)) != 1)
		fail("take a breakpoint away");
	close(memory);
	registers.rip--;
	return ptrace(PTRACE_SETREGS, pid, 0, &registers) == 0;
}

/* Answers one stop. */
static void answer(pid_t pid, int status)
{
	int signal = WSTOPSIG(status), event = status >> 16;
	if (event == PTRACE_EVENT_EXEC) {
		ptrace(PTRACE_DETACH, pid, 0, 0);
		return;
	}
	/* A new process begins with a stop of the kernel's, not of anybody's. */
	if (event != 0 || signal == SIGSTOP || (signal == SIGTRAP && entered(pid)))
		signal = 0;
	ptrace(PTRACE_CONT, pid, 0, signal);
}

static void write_entered(const char *path)
{
	FILE *file = fopen(path, "w");
	if (!file)
		fail(path);
	for (size_t i = 0; i < count; i++)
		if (functions[i].entered)
			fprintf(file, "%lx\n", functions[i].address);
	fclose(file);
}

int main(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	read_addresses(argv[1]);
	pid_t main_pid = fork(), pid;
	int status, end = 2;
	if (main_pid == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		execv(argv[3], argv + 3);
		_exit(127);
	}
	if (main_pid < 0 || waitpid(main_pid, &status, 0) != main_pid || !WIFSTOPPED(status))
		fail("start the program");
	ptrace(PTRACE_SETOPTIONS, main_pid, 0, OPTIONS);
	find_base(main_pid);
	set_breakpoints(main_pid);
	ptrace(PTRACE_CONT, main_pid, 0, 0);
	while ((pid = waitpid(-1, &status, __WALL)) > 0) {
		if (WIFSTOPPED(status))
			answer(pid, status);
		else if (pid == main_pid)
			end = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	}
	write_entered(argv[2]);
	return end;
}
