/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <stdlib.h>
#include "model.h"

static void name_variant(TDModel *m)
{
    const TDDit *d = m->dit;
    const char *task = d->in_dim == 16 ? "T2V" : "I2V";

    if (d->dim == 1536 && d->n_blocks == 30)
        snprintf(m->name, sizeof(m->name), "Wan2.1-%s-1.3B", task);
    else if (d->dim == 5120 && d->n_blocks == 40)
        snprintf(m->name, sizeof(m->name), "Wan2.1-%s-14B", task);
    else
        snprintf(m->name, sizeof(m->name), "Wan-%s-dim%lld-blocks%lld", task, (long long)d->dim,
                 (long long)d->n_blocks);
}

static void release(TDModel *m, enum TDFile file)
{
    TDWeights *w = file == TD_FILE_DIT ? &m->dit->weights : file == TD_FILE_TEXT ? &m->text->weights : &m->vae->weights;

    if (m->loaded[file])
        td_weights_free(m->dev, w);
    m->loaded[file] = 0;
}

static int bind(TDModel *m, enum TDFile file)
{
    TDTextEncoder *text = NULL;
    TDDit *dit = NULL;
    TDVae *vae = NULL;
    int ret;

    if (file == TD_FILE_TEXT) {
        TRY(td_text_bind(&text, m->dev, m->ckpt[file]));
        td_text_free(&m->text);
        m->text = text;
    } else if (file == TD_FILE_DIT) {
        TRY(td_dit_bind(&dit, m->dev, m->ckpt[file], m->quant, m->norm));
        td_dit_free(&m->dit);
        m->dit = dit;
    } else {
        TRY(td_vae_bind(&vae, m->dev, m->ckpt[file]));
        td_vae_free(&m->vae);
        m->vae = vae;
    }
    m->loaded[file] = 1;
fail:
    return ret;
}

int td_model_require(TDModel *m, enum TDFile file)
{
    for (int f = 0; f < TD_FILE_TOKENIZER && m->by_stage; f++)
        if (f != (int)file)
            release(m, f);
    return m->loaded[file] ? 0 : bind(m, file);
}

int td_model_open(TDModel **out, const TDSettings *s, TDDev *dev, TDLog *log)
{
    TDModel *m = calloc(1, sizeof(*m));
    int ret;

    *out = m;
    if (!m)
        return td_error(log, ENOMEM, "model: out of memory");
    m->log = log;
    m->dev = dev;
    m->quant = s->quant;
    m->norm = s->norm;
    TRY(td_model_find_files(m->path, s, log));
    TRY(td_tokenizer_open(&m->tokenizer, m->path[TD_FILE_TOKENIZER], log));
    for (int f = 0; f < TD_FILE_TOKENIZER; f++)
        TRY(td_checkpoint_open(&m->ckpt[f], m->path[f], log));
    for (int f = 0; f < TD_FILE_TOKENIZER; f++) {
        TRY(bind(m, f));
        if (s->residency == TD_RESIDENT_STAGE)
            release(m, f);
    }
    m->by_stage = s->residency == TD_RESIDENT_STAGE;
    if (m->dit->in_dim != 16) {
        ret =
            td_error(log, ENOTSUP,
                     "%s: an image-to-video transformer (%lld input channels); only text-to-video models are supported",
                     m->path[TD_FILE_DIT], (long long)m->dit->in_dim);
        goto fail;
    }
    if (m->text->dim != m->dit->text_dim) {
        ret =
            td_error(log, EINVAL,
                     "%s gives embeddings of %lld values, %s wants %lld; the files belong to different models",
                     m->path[TD_FILE_TEXT], (long long)m->text->dim, m->path[TD_FILE_DIT], (long long)m->dit->text_dim);
        goto fail;
    }
    if (td_tokenizer_n_ids(m->tokenizer) > m->text->n_rows) {
        ret = td_error(log, EINVAL, "%s has %d ids, %s embeds %lld; the files belong to different models",
                       m->path[TD_FILE_TOKENIZER], td_tokenizer_n_ids(m->tokenizer), m->path[TD_FILE_TEXT],
                       (long long)m->text->n_rows);
        goto fail;
    }
    name_variant(m);
    return 0;
fail:
    td_model_close(out);
    return ret;
}

uint64_t td_model_bytes(const TDModel *m)
{
    uint64_t bytes = m->text->weights.bytes + m->dit->weights.bytes + m->vae->weights.bytes;

    for (int f = 0; f < TD_FILE_TOKENIZER; f++)
        for (int i = 0; i < td_checkpoint_count(m->ckpt[f]); i++) {
            const TDEntry *e = td_checkpoint_entry(m->ckpt[f], i);

            bytes += (uint64_t)td_entry_count(e) * td_dtype_size(e->dtype);
        }
    return bytes;
}

void td_model_close(TDModel **out)
{
    TDModel *m = *out;

    if (!m)
        return;
    td_text_free(&m->text);
    td_dit_free(&m->dit);
    td_vae_free(&m->vae);
    for (int f = 0; f < TD_FILE_TOKENIZER; f++)
        td_checkpoint_close(&m->ckpt[f]);
    td_tokenizer_free(&m->tokenizer);
    for (int f = 0; f < TD_N_FILES; f++)
        free(m->path[f]);
    free(m);
    *out = NULL;
}
