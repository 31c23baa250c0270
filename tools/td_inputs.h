/* SPDX-License-Identifier: BSD-2-Clause
 * td does not write to a file that it reads.
 * 1. Files are told by device and inode, so that a link is what it leads to. Only regular files are compared: a pipe or
 *    a device loses nothing.
 * 2. Of a model's directory, what the library may read counts, whether it does this time or not; a clip or statistics
 *    beside the weights are none of it. */
#ifndef TD_INPUTS_H
#define TD_INPUTS_H

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>
#include "td_options.h"
#include "model/install.h"
#include "model/model_scan.h"

#define MODEL_DEPTH 3                            /* folders in folders, as deep as the library looks */

/* name: from the folder dir */
static inline int is_same(const struct stat *st, int dir, const char *name)
{
    struct stat other;

    return fstatat(dir, name, &other, 0) == 0 && S_ISREG(other.st_mode) && st->st_dev == other.st_dev &&
           st->st_ino == other.st_ino;
}

static inline int is_model_name(const char *name)
{
    static const char *const names[] = { "spiece.model", "turbodiff.conf", "model_index.json",
                                         "scheduler_config.json" };
    int known = td_has_weight_ending(name);

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        known |= !strcmp(name, names[i]);
    return known;
}

/* fd: of the folder, or less than 0 where there is none; it is closed */
static inline int is_in_folder(const struct stat *st, int fd, int depth)
{
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *e;
    int found = 0;

    if (!d && fd >= 0)
        close(fd);
    while (d && !found && (e = readdir(d)))
        if (is_model_name(e->d_name))
            found = is_same(st, fd, e->d_name);
        else if (depth && e->d_name[0] != '.')
            found = is_in_folder(st, openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC), depth - 1);
    if (d)
        closedir(d);
    return found;
}

static inline int open_folder(const char *path)
{
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* FILE, n bytes at text, or a shard beside that index of them */
static inline int is_weights(const struct stat *st, const char *text, size_t n)
{
    char path[PATH_MAX];
    int index = n > 5 && !memcmp(text + n - 5, ".json", 5);

    if (!n || n >= sizeof(path))
        return 0;
    memcpy(path, text, n);
    path[n] = 0;
    if (is_same(st, AT_FDCWD, path))
        return 1;
    while (n && path[n - 1] != '/')
        n--;
    snprintf(path + n, sizeof(path) - n, ".");
    return index && is_in_folder(st, open_folder(path), 0);
}

/* FILE[*STRENGTH], joined with | */
static inline int is_of_list(const struct stat *st, const char *list)
{
    int found = 0;

    for (size_t n; list && *list && !found; list += n + (list[n] == '|')) {
        const char *star;

        n = strcspn(list, "|");
        star = memrchr(list, '*', n);
        found = is_weights(st, list, star ? (size_t)(star - list) : n);
    }
    return found;
}

static inline int is_of_model(const Options *o, const struct stat *st)
{
    char own[PATH_MAX], demo[PATH_MAX];
    TDLog silent = { 0 };

    if (o->s.model)
        return is_in_folder(st, open_folder(o->s.model), MODEL_DEPTH);
    return td_default_model(demo, sizeof(demo), td_own_dir(own, sizeof(own)) < 0 ? NULL : own, o->picture != NULL,
                            &silent) >= 0 && is_in_folder(st, open_folder(demo), MODEL_DEPTH);
}

/* path: of a file to write to, or NULL; stats: that of statistics, which is none beside it, or NULL. @return 0, or -1
 * after a line */
static inline int check_output(const Options *o, const char *path, const char *stats)
{
    const char *what = NULL;
    struct stat st;

    if (!path || !strcmp(path, "-") || stat(path, &st) < 0 || !S_ISREG(st.st_mode))
        return 0;
    if (stats)
        what = is_same(&st, AT_FDCWD, stats) ? "the file of --stats" : NULL;
    else if (o->many && is_same(&st, AT_FDCWD, o->prompt))
        what = "the file of --prompts";
    else if (o->picture && is_same(&st, AT_FDCWD, o->picture))
        what = "the file of --image";
    else if (o->s.vae && is_weights(&st, o->s.vae, strlen(o->s.vae)))
        what = "the file of --vae";
    else if (is_of_list(&st, o->p.lora))
        what = "a file of --lora";
    else if (is_of_list(&st, o->p.lora_low))
        what = "a file of --lora-low";
    else if (is_of_model(o, &st))
        what = "a file of the model";
    if (!what)
        return 0;
    fprintf(stderr, "td: %s is %s, want another file to write to\n", path, what);
    return -1;
}

#endif /* TD_INPUTS_H */
