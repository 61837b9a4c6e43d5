/* Takes a page of memfd_secret(2) and writes to it: ends with 0 if the kernel lets it, else with 1 and the reason.
 *
 * Must never ask by the daemon's own code, which is judged by the answer. Built by tests/memory_scan/run, and run by the
 * scan.
 */
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The same number on every machine; older headers do not have it. */
#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

static int refused(const char *call) {
    perror(call);
    return 1;
}

int main(void) {
    const long page = sysconf(_SC_PAGESIZE);
    const int memory = (int)syscall(SYS_memfd_secret, 0);
    if (memory < 0)
        return refused("memfd_secret");
    if (ftruncate(memory, page) != 0)
        return refused("ftruncate");
    volatile char *const bytes = mmap(NULL, (size_t)page, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    if (bytes == MAP_FAILED)
        return refused("mmap");
    bytes[0] = 1;
    return 0;
}
