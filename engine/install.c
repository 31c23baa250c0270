/* SPDX-License-Identifier: BSD-2-Clause
 * Finds what is installed beside the library's code. The Makefile defines TD_DATADIR. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "install.h"

#define DEMO "turbodiff/demo-model"

int td_own_dir(char *dir, size_t size)
{
    char exe[4096];
    const char *file = exe, *slash;
    Dl_info info;
    ssize_t n;

    if (!dladdr((void *)(uintptr_t)td_version, &info) || !info.dli_fname)
        return TD_ERR(ENOENT);
    if (strchr(info.dli_fname, '/')) {
        file = info.dli_fname;
    } else {                                     /* the program, by the name it was found under in PATH */
        n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
        if (n < 0)
            return TD_ERR(ENOENT);
        exe[n] = 0;
    }
    slash = strrchr(file, '/');
    if (!slash || (size_t)(slash - file) >= size)
        return TD_ERR(ENOENT);
    memcpy(dir, file, (size_t)(slash - file));
    dir[slash - file] = 0;
    return 0;
}

int td_default_model(char *path, size_t size, const char *dir, TDLog *log)
{
    static const char *const beside[] = { "share/" DEMO, "../share/" DEMO };
    struct stat st;

    for (int i = 0; dir && i < 2; i++)
        if ((size_t)snprintf(path, size, "%s/%s", dir, beside[i]) < size && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
            return 0;
    if ((size_t)snprintf(path, size, "%s/%s", TD_DATADIR, DEMO) < size && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return 0;
    return td_error(log, ENOENT, "no model given, and the demo model is not installed (there is neither %s/%s nor "
                    "%s/%s); set model= to a directory with a model's files", TD_DATADIR, DEMO, dir ? dir : ".",
                    beside[1]);
}
