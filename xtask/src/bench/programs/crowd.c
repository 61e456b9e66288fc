/* Starts as many processes as the argument says, each of which sleeps for ever, and ends. */
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int count = argc > 1 ? atoi(argv[1]) : 0;
	for (int i = 0; i < count; i++) {
		pid_t pid = fork();
		if (pid < 0)
			return 3;
		if (pid == 0)
			for (;;)
				pause();
	}
	return 0;
}
