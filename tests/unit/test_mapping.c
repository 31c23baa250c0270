/* SPDX-License-Identifier: BSD-2-Clause
 * Files that become shorter or change while they are mapped: reading them ends nothing, one line tells; alone, when
 * weights are loaded, and in the middle of a clip; and whose signal is whose. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "golden.h"
#include "files/mapping.h"
#include "small_model.h"

enum { W = 32, H = 32, N = 5, BYTES = W * H * 3 * N, PAGES = 8 };

static char name[256], other[256];

static void write_pages(const char *path, int n, int value)
{
    static char page[4096];
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    memset(page, value, sizeof(page));
    for (int i = 0; i < n; i++)
        CHECK(write(fd, page, sizeof(page)) == (ssize_t)sizeof(page));
    close(fd);
}

static size_t count(const TDMapping *m, int value)
{
    size_t n = 0;

    for (size_t i = 0; i < m->size; i++)
        n += m->data[i] == value;
    return n;
}

static void check_changed(const TDMappedFile *f, const char *words)
{
    Seen seen = { 0 };
    TDLog log = { .out = { &seen, on_line, TD_LOG_DEBUG } };

    check_error(&seen, td_map_check(f, &log), TD_ERR(EBADMSG), words);
    CHECK(strstr(seen.error, f->path) != NULL);
}

static void test_files(void)
{
    const struct timespec past[2] = { { 1, 0 }, { 1, 0 } };
    TDMappedFile f, g;
    TDLog log = { 0 };

    small_path(name, "pages");
    small_path(other, "others");
    test_begin("a mapped file that becomes shorter");
    write_pages(name, PAGES, 'a');
    write_pages(other, PAGES, 'b');
    if (!CHECK_INT(td_map_file(&f, name, &log), 0) || !CHECK_INT(td_map_file(&g, other, &log), 0))
        return;
    CHECK_INT(td_map_check(&f, &log), 0);
    CHECK_INT(truncate(name, 3 * 4096), 0);
    CHECK_INT(count(&f.map, 'a'), 3 * 4096);
    CHECK_INT(count(&f.map, 0), (PAGES - 3) * 4096);
    check_changed(&f, "went from 32768 to 12288 bytes while it was in use; to replace such a file, rename a new one");
    write_pages(name, PAGES, 'c');
    check_changed(&f, "became shorter or unreadable while it was in use");
    CHECK_INT(count(&g.map, 'b'), PAGES * 4096);
    CHECK_INT(td_map_check(&g, &log), 0);
    td_map_close(&f);

    test_begin("a mapped file that is written to");
    CHECK_INT(utimensat(AT_FDCWD, name, past, 0), 0);
    CHECK_INT(td_map_file(&f, name, &log), 0);
    CHECK_INT(td_map_check(&f, &log), 0);
    write_pages(name, PAGES, 'd');
    check_changed(&f, "was written to while it was in use");
    td_map_close(&f);
    CHECK_INT(td_map_file(&f, name, &log), 0);
    CHECK_INT(truncate(name, PAGES * 4096 + 1), 0);
    check_changed(&f, "went from 32768 to 32769 bytes");
    td_map_close(&f);

    test_begin("a mapped file whose name goes to a new one");
    write_pages(name, PAGES, 'e');
    CHECK_INT(td_map_file(&f, name, &log), 0);
    CHECK_INT(rename(other, name), 0);
    CHECK_INT(count(&f.map, 'e'), PAGES * 4096);
    CHECK_INT(td_map_check(&f, &log), 0);
    CHECK(!td_map_same(&f, &g) && td_map_same(&f, &f));
    CHECK_INT(unlink(name), 0);
    CHECK_INT(td_map_check(&f, &log), 0);
    CHECK_INT(td_map_check(&g, &log), 0);
    td_map_close(&f);
    td_map_close(&g);
    td_map_close(&g);
}

/* mapped twice */
static void check_same(const char *a, const char *b, int want)
{
    TDLog log = { 0 };
    TDMappedFile f, g;

    if (!CHECK_INT(td_map_file(&f, a, &log), 0) || !CHECK_INT(td_map_file(&g, b, &log), 0))
        return;
    CHECK_INT(td_map_same(&f, &g), want);
    td_map_close(&f);
    td_map_close(&g);
}

static void test_identity(void)
{
    const struct timespec past[2] = { { 1, 5 }, { 1, 5 } }, later[2] = { { 1, 6 }, { 1, 6 } };
    char link_name[256];

    test_begin("two files of one size and one time, as `cp -p` makes them, are two files");
    write_pages(name, PAGES, 'a');
    write_pages(other, PAGES, 'a');
    CHECK_INT(utimensat(AT_FDCWD, name, past, 0), 0);
    CHECK_INT(utimensat(AT_FDCWD, other, past, 0), 0);
    check_same(name, other, 0);
    check_same(name, name, 1);
    test_begin("two names of one file are one file, until it is written to");
    small_path(link_name, "link");
    CHECK_INT(link(name, link_name), 0);
    check_same(name, link_name, 1);
    if (CHECK_INT(unlink(link_name), 0)) {
        TDLog log = { 0 };
        TDMappedFile f, g;

        CHECK_INT(td_map_file(&f, name, &log), 0);
        CHECK_INT(utimensat(AT_FDCWD, name, later, 0), 0);
        CHECK_INT(td_map_file(&g, name, &log), 0);
        CHECK_INT(td_map_same(&f, &g), 0);
        td_map_close(&f);
        td_map_close(&g);
    }
}

/* ---- signals of others ---- */

static sigjmp_buf back;
static volatile sig_atomic_t n_signals;

static void on_signal(int sig)
{
    (void)sig;
    n_signals = n_signals + 1;
    siglongjmp(back, 1);
}

/* reads memory of a file that has become shorter, which is not in the table */
static void read_lost(void)
{
    int fd = open(small_path(other, "lost"), O_RDWR | O_CREAT | O_TRUNC, 0600);
    volatile char *p, c;

    if (ftruncate(fd, 4096) < 0)
        return;
    p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    if (ftruncate(fd, 0) == 0)
        c = *p;
    (void)c;
    munmap((void *)p, 4096);
    close(fd);
}

static void test_signals(void)
{
    struct sigaction mine = { .sa_handler = on_signal }, now;
    struct rlimit no_core = { 0, 0 };
    int status = 0;
    TDMappedFile f;
    TDLog log = { 0 };
    pid_t pid;

    small_path(name, "pages");
    write_pages(name, PAGES, 'a');
    test_begin("a handler that was there before gets what is not ours, and is there again afterwards");
    sigaction(SIGBUS, &mine, NULL);
    CHECK_INT(td_map_file(&f, name, &log), 0);
    if (!sigsetjmp(back, 1))
        read_lost();
    CHECK_INT(n_signals, 1);
    CHECK_INT(truncate(name, 4096), 0);
    if (!sigsetjmp(back, 1))
        CHECK_INT(count(&f.map, 'a'), 4096);
    CHECK_INT(n_signals, 1);
    if (!sigsetjmp(back, 1))
        raise(SIGBUS);
    CHECK_INT(n_signals, 2);
    td_map_close(&f);
    CHECK(sigaction(SIGBUS, NULL, &now) == 0 && now.sa_handler == on_signal);
    signal(SIGBUS, SIG_DFL);

    test_begin("without one, what is not ours ends the process as ever");
    write_pages(name, PAGES, 'a');
    for (int sent = 0; sent < 2; sent++) {
        fflush(stdout);
        pid = fork();
        if (!pid) {
            setrlimit(RLIMIT_CORE, &no_core);
            signal(SIGBUS, SIG_DFL);
            if (td_map_file(&f, name, &log) < 0)
                _exit(1);
            if (sent)
                raise(SIGBUS);
            else
                read_lost();
            _exit(2);
        }
        CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    }
}

/* ---- a model ---- */

static const char *const files[] = { "TurboWan2.1-T2V-1.3B-480P.safetensors", "models_t5_umt5-xxl-enc-bf16.safetensors",
                                     "Wan2.1_VAE.safetensors" };
enum { DIT, TEXT, VAE };

static void copy_model(const char *to)
{
    char command[700];

    snprintf(command, sizeof(command), "rm -rf %.100s/%.50s && cp -r %.100s/good %.100s/%.50s", small_dir, to,
             small_dir, small_dir, to);
    CHECK_INT(system(command), 0);
}

/* cuts the file, or writes it anew in place */
static void spoil(int file, int rewrite)
{
    char command[700], path[300], part[200];
    struct stat st;

    snprintf(part, sizeof(part), "bad/%s", files[file]);
    small_path(path, part);
    CHECK_INT(stat(path, &st), 0);
    snprintf(command, sizeof(command), "cp %.100s/good/%s %.250s", small_dir, files[file], path);
    CHECK_INT(rewrite ? system(command) : truncate(path, 4096), 0);
}

static void open_model(TDContext **c, TDSettings *s, Seen *seen, const char *model, enum TDResidency residency)
{
    char path[256];

    small_settings(s, seen, small_path(path, model));
    s->backend = golden_backend();
    s->quant = TD_QUANT_NONE;
    s->residency = residency;
    CHECK_INT(td_open(c, s), 0);
}

/* spoil a file when that many pieces of a clip are done, and see the clip end */
static void spoil_after(int file, int rewrite, int pieces, enum TDResidency residency, const uint8_t *good)
{
    static uint8_t rgb[BYTES], frame[W * H * 3];
    TDFrame f = { .format = TD_PIX_RGB24, .data = { frame }, .stride = { 3 * W } };
    TDContext *c = NULL, *beside = NULL;
    Seen seen, seen_beside;
    TDSettings s;
    TDParams p;
    int ret, done = 0;

    copy_model("bad");
    open_model(&beside, &s, &seen_beside, "good", TD_RESIDENT_ALL);
    open_model(&c, &s, &seen, "bad", residency);
    if (!c || !beside)
        return;
    small_params(&p);
    CHECK_INT(td_start(beside, &p), 0);
    p.nonblocking = 1;
    ret = td_start(c, &p);
    while (ret >= 0 && done < pieces && ((ret = td_read_frame(c, &f)) > 0 || ret == TD_ERR(EAGAIN))) {
        done++;
        ret = 0;
    }
    CHECK_INT(ret, 0);
    spoil(file, rewrite);
    while ((ret = td_read_frame(c, &f)) > 0 || ret == TD_ERR(EAGAIN))
        ;
    check_error(&seen, ret, TD_ERR(EBADMSG), rewrite ? " while it was in use" : "while it was in use; to replace");
    if (!CHECK(strstr(seen.error, files[file]) != NULL))
        printf("  %s\n", seen.error);
    CHECK_INT(read_clip(beside, rgb), N);        /* has files of its own */
    CHECK(!memcmp(rgb, good, BYTES));
    seen.n_errors = 0;
    if (file != TEXT) {                          /* a known prompt does without its file */
        ret = td_start(c, &p);
        if (ret >= 0)
            ret = read_clip(c, NULL);
        CHECK(ret == TD_ERR(EBADMSG) && seen.n_errors == 1 && strstr(seen.error, files[file]));
    }
    td_close(&c);
    td_close(&beside);
    CHECK_STR(seen_beside.error, "");
}

static void test_model(void)
{
    static uint8_t good[BYTES], again[BYTES];
    TDContext *c = NULL;
    TDSettings s;
    TDParams p;
    Seen seen;

    test_begin("a model whose files stay");
    if (small_model_make("good", golden_backend() == TD_BACKEND_CUDA ? "--vae-dim=16" : "") < 0)
        return;
    open_model(&c, &s, &seen, "good", TD_RESIDENT_ALL);
    small_params(&p);
    if (!c || !CHECK_INT(td_start(c, &p), 0) || !CHECK_INT(read_clip(c, good), N))
        return;
    td_close(&c);

    test_begin("a weight file that is cut before it is loaded");
    spoil_after(TEXT, 0, 0, TD_RESIDENT_STAGE, good);
    spoil_after(DIT, 0, 0, TD_RESIDENT_STAGE, good);
    spoil_after(VAE, 0, 0, TD_RESIDENT_STAGE, good);
    if (golden_backend() == TD_BACKEND_CPU) {    /* a GPU has copies of what is loaded */
        test_begin("a weight file that is cut in the middle of a clip");
        spoil_after(TEXT, 0, 0, TD_RESIDENT_ALL, good);
        spoil_after(DIT, 0, 2, TD_RESIDENT_ALL, good);
        spoil_after(VAE, 0, 2, TD_RESIDENT_ALL, good);
        spoil_after(VAE, 0, 5, TD_RESIDENT_ALL, good);       /* after the first frame */
        test_begin("a weight file that is copied over in the middle of a clip");
        spoil_after(DIT, 1, 2, TD_RESIDENT_ALL, good);
        spoil_after(VAE, 1, 2, TD_RESIDENT_STAGE, good);
    }

    test_begin("the same files, put back");
    copy_model("bad");
    open_model(&c, &s, &seen, "bad", TD_RESIDENT_ALL);
    if (c && CHECK_INT(td_start(c, &p), 0) && CHECK_INT(read_clip(c, again), N))
        CHECK(!memcmp(good, again, BYTES));
    td_close(&c);
    CHECK_STR(seen.error, "");
}

int main(void)
{
    test_begin("directory");
    if (!CHECK(mkdtemp(small_dir) != NULL))
        return test_end();
    test_files();
    test_identity();
    test_signals();
    test_model();
    small_model_remove();
    return test_end();
}
