/* SPDX-License-Identifier: BSD-2-Clause
 * turbodiff.conf of a model directory, and two JSON files of a diffusers one: what a clip is like that says nothing
 * else (doc/formats.md). */
#ifndef TD_MODEL_CONF_H
#define TD_MODEL_CONF_H

#include "base/log.h"
#include "api/turbodiff.h"

/** 0: the file does not say. */
typedef struct TDModelConf {
    int width, height, n_frames;
    double topk;                                 ///< share of key blocks that sparse attention keeps
    enum TDSlaBlock sla_block;                   ///< and their shape; AUTO: the file does not say
    int knows_words;                             ///< each word that the model knows is one piece of its vocabulary
    double shift;                                ///< of UniPC's timesteps
} TDModelConf;

/** path: for messages. text need not end in a 0. @return 0, or a logged EBADMSG */
int td_model_conf_parse(TDModelConf *conf, const char *path, const char *text, size_t size, TDLog *log);

/** Of the model directory dir; all 0 if it has no such file. @return 0 or a logged error */
int td_model_conf_read(TDModelConf *conf, const char *dir, TDLog *log);

/** What model_index.json of a diffusers directory says of the boundary between two experts, or 0.
 *  @return 0 or a logged error */
int  td_model_index_read(double *boundary, const char *dir, TDLog *log);
int  td_model_index_parse(double *boundary, const char *path, const char *text, size_t size, TDLog *log);
/** The same of flow_shift in scheduler/scheduler_config.json. */
int  td_model_scheduler_read(double *shift, const char *dir, TDLog *log);
int  td_model_scheduler_parse(double *shift, const char *path, const char *text, size_t size, TDLog *log);

#endif /* TD_MODEL_CONF_H */
