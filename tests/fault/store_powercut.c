// SPDX-License-Identifier: Apache-2.0
/*
 * Power cut off, on a real ext4: a file system in a file, on a loop device, shut down by ioctl without its
 * log being flushed while batches are in flight. After mounting it again what was acknowledged is there
 * (needs root and loop devices; skipped otherwise).
 */
#include "ledger.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* As in the kernel's fs/ext4/ext4.h; not in its exported headers. */
#define EXT4_IOC_SHUTDOWN _IOR('X', 125, uint32_t)
enum { EXT4_GOING_FLAGS_NOLOGFLUSH = 2 };
enum { SKIP = 77, IMAGE_BYTES = 48 << 20, CUTS = 12, BATCHES_MOST = 120 };

static struct {
    char folder[64], image[96], mount[96], data[128], device[64];
    bool mounted;
} place;
static int wake_pipe[2];

/* Also by abort(), so that nothing stays mounted. */
static void clean_up(void)
{
    if (place.mounted)
        umount2(place.mount, MNT_DETACH);
    place.mounted = false;
    unlink(place.image);
    rmdir(place.mount);
    rmdir(place.folder);
}

static void aborted(int signal)
{
    (void)signal;
    clean_up();
    _exit(1);
}

static void fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    abort();
}

static bool make_file_system(void)
{
    int fd = open(place.image, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, IMAGE_BYTES))
        fail("image");
    close(fd);
    char *arguments[] = {"mkfs.ext4", "-q", "-F", place.image, NULL};
    char *environment[] = {"PATH=/usr/sbin:/sbin:/usr/bin:/bin", NULL};
    const char *programs[] = {"/usr/sbin/mkfs.ext4", "/sbin/mkfs.ext4"};
    for (int i = 0; i < 2; i++) {
        pid_t child;
        int status;
        if (posix_spawn(&child, programs[i], NULL, NULL, arguments, environment) == 0)
            return waitpid(child, &status, 0) == child && status == 0;
    }
    return false;
}

/* The loop device lets go of the image when it is unmounted. */
static bool mount_it(void)
{
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    int image = open(place.image, O_RDWR | O_CLOEXEC);
    int device = -1;
    for (int tries = 0; control >= 0 && image >= 0 && device < 0 && tries < 20; tries++) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);
        if (number < 0)
            break;
        snprintf(place.device, sizeof place.device, "/dev/loop%d", number);
        device = open(place.device, O_RDWR | O_CLOEXEC);
        if (device < 0)
            break;
        struct loop_config config = {.fd = (uint32_t)image, .info.lo_flags = LO_FLAGS_AUTOCLEAR};
        if (ioctl(device, LOOP_CONFIGURE, &config)) {
            bool taken = errno == EBUSY;
            close(device);
            device = -1;
            if (!taken)
                break;
        }
    }
    if (device >= 0)
        place.mounted = mount(place.device, place.mount, "ext4", 0, NULL) == 0;
    if (device >= 0)
        close(device);
    if (image >= 0)
        close(image);
    if (control >= 0)
        close(control);
    return place.mounted;
}

static void unmount_it(void)
{
    if (umount(place.mount))
        fail("umount");
    place.mounted = false;
}

static bool cut_off(void)
{
    int fd = open(place.mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    uint32_t how = EXT4_GOING_FLAGS_NOLOGFLUSH;
    bool done = fd >= 0 && ioctl(fd, EXT4_IOC_SHUTDOWN, &how) == 0;
    if (fd >= 0)
        close(fd);
    return done;
}

static void wake(void *arg)
{
    (void)arg;
    if (write(wake_pipe[1], "w", 1) != 1)
        fail("wake");
}

/* Without threads a batch is done when store_run() returns: ledger_go_on() counts on it. */
static struct store *open_store(bool threaded)
{
    struct store_options options = {.segment_bytes = 16 << 10, .wake = threaded ? wake : NULL};
    struct io *io;
    struct store *s = NULL;
    const char *why = "the folder can't be opened";
    int fault = io_posix_new(place.data, true, &io);
    if (!fault)
        fault = disk_open_io(&options, io, threaded, &s, &why);
    if (fault) {
        fprintf(stderr, "start failed: %d %s\n", fault, why);
        abort();
    }
    return s;
}

static void run_once(struct store *s)
{
    struct pollfd fd = {.fd = wake_pipe[0], .events = POLLIN};
    char bytes[64];
    if (poll(&fd, 1, 30000) != 1 || read(wake_pipe[0], bytes, sizeof bytes) <= 0)
        fail("nothing happens");
    store_run(s);
}

/* Batches that were acknowledged. */
static unsigned play(uint64_t seed)
{
    struct ledger ledger;
    struct sim_random random = {.state = seed * 7};
    ledger_init(&ledger, seed);
    ledger.no_deletions = true;
    struct store *s = open_store(true);
    uint64_t batches = 5 + sim_random(&random) % BATCHES_MOST;
    for (uint64_t i = 0; i < batches; i++) {
        ledger_send(&ledger, s);
        for (uint64_t most = sim_random(&random) % 6; ledger.in_flight > most;)
            run_once(s);
    }
    /* Every other time it comes into the middle of a commit. */
    if (seed % 2) {
        while (ledger.in_flight)
            run_once(s);
    } else {
        for (int i = 0; i < 3; i++)
            ledger_send(&ledger, s);
    }
    struct ledger known = ledger;
    if (!cut_off())
        fail("shutdown");
    /*
     * What is said after the cut does not count, for no machine lives to say it: an fdatasync() that is under
     * way when this ioctl comes may answer 0 though the file's new size is lost (seen with Linux 6.18).
     */
    store_close(s);
    unmount_it();
    if (!mount_it())
        fail("mount after the cut");
    s = open_store(false);
    ledger_check(&known, s);
    ledger_go_on(&known, s);
    ledger_check(&known, s);
    store_close(s);
    s = open_store(false);
    ledger_check(&known, s);
    store_close(s);
    unsigned acknowledged = known.acknowledged;
    ledger_fini(&ledger);
    unmount_it();
    return acknowledged;
}

/* False: not possible here. */
static bool make_place(void)
{
    snprintf(place.folder, sizeof place.folder, "/tmp/sandlog-powercut-XXXXXX");
    if (geteuid() != 0 || !mkdtemp(place.folder))
        return false;
    snprintf(place.image, sizeof place.image, "%s/image", place.folder);
    snprintf(place.mount, sizeof place.mount, "%s/mount", place.folder);
    snprintf(place.data, sizeof place.data, "%s/data", place.mount);
    return mkdir(place.mount, 0700) == 0 && make_file_system() && mount_it();
}

int main(void)
{
    signal(SIGABRT, aborted);
    signal(SIGTERM, aborted);
    signal(SIGINT, aborted);
    if (pipe(wake_pipe))
        return 1;
    /* Mounts of this process alone, gone with it however it ends. Is there a loop device, and does the ioctl
     * do it? */
    bool can = unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
               make_place() && cut_off();
    clean_up();
    if (!can) {
        fprintf(stderr, "needs root, loop devices and an ext4 that can be shut down\n");
        return SKIP;
    }
    unsigned acknowledged = 0;
    for (uint64_t seed = 1; seed <= CUTS; seed++) {
        if (!make_place())
            fail("file system");
        acknowledged += play(seed);
        clean_up();
    }
    printf("%d cuts, %u batches acknowledged\n", CUTS, acknowledged);
    return 0;
}
