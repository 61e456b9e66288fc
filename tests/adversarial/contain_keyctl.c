/* Kernel keyrings are not in any namespace: a key of the session or of the user is shared with every
 * process of the same uid, in other boxes as well. Expected in a box: EPERM from the filter for each
 * call. */
#include "attack.h"
#include <linux/keyctl.h>

int main(void)
{
    attack("contain_keyctl");
    long key = syscall(SYS_add_key, "user", "contain", "x", 1, KEY_SPEC_PROCESS_KEYRING);
    tried("add_key(process keyring)", key);
    tried("keyctl(GET_KEYRING_ID, session)", syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 1));
    tried("keyctl(GET_KEYRING_ID, user)", syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING, 0));
    tried("keyctl(JOIN_SESSION_KEYRING)", syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL));
    tried("request_key", syscall(SYS_request_key, "user", "contain", NULL, KEY_SPEC_PROCESS_KEYRING));
    conclude();
}
