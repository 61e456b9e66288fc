/* What two boxes could share without a common directory: System V shared memory, semaphores and
 * queues, POSIX queues and shared memory, abstract sockets, /tmp. "plant" leaves one of each and
 * stays; "look" searches for them from a second box. Expected: ENOENT, ECONNREFUSED. */
#include "attack.h"
#include <mqueue.h>
#include <stddef.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { KEY = 0x72620001 };

int main(int argc, char **argv)
{
    attack("contain_shared_ipc");
    int plant = argc > 1 && strcmp(argv[1], "plant") == 0;
    int create = plant ? IPC_CREAT | 0666 : 0666;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, "\0contain_shared_ipc", 19);
    socklen_t length = offsetof(struct sockaddr_un, sun_path) + 19;
    int sock = socket(AF_UNIX, SOCK_STREAM, 0);
    int shm = shmget(KEY, 4096, create), sem = semget(KEY, 1, create), msg = msgget(KEY, create);
    if (plant) {
        umask(0);
        int object = shm_open("/contain", O_CREAT | O_RDWR, 0666);
        int file = open("/tmp/contain_shared_ipc", O_CREAT | O_RDWR, 0666);
        mqd_t queue = mq_open("/contain", O_CREAT | O_RDWR, 0666, NULL);
        int bound = bind(sock, (struct sockaddr *)&address, length) ? -1 : listen(sock, 4);
        say("planted: shm %d sem %d msg %d mq %d posix %d file %d socket %d", shm >= 0, sem >= 0, msg >= 0,
            queue >= 0, object >= 0, file >= 0, bound >= 0);
        say("armed: one of each");
        /* The end of standard input is the harness's word to tidy up. */
        char byte;
        while (read(0, &byte, 1) > 0)
            ;
        shmctl(shm, IPC_RMID, NULL);
        semctl(sem, 0, IPC_RMID);
        msgctl(msg, IPC_RMID, NULL);
        shm_unlink("/contain");
        mq_unlink("/contain");
        unlink("/tmp/contain_shared_ipc");
        return CONTAINED;
    }
    tried("shmget", shm);
    tried("semget", sem);
    tried("msgget", msg);
    tried("mq_open", mq_open("/contain", O_RDWR));
    tried("shm_open", shm_open("/contain", O_RDWR, 0));
    tried("open(/tmp/contain_shared_ipc)", open("/tmp/contain_shared_ipc", O_RDWR));
    tried("connect(abstract socket)", connect(sock, (struct sockaddr *)&address, length));
    conclude();
}
