/* SPDX-License-Identifier: BSD-2-Clause
 * The linear slots: a product with the epilogue the slot wants. */
#include "gemm.h"

static int product(TDDev *dev, const TDAct *x, const TDLinear *lin, int epilogue, EpilogueArgs epi)
{
    const TDTensor *in = lin->dtype == TD_I8 ? &x->code : &x->x;
    TDGemm g = {};

    g.a = in->data;
    g.b = lin->w[0];
    g.scale_a = (const float *)x->scale.data;
    g.scale_b = lin->scale;
    g.k = lin->k;
    g.int8 = lin->dtype == TD_I8;
    if (g.int8 && x->add) {
        epi.add = (const bf16 *)x->add;
        epilogue |= EPI_ADD;
    }
    g.epilogue = epilogue;
    epi.bias = lin->bias;
    epi.m = (int)in->shape[0];
    epi.n = (int)lin->n;
    g.epi = epi;
    return td_cuda(dev)->kernels.gemm(dev, &g);
}

int td_cuda_linear(TDDev *dev, TDTensor *y, const TDAct *x, const TDLinear *lin)
{
    EpilogueArgs e = {};

    e.y = (bf16 *)y->data;
    return product(dev, x, lin, EPI_STORE, e);
}

int td_cuda_linear_gelu(TDDev *dev, TDAct *y, const TDAct *x, const TDLinear *lin)
{
    EpilogueArgs e = {};

    e.y = (bf16 *)y->x.data;
    e.code = (int8_t *)y->code.data;
    e.scale = (float *)y->scale.data;
    return product(dev, x, lin, e.code ? EPI_GELU_QUANT : EPI_GELU, e);
}

int td_cuda_linear_residual(TDDev *dev, TDTensor *x, const TDAct *y, const TDLinear *lin, const float *gate)
{
    EpilogueArgs e = {};

    e.y = (bf16 *)x->data;
    e.gate = gate;
    return product(dev, y, lin, EPI_RESIDUAL, e);
}

int td_cuda_linear_geglu(TDDev *dev, TDTensor *y, TDTensor *u, const TDAct *x, const TDLinear *gate, const TDLinear *up)
{
    EpilogueArgs e = {};
    int ret = td_cuda_linear(dev, u, x, up);

    e.y = (bf16 *)y->data;
    e.up = (const bf16 *)u->data;
    return ret < 0 ? ret : product(dev, x, gate, EPI_GEGLU, e);
}
