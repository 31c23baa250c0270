/* SPDX-License-Identifier: BSD-2-Clause
 * Devices through the library's functions, with the module that claims GPUs beside this program: devices MODEL. Claimed
 * are an H100 with 900 MiB free, one with 100, and an RTX 4090 with 900. */
#include <stdlib.h>
#include "api/turbodiff.h"
#include "../unit/test.h"

static char lines[4096];

static void keep_line(void *cookie, int level, const char *text)
{
    size_t n = strlen(lines);

    (void)cookie;
    (void)level;
    snprintf(lines + n, sizeof(lines) - n, "%s\n", text);
}

static TDSettings settings(const char *model)
{
    TDSettings s;

    lines[0] = 0;
    td_default_settings(&s, sizeof(s));
    s.model = model;
    s.logger = (TDLogger){ NULL, keep_line, TD_LOG_INFO };
    return s;
}

static TDParams clip(int side, int n_frames)
{
    TDParams p;

    td_default_params(&p, sizeof(p));
    p.prompt = "a cat";
    p.width = p.height = side;
    p.n_frames = n_frames;
    p.n_steps = 1;
    return p;
}

static int has(const char *text)
{
    int found = strstr(lines, text) != NULL;

    if (!found)
        printf("  no '%s' in:\n%s", text, lines);
    return found;
}

static void tell(void *cookie, const TDDeviceInfo *d, size_t struct_size)
{
    TDDeviceInfo *list = cookie;

    CHECK(struct_size == sizeof(*d) && d->number < 3);
    CHECK(!strncmp(d->uuid, d->number == 1 ? "MIG-" : "GPU-", 4) && d->pci[0] && !strcmp(d->driver, "999.10"));
    list[d->number] = *d;
}

static void test_list(const char *model)
{
    TDDeviceInfo list[3] = { { 0 } };
    TDSettings s = settings(NULL);
    TDParams p = clip(64, 5);

    test_begin("a list of devices");
    CHECK_INT(td_list_devices(&s, tell, list), 3);
    CHECK_STR(lines, "");
    CHECK(list[0].fit == TD_FIT_UNKNOWN && !list[0].all_bytes && !list[0].chosen && !list[0].fault);
    CHECK(list[0].capability == 90 && list[0].multiprocessors == 132 && list[0].clock_khz == 1980000);
    CHECK(list[1].free_bytes == (uint64_t)100 << 20 && list[1].total_bytes == (uint64_t)1000 << 20);
    CHECK_INT(td_list_devices(NULL, tell, list), TD_ERR(EINVAL));
    CHECK_INT(td_list_devices(&s, NULL, list), TD_ERR(EINVAL));

    test_begin("of the one that the settings name");
    memset(list, 0, sizeof(list));
    s.device = 1;
    CHECK_INT(td_list_devices(&s, tell, list), 1);
    CHECK(!list[0].uuid && list[1].uuid && !list[2].uuid);
    s.device = 3;
    CHECK_INT(td_list_devices(&s, tell, list), TD_ERR(EINVAL));
    CHECK(has("device 3, want 0..2"));
    s.device = -1;
    s.card = "3d:00.0";
    CHECK_INT(td_list_devices(&s, tell, list), 1);
    CHECK(list[2].uuid != NULL);
    s.card = NULL;
    s.backend = TD_BACKEND_CPU;
    CHECK_INT(td_list_devices(&s, tell, list), TD_ERR(EINVAL));
    CHECK(has("backend cpu has no GPU"));

    test_begin("a list of devices, with a model");
    s = settings(model);
    CHECK_INT(td_list_devices(&s, tell, list), 3);
    CHECK(list[0].fit == TD_FIT_ALL && list[1].fit == TD_FIT_NONE && list[2].fit == TD_FIT_ALL);
    CHECK(list[0].chosen && !list[1].chosen && !list[2].chosen);
    CHECK(list[0].all_bytes > list[0].stage_bytes && list[0].stage_bytes > (uint64_t)100 << 20);
    s.clip = &p;
    CHECK_INT(td_list_devices(&s, tell, list), 3);
    CHECK(list[1].fit == TD_FIT_ALL && list[1].all_bytes < (uint64_t)100 << 20);
    s.max_bytes = list[1].all_bytes - 1;
    CHECK_INT(td_list_devices(&s, tell, list), 3);
    CHECK_INT(list[0].fit, TD_FIT_STAGE);
    s.residency = TD_RESIDENT_ALL;
    CHECK_INT(td_list_devices(&s, tell, list), 3);
    CHECK(list[0].fit == TD_FIT_NONE && !list[0].chosen);
    s = settings("/nonexistent");
    CHECK_INT(td_list_devices(&s, tell, list), TD_ERR(ENOENT));
    CHECK(has("/nonexistent: No such file"));
}

static void test_choice(const char *model)
{
    TDParams small = clip(64, 5), large = clip(512, 49);
    TDContext *c = NULL, *d = NULL;
    TDSettings s = settings(model);

    test_begin("a clip that is started later does not change the device");
    s.clip = &small;
    s.device = 1;
    CHECK_INT(td_open(&c, &s), 0);
    CHECK(has("device 1)"));
    CHECK_INT(td_start(c, &large), TD_ERR(ENOMEM));
    CHECK(has("more than the free"));
    CHECK_INT(td_start(c, &small), 0);

    test_begin("a context with the same weights is on the same device");
    s = settings(model);
    s.clip = &small;
    CHECK_INT(td_open(&d, &s), 0);
    CHECK(has("device 1, which has the weights already)") && has("shares the weights"));
    td_close(&d);

    test_begin("unless the clip has no room there");
    s = settings(model);
    s.clip = &large;
    CHECK_INT(td_open(&d, &s), 0);
    CHECK(has("device 0)"));
    td_close(&d);

    test_begin("or the weights are others");
    s = settings(model);
    s.clip = &small;
    s.norm = TD_NORM_EXACT;
    CHECK_INT(td_open(&d, &s), 0);
    CHECK(has("device 0)"));
    td_close(&d);
    td_close(&c);
    s.norm = TD_NORM_OFFICIAL;
    lines[0] = 0;
    CHECK_INT(td_open(&d, &s), 0);
    CHECK(has("device 0)"));                     /* closed: nothing of it is there */
    td_close(&d);
}

static void test_context(const char *model)
{
    TDParams small = clip(64, 5);
    TDContext *c = NULL, *d = NULL;
    TDSettings s = settings(model);

    test_begin("a caller's context is followed");
    s.cuda_context = (void *)3;                  /* of device 2 */
    s.clip = &small;
    CHECK_INT(td_open(&c, &s), 0);
    CHECK(has("Claimed rtx4090, sm_89, device 2)"));
    test_begin("its weights are no others' to share");
    s = settings(model);
    s.clip = &small;
    CHECK_INT(td_open(&d, &s), 0);
    CHECK(has("device 0)"));
    td_close(&d);
    td_close(&c);
    test_begin("a device beside it is the same or an error");
    s = settings(model);
    s.cuda_context = (void *)3;
    s.clip = &small;
    s.device = 2;
    CHECK_INT(td_open(&c, &s), 0);
    td_close(&c);
    s.device = 0;
    CHECK_INT(td_open(&c, &s), TD_ERR(EINVAL));
    CHECK(c == NULL && has("device 0, but the context given is of device 2"));
    s.device = -1;
    s.card = "3b:00.0";
    CHECK_INT(td_open(&c, &s), TD_ERR(EINVAL));
    s.card = "3d:00.0";
    CHECK_INT(td_open(&c, &s), 0);
    td_close(&c);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    setenv("TD_TEST_CARDS", "h100:1000:900 h100:1000:100 rtx4090:1000:900", 1);
    test_list(argv[1]);
    test_choice(argv[1]);
    test_context(argv[1]);
    return test_end();
}
