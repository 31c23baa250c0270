/*
 * This file is part of FFmpeg.
 *
 * FFmpeg is free software; you can redistribute it and/or
 * modify it under the terms of the GNU Lesser General Public
 * License as published by the Free Software Foundation; either
 * version 2.1 of the License, or (at your option) any later version.
 *
 * FFmpeg is distributed in the hope that it will be useful,
 * but WITHOUT ANY WARRANTY; without even the implied warranty of
 * MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the GNU
 * Lesser General Public License for more details.
 *
 * You should have received a copy of the GNU Lesser General Public
 * License along with FFmpeg; if not, write to the Free Software
 * Foundation, Inc., 51 Franklin Street, Fifth Floor, Boston, MA 02110-1301 USA
 */

#include <string.h>

#include "libavutil/hwcontext.h"
#include "libavutil/pixdesc.h"
#include "turbodiff_common.h"
#include "turbodiff_convert.h"
#include "version_major.h"

/* what to put before the filter; libswscale knows transfers from FFmpeg 8 on */
#if LIBAVFILTER_VERSION_MAJOR < 11
#define TO_SDR "zscale=t=linear:npl=100,tonemap=hable,zscale=p=709:t=709:m=709:r=tv,format=yuv420p"
#else
#define TO_SDR "scale=out_primaries=bt709:out_transfer=bt709,format=gbrp"
#endif

enum Warning {
    WARN_TRANSFER   = 1 << 0,
    WARN_PRIMARIES  = 1 << 1,
    WARN_INTERLACED = 1 << 2,
};

enum AVPixelFormat ff_turbodiff_sw_format(const AVFrame *frame)
{
    return frame->hw_frames_ctx ? ((AVHWFramesContext *)frame->hw_frames_ctx->data)->sw_format : frame->format;
}

int ff_turbodiff_is_full_range(const AVFrame *frame)
{
    const AVPixFmtDescriptor *desc = av_pix_fmt_desc_get(ff_turbodiff_sw_format(frame));

    return frame->color_range == AVCOL_RANGE_JPEG || !strncmp(desc->name, "yuvj", 4) ||
           (desc->flags & AV_PIX_FMT_FLAG_RGB) ||
           (desc->nb_components < 3 && frame->color_range != AVCOL_RANGE_MPEG);
}

int ff_turbodiff_check_matrix(AVFilterContext *ctx, enum AVPixelFormat format, enum AVColorSpace space)
{
    const AVPixFmtDescriptor *desc = av_pix_fmt_desc_get(format);
    const char *name = av_color_space_name(space);

    /* RGB and grey have none */
    if ((desc->flags & AV_PIX_FMT_FLAG_RGB) || desc->nb_components < 3)
        return 0;
    switch (space) {
    case AVCOL_SPC_UNSPECIFIED:
    case AVCOL_SPC_BT709:
    case AVCOL_SPC_BT470BG:
    case AVCOL_SPC_SMPTE170M:
    case AVCOL_SPC_FCC:
    case AVCOL_SPC_SMPTE240M:
    case AVCOL_SPC_BT2020_NCL:
        return 0;
    }
    av_log(ctx, AV_LOG_ERROR, "The input is %s in matrix %s, which libswscale does not convert: expected RGB, bt709, "
           "bt470bg, smpte170m, fcc, smpte240m or bt2020nc\n", av_get_pix_fmt_name(format), name ? name : "unknown");
    return AVERROR(EINVAL);
}

static int is_first(unsigned *warned, enum Warning what)
{
    int first = !(*warned & what);

    *warned |= what;
    return first;
}

int ff_turbodiff_check_frame(AVFilterContext *ctx, const AVFrame *frame, int keep, unsigned *warned)
{
    const char *transfer = av_color_transfer_name(frame->color_trc);
    const char *primaries = av_color_primaries_name(frame->color_primaries);
    int ret;

    if ((ret = ff_turbodiff_check_matrix(ctx, ff_turbodiff_sw_format(frame), frame->colorspace)) < 0)
        return ret;

    switch (frame->color_trc) {
    case AVCOL_TRC_SMPTE2084:
    case AVCOL_TRC_ARIB_STD_B67:
    case AVCOL_TRC_LINEAR:
    case AVCOL_TRC_LOG:
    case AVCOL_TRC_LOG_SQRT:
    case AVCOL_TRC_SMPTE428:
        if (!keep) {
            av_log(ctx, AV_LOG_ERROR, "The input has the transfer %s, which models do not know: expected that of a "
                   "display, such as bt709; put " TO_SDR " before this filter\n", transfer);
            return AVERROR(EINVAL);
        }
        if (is_first(warned, WARN_TRANSFER))
            av_log(ctx, AV_LOG_WARNING, "The input has the transfer %s: the model takes its values for those of bt709, "
                   "and the clip goes on in the input's colours\n", transfer);
        break;
    default:
        break;
    }

    switch (frame->color_primaries) {
    case AVCOL_PRI_BT2020:
    case AVCOL_PRI_SMPTE428:
    case AVCOL_PRI_SMPTE431:
    case AVCOL_PRI_SMPTE432:
        if (!keep && is_first(warned, WARN_PRIMARIES))
            av_log(ctx, AV_LOG_WARNING, "The input has the primaries %s, taken for those of bt709, so its colours come out "
                   "paler; to keep them put " TO_SDR " before this filter\n", primaries);
        break;
    default:
        break;
    }

    if ((frame->flags & AV_FRAME_FLAG_INTERLACED) && is_first(warned, WARN_INTERLACED))
        av_log(ctx, AV_LOG_WARNING, "The input is interlaced, so the clip begins with a combed frame: put bwdif before "
               "this filter\n");
    return 0;
}

/* RGB that says nothing of a matrix is not to go through one on its way to RGB */
static const int *coefficients(const AVFrame *frame)
{
    int rgb = av_pix_fmt_desc_get(frame->format)->flags & AV_PIX_FMT_FLAG_RGB;

    return sws_getCoefficients(rgb ? AVCOL_SPC_RGB : frame->colorspace);
}

struct SwsContext *ff_turbodiff_open_scaler(const AVFrame *dst, const AVFrame *src)
{
    struct SwsContext *sws;

    sws = sws_getContext(src->width, src->height, src->format, dst->width, dst->height, dst->format,
                         SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT | SWS_FULL_CHR_H_INP, NULL, NULL, NULL);
    if (sws)
        sws_setColorspaceDetails(sws, coefficients(src), ff_turbodiff_is_full_range(src),
                                 coefficients(dst), ff_turbodiff_is_full_range(dst), 0, 1 << 16, 1 << 16);
    return sws;
}

void ff_turbodiff_scale(struct SwsContext *sws, AVFrame *dst, const AVFrame *src)
{
    sws_scale(sws, (const uint8_t *const *)src->data, src->linesize, 0, src->height, dst->data, dst->linesize);
}

/* of a frame in memory */
static int sw_to_rgb(AVFilterContext *ctx, AVFrame **out, const AVFrame *from)
{
    AVFrame *rgb = av_frame_alloc();
    struct SwsContext *sws;
    int ret;

    if (!rgb)
        return AVERROR(ENOMEM);
    rgb->format      = AV_PIX_FMT_RGB24;
    rgb->width       = from->width;
    rgb->height      = from->height;
    rgb->colorspace  = AVCOL_SPC_RGB;
    rgb->color_range = AVCOL_RANGE_JPEG;
    if ((ret = av_frame_get_buffer(rgb, 0)) < 0) {
        av_frame_free(&rgb);
        return ret;
    }
    sws = ff_turbodiff_open_scaler(rgb, from);
    if (!sws) {
        av_log(ctx, AV_LOG_ERROR, "A frame of %dx%d in %s cannot be converted to RGB\n", from->width, from->height,
               av_get_pix_fmt_name(from->format));
        av_frame_free(&rgb);
        return AVERROR(EINVAL);
    }
    ff_turbodiff_scale(sws, rgb, from);
    sws_freeContext(sws);
    *out = rgb;
    return 0;
}

int ff_turbodiff_download(AVFilterContext *ctx, AVFrame **sw, const AVFrame *from)
{
    int ret;

    *sw = av_frame_alloc();
    if (!*sw)
        return AVERROR(ENOMEM);
    if ((ret = av_hwframe_transfer_data(*sw, from, 0)) < 0)
        av_log(ctx, AV_LOG_ERROR, "A frame cannot be copied from the device: %s\n", av_err2str(ret));
    else
        ret = av_frame_copy_props(*sw, from);
    if (ret < 0)
        av_frame_free(sw);
    return ret;
}

int ff_turbodiff_to_rgb(AVFilterContext *ctx, AVFrame **rgb, const AVFrame *from)
{
    AVFrame *sw;
    int ret;

    if (!from->hw_frames_ctx)
        return sw_to_rgb(ctx, rgb, from);
    if ((ret = ff_turbodiff_download(ctx, &sw, from)) >= 0)
        ret = sw_to_rgb(ctx, rgb, sw);
    av_frame_free(&sw);
    return ret;
}

int ff_turbodiff_copy_side_data(AVFrame *dst, const AVFrame *src)
{
    static const enum AVFrameSideDataType types[] = {
        AV_FRAME_DATA_DISPLAYMATRIX, AV_FRAME_DATA_MASTERING_DISPLAY_METADATA, AV_FRAME_DATA_CONTENT_LIGHT_LEVEL,
    };

    for (int i = 0; i < FF_ARRAY_ELEMS(types); i++) {
        const AVFrameSideData *from = av_frame_get_side_data(src, types[i]);
        AVFrameSideData *to;

        if (!from || av_frame_get_side_data(dst, types[i]))
            continue;
        to = av_frame_new_side_data(dst, types[i], from->size);
        if (!to)
            return AVERROR(ENOMEM);
        memcpy(to->data, from->data, from->size);
    }
    return 0;
}

int ff_turbodiff_upload(AVFilterContext *ctx, AVFrame **frame, const AVFrame *like)
{
    AVFrame *hw = av_frame_alloc();
    int ret;

    if (!hw)
        return AVERROR(ENOMEM);
    if ((ret = av_hwframe_get_buffer(like->hw_frames_ctx, hw, 0)) < 0 ||
        (ret = av_hwframe_transfer_data(hw, *frame, 0)) < 0 ||
        (ret = av_frame_copy_props(hw, *frame)) < 0) {
        av_log(ctx, AV_LOG_ERROR, "A frame of the clip cannot be copied to the device: %s\n", av_err2str(ret));
        av_frame_free(&hw);
        return ret;
    }
    /* those of a decoder's pool are larger where it crops */
    hw->width  = like->width;
    hw->height = like->height;
    av_frame_free(frame);
    *frame = hw;
    return 0;
}

int ff_turbodiff_place(AVFilterContext *ctx, AVFrame **frame)
{
    const TurboDiffContext *s = ctx->priv;
    const AVFrame like = { .hw_frames_ctx = s->hw_frames, .width = s->w, .height = s->h };

    return s->format == AV_PIX_FMT_CUDA ? ff_turbodiff_upload(ctx, frame, &like) : 0;
}
