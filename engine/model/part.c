/* SPDX-License-Identifier: BSD-2-Clause */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "model/part.h"
#include "base/thread.h"

static struct {
    pthread_mutex_t lock;
    pthread_cond_t change;                       /* of any part's loading */
    TDPart *first;
} registry = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL };

/* ---- by kind ---- */

static int bind_text(TDNet *net, const TDPart *p, TDDev *dev, size_t block)
{
    return td_text_bind(&net->text, dev, p->file, block);
}

static int bind_dit(TDNet *net, const TDPart *p, TDDev *dev, size_t block)
{
    return td_dit_bind(&net->dit, dev, p->file, p->key.quant, p->key.norm, block);
}

static int bind_vae(TDNet *net, const TDPart *p, TDDev *dev, size_t block)
{
    return td_vae_bind(&net->vae, dev, p->file, p->key.vae_dtype, block);
}

static int bind_encoder(TDNet *net, const TDPart *p, TDDev *dev, size_t block)
{
    return td_vae_encode_bind(&net->encoder, dev, p->file, p->key.vae_dtype, block);
}

static int bind_tiny(TDNet *net, const TDPart *p, TDDev *dev, size_t block)
{
    return td_tiny_bind(&net->tiny, dev, p->file, p->key.kind == TD_PART_TINY, block);
}

/* what all kinds have */
#define COMMON(member, functions) \
    static int view_##member(TDNet *view, const TDNet *net, TDDev *dev) \
    { \
        return functions##_view(&view->member, net->member, dev); \
    } \
    static void free_##member(TDNet *net) { functions##_free(&net->member); } \
    static TDWeights *weights_##member(const TDNet *net) { return &net->member->weights; }

COMMON(text, td_text)
COMMON(dit, td_dit)
COMMON(vae, td_vae)
COMMON(encoder, td_vae)
COMMON(tiny, td_tiny)

/* what can be computed with block by block has beside that */
#define BLOCKS(member, functions) \
    static int bind_block_##member(const TDNet *view, TDWeights *w, const TDCheckpoint *file, int block) \
    { \
        return functions##_bind_block(view->member, w, file, block); \
    } \
    static void blocks_##member(const TDNet *net, TDPart *p) \
    { \
        p->n_blocks = (int)net->member->n_blocks; \
        p->rest = net->member->rest_bytes; \
        p->block = net->member->block_bytes; \
    }

BLOCKS(text, td_text)
BLOCKS(dit, td_dit)

static int any(const char *name)
{
    (void)name;
    return 1;
}

/* the VAE's file is two parts */
static int of_encoder(const char *name)
{
    return !strncmp(name, "encoder.", 8) || !strncmp(name, "conv1.", 6);
}

static int of_decoder(const char *name)
{
    return !of_encoder(name);
}

static int plan_vae(TDDecoderClip *clip, const TDNet *net, TDArena *a, int64_t h, int64_t w)
{
    return td_vae_plan(&clip->vae, net->vae, a, h, w);
}

static int begin_vae(const TDNet *net, TDDecoderClip *clip)
{
    return td_vae_begin(net->vae, &clip->vae);
}

static int next_vae(const TDNet *net, TDDecoderClip *clip, const TDTensor *z, TDTensor *rgb)
{
    return td_vae_decode_next(net->vae, &clip->vae, z, rgb);
}

static double products_vae(const TDNet *net)
{
    return td_vae_products(net->vae);
}

static int plan_encode_vae(TDEncoderClip *clip, const TDNet *net, TDArena *a, int64_t h, int64_t w)
{
    return td_vae_encode_plan(&clip->vae, net->encoder, a, h, w);
}

static int begin_encode_vae(const TDNet *net, TDEncoderClip *clip)
{
    return td_vae_encode_begin(net->encoder, &clip->vae);
}

static int encode_vae(const TDNet *net, TDEncoderClip *clip, const TDTensor *picture, TDTensor *latent)
{
    return td_vae_encode_next(net->encoder, &clip->vae, picture, latent);
}

static int plan_tiny(TDDecoderClip *clip, const TDNet *net, TDArena *a, int64_t h, int64_t w)
{
    return td_tiny_plan(&clip->tiny, net->tiny, a, h, w);
}

static int begin_tiny(const TDNet *net, TDDecoderClip *clip)
{
    return td_tiny_begin(net->tiny, &clip->tiny);
}

static int next_tiny(const TDNet *net, TDDecoderClip *clip, const TDTensor *z, TDTensor *rgb)
{
    return td_tiny_decode_next(net->tiny, &clip->tiny, z, rgb);
}

static double products_tiny(const TDNet *net)
{
    (void)net;
    return TD_TINY_PRODUCTS;
}

static int plan_encode_tiny(TDEncoderClip *clip, const TDNet *net, TDArena *a, int64_t h, int64_t w)
{
    return td_tiny_encode_plan(&clip->tiny, net->tiny, a, h, w);
}

static int begin_encode_tiny(const TDNet *net, TDEncoderClip *clip)
{
    return td_tiny_encode_begin(net->tiny, &clip->tiny);
}

static int encode_tiny(const TDNet *net, TDEncoderClip *clip, const TDTensor *picture, TDTensor *latent)
{
    return picture ? td_tiny_encode_picture(net->tiny, &clip->tiny, picture, latent)
                   : td_tiny_encode_next(net->tiny, &clip->tiny, NULL, latent);
}

static const TDKind kinds[] = {
    [TD_PART_DIT]     = { .bind = bind_dit, .view = view_dit, .free = free_dit, .weights = weights_dit,
                          .belongs = any, .bind_block = bind_block_dit, .blocks = blocks_dit },
    [TD_PART_TEXT]    = { .bind = bind_text, .view = view_text, .free = free_text, .weights = weights_text,
                          .belongs = any, .bind_block = bind_block_text, .blocks = blocks_text },
    [TD_PART_VAE]     = { .bind = bind_vae, .view = view_vae, .free = free_vae, .weights = weights_vae,
                          .belongs = of_decoder, .plan = plan_vae, .begin = begin_vae, .next = next_vae,
                          .products = products_vae },
    [TD_PART_ENCODER] = { .bind = bind_encoder, .view = view_encoder, .free = free_encoder,
                          .weights = weights_encoder, .belongs = of_encoder, .plan_encode = plan_encode_vae,
                          .begin_encode = begin_encode_vae, .encode = encode_vae },
    [TD_PART_TINY]    = { .bind = bind_tiny, .view = view_tiny, .free = free_tiny, .weights = weights_tiny,
                          .belongs = of_decoder, .plan = plan_tiny, .begin = begin_tiny, .next = next_tiny,
                          .products = products_tiny },
    [TD_PART_TINY_ENCODER] = { .bind = bind_tiny, .view = view_tiny, .free = free_tiny, .weights = weights_tiny,
                               .belongs = of_encoder, .from_zero = 1, .plan_encode = plan_encode_tiny,
                               .begin_encode = begin_encode_tiny, .encode = encode_tiny },
};

/* a VAE's file tells whether it is a tiny one */
static enum TDPartKind kind_of(enum TDPartKind kind, const TDCheckpoint *file)
{
    int tiny = td_tiny_is(file);

    return kind == TD_PART_VAE && tiny ? TD_PART_TINY : kind == TD_PART_ENCODER && tiny ? TD_PART_TINY_ENCODER : kind;
}

/* ---- opening ---- */

/* of the same file, wherever it is */
static int same_use(const TDPart *a, const TDPart *b)
{
    return a->key.kind == b->key.kind && a->key.quant == b->key.quant && a->key.norm == b->key.norm &&
           a->key.vae_dtype == b->key.vae_dtype &&
           td_checkpoint_same(a->file, b->file) && td_lora_same(a->lora, b->lora);
}

static TDPart *find(const TDPart *like)
{
    for (TDPart *p = registry.first; p; p = p->next)
        if (p->ops == like->ops && p->context == like->context && same_use(p, like))
            return p;
    return NULL;
}

static void destroy(TDPart *p)
{
    p->kind->free(&p->net);              /* holds no device memory any more */
    td_checkpoint_close(&p->file);
    td_lora_free(&p->lora);
    free(p);
}

/* the part of another context, or p itself put in the list. @return what to use; p is gone if that is another */
static TDPart *enlist(TDPart *p, int add)
{
    TDPart *other;

    pthread_mutex_lock(&registry.lock);
    other = find(p);
    if (other) {
        other->refs++;
    } else if (add) {
        p->refs = 1;
        p->next = registry.first;
        registry.first = p;
    }
    pthread_mutex_unlock(&registry.lock);
    if (!other)
        return p;
    destroy(p);
    return other;
}

/* what the file has beside the network, in one line: who meant it to be used should know */
static void warn_of_unused(const TDPart *p, TDLog *log)
{
    const char *example = NULL, *gate = NULL;
    int n = 0;

    for (int i = 0; i < td_checkpoint_count(p->file); i++) {
        const TDEntry *e = td_checkpoint_entry(p->file, i);

        if (e->used || e->aside || !p->kind->belongs(e->name))
            continue;
        n++;
        example = example ? example : e->name;
        gate = strstr(e->name, "to_gate_compress") ? e->name : gate;
    }
    if (n)
        td_log(log, TD_LOG_WARNING, "%s: %d of its tensors are not used, such as %s%s", td_checkpoint_path(p->file), n,
               gate ? gate : example, gate ? " (a gate of FastVideo's sparse attention: attention is dense)" : "");
}

/* a file of another network is told by a tensor that it lacks; transformers and tiny VAEs are told elsewhere */
static int check_network(const TDPart *p, TDLog *log)
{
    static const struct { const char *tensor, *of; } first[] = {
        [TD_PART_DIT]     = { "patch_embedding.weight", "a transformer" },
        [TD_PART_TEXT]    = { "token_embedding.weight", "a text encoder" },
        [TD_PART_VAE]     = { "decoder.conv1.weight", "a VAE" },
        [TD_PART_ENCODER] = { "encoder.conv1.weight", "a VAE that encodes" },
    };
    enum TDPartKind kind = p->key.kind;
    const char *has = "another network";

    if (kind == TD_PART_DIT || kind > TD_PART_ENCODER || td_checkpoint_find(p->file, first[kind].tensor))
        return 0;
    for (size_t i = 0; i < sizeof(first) / sizeof(*first); i++)
        if (td_checkpoint_find(p->file, first[i].tensor))
            has = first[i].of;
    return td_error(log, EBADMSG, "%s: tensor %s is missing; it has those of %s, want %s", td_checkpoint_path(p->file),
                    first[kind].tensor, has, first[kind].of);
}

/* Lay the LoRAs of its key onto its file. One that changes no tensor leaves the part as those without. */
static int change(TDPart *p, TDLog *log)
{
    int ret;

    TRY(td_lora_open(&p->lora, p->key.lora, p->key.low ? "lora_low" : "lora", log));
    TRY(td_lora_apply(p->lora, p->file, 1, p->key.low, log));
    if (!p->lora->n_changed)
        td_lora_free(&p->lora);
fail:
    return ret;
}

int td_part_open(TDPart **out, const TDPartKey *key, const char *path, TDDev *dev)
{
    TDPart *p = calloc(1, sizeof(*p)), *found;
    int ret;

    *out = NULL;
    if (!p)
        return td_error(dev->log, ENOMEM, "%s: out of memory", path);
    p->key = *key;
    p->kind = &kinds[key->kind];
    p->ops = dev->ops;
    p->context = dev->context;
    p->ordinal = dev->own_context ? dev->ordinal : -1;
    TRY(td_checkpoint_open(&p->file, path, dev->log));
    p->key.kind = kind_of(key->kind, p->file);
    p->kind = &kinds[p->key.kind];
    TRY(check_network(p, dev->log));
    if (key->lora)
        TRY(change(p, dev->log));
    p->key.lora = NULL;
    found = enlist(p, 0);
    if (found == p) {
        TRY(p->kind->bind(&p->net, p, dev, TD_MEASURE));
        p->bytes = p->kind->weights(&p->net)->bytes;
        p->scratch = p->kind->weights(&p->net)->scratch;
        if (p->kind->blocks)
            p->kind->blocks(&p->net, p);
        for (int i = 0; i < td_checkpoint_count(p->file); i++) {
            const TDEntry *e = td_checkpoint_entry(p->file, i);

            if (p->kind->belongs(e->name))
                p->mapped += td_dtype_bytes(e->dtype, td_entry_count(e));
        }
        if (!p->lora)                            /* else it has been told, when the model was opened */
            warn_of_unused(p, dev->log);
        found = enlist(p, 1);
    }
    *out = found;
    return 0;
fail:
    destroy(p);
    return ret;
}

int td_part_on(const TDPart *like, int ordinal, uint64_t *loaded)
{
    int found = 0;

    pthread_mutex_lock(&registry.lock);
    for (const TDPart *p = registry.first; p; p = p->next) {
        if (p->ordinal != ordinal || !same_use(p, like))
            continue;
        found = 1;
        *loaded += p->loaded ? p->bytes : 0;
    }
    pthread_mutex_unlock(&registry.lock);
    return found;
}

void td_part_close(TDPart **part)
{
    TDPart *p = *part, **at = &registry.first;
    int last;

    if (!p)
        return;
    pthread_mutex_lock(&registry.lock);
    last = --p->refs == 0;
    if (last) {
        while (*at != p)
            at = &(*at)->next;
        *at = p->next;
    }
    pthread_mutex_unlock(&registry.lock);
    if (last)
        destroy(p);
    *part = NULL;
}

int td_part_view(TDPart *p, TDNet *view, TDDev *dev)
{
    int ret;

    pthread_mutex_lock(&registry.lock);
    ret = p->kind->view(view, &p->net, dev);
    pthread_mutex_unlock(&registry.lock);
    return ret;
}

void td_part_view_free(const TDPart *p, TDNet *view)
{
    p->kind->free(view);
}

/* ---- weights ---- */

/* without the lock: `loading` keeps others away */
static int load(TDPart *p, TDNet *net, TDDev *dev)
{
    int ret;

    TRY(p->kind->bind(net, p, dev, p->bytes));
    TRY(dev->ops->sync(dev));
    TRY(td_checkpoint_check(p->file, dev->log));
    TRY(td_lora_check(p->lora, dev->log));
fail:
    td_pack_end(dev);
    if (net->text && ret < 0)                    /* any member */
        p->kind->free(net);
    return ret;
}

int td_part_hold(TDPart *p, TDNet *view, TDDev *dev)
{
    TDNet net = { NULL };
    int ret = 0, loaded_here = 0;

    pthread_mutex_lock(&registry.lock);
    while (p->loading && ret >= 0)
        ret = td_cancel_wait(dev->cancel, &registry.change, &registry.lock);
    if (ret >= 0 && !p->loaded) {
        p->loading = 1;
        pthread_mutex_unlock(&registry.lock);
        ret = load(p, &net, dev);
        pthread_mutex_lock(&registry.lock);
        p->loading = 0;
        pthread_cond_broadcast(&registry.change);
        if (ret >= 0) {
            p->kind->free(&p->net);
            p->net = net;
            p->loaded = loaded_here = 1;
        }
    }
    if (ret >= 0 && (ret = p->kind->view(view, &p->net, dev)) >= 0) {
        p->holders++;
        ret = loaded_here;
    } else if (loaded_here) {
        td_weights_free(dev, p->kind->weights(&p->net));
        p->loaded = 0;
    }
    pthread_mutex_unlock(&registry.lock);
    return ret;
}

void td_part_release(TDPart *p, TDDev *dev)
{
    pthread_mutex_lock(&registry.lock);
    if (--p->holders == 0) {
        td_weights_free(dev, p->kind->weights(&p->net));
        p->loaded = 0;
    }
    pthread_mutex_unlock(&registry.lock);
}

int td_part_loaded(TDPart *p)
{
    int loaded;

    pthread_mutex_lock(&registry.lock);
    loaded = p->loaded;
    pthread_mutex_unlock(&registry.lock);
    return loaded;
}
