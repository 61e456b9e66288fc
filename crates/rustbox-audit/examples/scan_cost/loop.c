/*
 * What reading costs at least: for each line on standard input, reads of every process what a look of the audit reads
 * (the link ns/pid, sessionid, the owner), and prints the nanoseconds of
 * processor time and the number of processes.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int look(int proc)
{
	char text[4096];
	int count = 0;
	int fresh = openat(proc, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = fdopendir(fresh);
	struct dirent *entry;

	while (list && (entry = readdir(list))) {
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		int process = openat(proc, entry->d_name, O_PATH | O_DIRECTORY | O_CLOEXEC);

		if (process < 0)
			continue;
		struct stat owner;
		ssize_t length = readlinkat(process, "ns/pid", text, sizeof(text));
		int file = openat(process, "sessionid", O_RDONLY | O_CLOEXEC);

		if (file >= 0) {
			length += read(file, text, sizeof(text));
			close(file);
		}
		length += fstatat(process, "", &owner, AT_EMPTY_PATH);
		count += length > 0;
		close(process);
	}
	if (list)
		closedir(list);
	return count;
}

int main(void)
{
	int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char line[64];

	while (fgets(line, sizeof(line), stdin)) {
		struct timespec before, after;

		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
		int count = look(proc);
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
		printf("%lld %d\n", (after.tv_sec - before.tv_sec) * 1000000000LL + after.tv_nsec - before.tv_nsec, count);
		fflush(stdout);
	}
	return 0;
}
