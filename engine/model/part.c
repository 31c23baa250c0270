/* SPDX-License-Identifier: BSD-2-Clause */
#include <pthread.h>
#include <stdlib.h>
#include "model/part.h"
#include "base/thread.h"

static struct {
    pthread_mutex_t lock;
    pthread_cond_t change;                       /* of any part's loading */
    TDPart *first;
} registry = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL };

/* ---- by kind ---- */

static int bind(TDNet *net, const TDPart *p, TDDev *dev, size_t block)
{
    switch (p->key.kind) {
    case TD_PART_TEXT: return td_text_bind(&net->text, dev, p->file, block);
    case TD_PART_DIT:  return td_dit_bind(&net->dit, dev, p->file, p->key.quant, p->key.norm, block);
    case TD_PART_VAE:  return td_vae_bind(&net->vae, dev, p->file, block);
    default:           return td_vae_encode_bind(&net->encoder, dev, p->file, block);
    }
}

static TDWeights *weights(const TDPart *p)
{
    switch (p->key.kind) {
    case TD_PART_TEXT: return &p->net.text->weights;
    case TD_PART_DIT:  return &p->net.dit->weights;
    case TD_PART_VAE:  return &p->net.vae->weights;
    default:           return &p->net.encoder->weights;
    }
}

static void free_net(enum TDPartKind kind, TDNet *net)
{
    switch (kind) {
    case TD_PART_TEXT: td_text_free(&net->text); break;
    case TD_PART_DIT:  td_dit_free(&net->dit); break;
    case TD_PART_VAE:  td_vae_free(&net->vae); break;
    default:           td_vae_encode_free(&net->encoder); break;
    }
}

static int make_view(TDNet *view, const TDPart *p, TDDev *dev)
{
    switch (p->key.kind) {
    case TD_PART_TEXT: return td_text_view(&view->text, p->net.text, dev);
    case TD_PART_DIT:  return td_dit_view(&view->dit, p->net.dit, dev);
    case TD_PART_VAE:  return td_vae_view(&view->vae, p->net.vae, dev);
    default:           return td_vae_encode_view(&view->encoder, p->net.encoder, dev);
    }
}

/* the VAE's file is two parts */
static int belongs(const TDPart *p, const TDEntry *e)
{
    int encoder = !strncmp(e->name, "encoder.", 8) || !strncmp(e->name, "conv1.", 6);

    return p->key.kind == TD_PART_ENCODER ? encoder : p->key.kind == TD_PART_VAE ? !encoder : 1;
}

/* ---- opening ---- */

static TDPart *find(const TDPart *like)
{
    for (TDPart *p = registry.first; p; p = p->next)
        if (p->key.kind == like->key.kind && p->key.quant == like->key.quant && p->key.norm == like->key.norm &&
            p->ops == like->ops && p->context == like->context && td_checkpoint_same(p->file, like->file))
            return p;
    return NULL;
}

static void destroy(TDPart *p)
{
    free_net(p->key.kind, &p->net);              /* holds no device memory any more */
    td_checkpoint_close(&p->file);
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

int td_part_open(TDPart **out, const TDPartKey *key, const char *path, TDDev *dev)
{
    TDPart *p = calloc(1, sizeof(*p)), *found;
    int ret;

    *out = NULL;
    if (!p)
        return td_error(dev->log, ENOMEM, "%s: out of memory", path);
    p->key = *key;
    p->ops = dev->ops;
    p->context = dev->context;
    TRY(td_checkpoint_open(&p->file, path, dev->log));
    found = enlist(p, 0);
    if (found == p) {
        TRY(bind(&p->net, p, dev, TD_MEASURE));
        p->bytes = weights(p)->bytes;
        p->scratch = weights(p)->scratch;
        for (int i = 0; i < td_checkpoint_count(p->file); i++) {
            const TDEntry *e = td_checkpoint_entry(p->file, i);

            if (belongs(p, e))
                p->mapped += (uint64_t)td_entry_count(e) * td_dtype_size(e->dtype);
        }
        found = enlist(p, 1);
    }
    *out = found;
    return 0;
fail:
    destroy(p);
    return ret;
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
    ret = make_view(view, p, dev);
    pthread_mutex_unlock(&registry.lock);
    return ret;
}

void td_part_view_free(const TDPart *p, TDNet *view)
{
    free_net(p->key.kind, view);
}

/* ---- weights ---- */

/* without the lock: `loading` keeps others away */
static int load(TDPart *p, TDNet *net, TDDev *dev)
{
    int ret;

    TRY(bind(net, p, dev, p->bytes));
    TRY(dev->ops->sync(dev));
    TRY(td_checkpoint_check(p->file, dev->log));
    return 0;
fail:
    if (net->text)                               /* any member */
        free_net(p->key.kind, net);
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
            free_net(p->key.kind, &p->net);
            p->net = net;
            p->loaded = loaded_here = 1;
        }
    }
    if (ret >= 0 && (ret = make_view(view, p, dev)) >= 0) {
        p->holders++;
        ret = loaded_here;
    } else if (loaded_here) {
        td_weights_free(dev, weights(p));
        p->loaded = 0;
    }
    pthread_mutex_unlock(&registry.lock);
    return ret;
}

void td_part_release(TDPart *p, TDDev *dev)
{
    pthread_mutex_lock(&registry.lock);
    if (--p->holders == 0) {
        td_weights_free(dev, weights(p));
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
