/* SPDX-License-Identifier: BSD-2-Clause
 * A matrix is changed in tiles of ROWS x COLS on the stack. The delta of an element is summed up in f32, from 0, in the
 * order of r, and then added to the element once. */
#include <math.h>
#include "files/change.h"
#include "files/values.h"

#define ROWS 16
#define COLS 512
#define SOME 64                                  /* columns of U at a time */
#define DEPTH 4                                  /* rows of V at a time: their products are added one after the other */

typedef struct Tile {
    int64_t row, col;                            /* its first ones */
    int n, m;                                    /* rows and columns of it */
    float d[ROWS][COLS];
} Tile;

static const uint8_t *at(const TDPlane *p, int64_t row, int64_t col)
{
    return p->data + (row * p->cols + col) * (int64_t)td_dtype_size(p->dtype);
}

void td_plane_row(float *dst, const TDPlane *p, int64_t row, int64_t col, int64_t n)
{
    td_row_to_f32(dst, at(p, row, col), p->dtype, n, 1);
}

static float value(const TDPlane *p, int64_t row, int64_t col)
{
    float v;

    td_row_to_f32(&v, at(p, row, col), p->dtype, 1, 1);
    return v;
}

/* d = u v */
static void product(Tile *t, const TDPlane *u, const TDPlane *v)
{
    float x[DEPTH][COLS], s[ROWS][SOME];

    for (int i = 0; i < t->n; i++)
        memset(t->d[i], 0, (size_t)t->m * sizeof(float));
    for (int64_t first = 0, n, j; first < v->rows; first += SOME) {
        n = v->rows - first < SOME ? v->rows - first : SOME;
        for (int i = 0; i < t->n; i++)
            td_plane_row(s[i], u, t->row + i, first, n);
        for (j = 0; j + DEPTH <= n; j += DEPTH) {
            for (int e = 0; e < DEPTH; e++)
                td_plane_row(x[e], v, first + j + e, t->col, t->m);
            for (int i = 0; i < t->n; i++) {
                float *d = t->d[i], *a = s[i] + j;

                for (int q = 0; q < t->m; q++)
                    d[q] = d[q] + a[0] * x[0][q] + a[1] * x[1][q] + a[2] * x[2][q] + a[3] * x[3][q];
            }
        }
        for (; j < n; j++) {
            td_plane_row(x[0], v, first + j, t->col, t->m);
            for (int i = 0; i < t->n; i++)
                for (int q = 0; q < t->m; q++)
                    t->d[i][q] += s[i][j] * x[0][q];
        }
    }
}

static void loha(Tile *t, const TDChange *c)
{
    Tile b = { t->row, t->col, t->n, t->m, { { 0 } } };

    product(t, &c->m[0], &c->m[1]);
    product(&b, &c->m[2], &c->m[3]);
    for (int i = 0; i < t->n; i++)
        for (int q = 0; q < t->m; q++)
            t->d[i][q] *= b.d[i][q];
}

/* n values of a factor that is one plane, or the product of two */
static void factor(float *dst, const TDPlane p[2], int64_t row, int64_t col, int64_t n)
{
    float x[COLS];

    if (!p[1].data) {
        td_plane_row(dst, p, row, col, n);
        return;
    }
    memset(dst, 0, (size_t)n * sizeof(*dst));
    for (int64_t j = 0; j < p[1].rows; j++) {
        float s = value(p, row, j);

        td_plane_row(x, &p[1], j, col, n);
        for (int64_t q = 0; q < n; q++)
            dst[q] += s * x[q];
    }
}

static void lokr(Tile *t, const TDChange *c)
{
    const TDPlane *p = c->m, *q = c->m + 2;
    int64_t rows = q->rows, cols = q[q[1].data != NULL].cols;    /* of the second factor */

    for (int i = 0; i < t->n; i++) {
        int64_t row = t->row + i;

        for (int64_t j = 0, n; j < t->m; j += n) {
            int64_t col = t->col + j, inner = col % cols;
            float s;

            n = cols - inner < t->m - j ? cols - inner : t->m - j;
            factor(&s, p, row / rows, col / cols, 1);
            factor(t->d[i] + j, q, row % rows, inner, n);
            for (int64_t e = 0; e < n; e++)
                t->d[i][j + e] *= s;
        }
    }
}

static void delta(Tile *t, const TDChange *c)
{
    switch (c->kind) {
    case TD_CHANGE_PAIR: product(t, &c->m[0], &c->m[1]); break;
    case TD_CHANGE_LOHA: loha(t, c); break;
    case TD_CHANGE_LOKR: lokr(t, c); break;
    default:
        for (int i = 0; i < t->n; i++)
            td_plane_row(t->d[i], c->m, t->row + i, t->col, t->m);
        break;
    }
}

/* the tile's delta, and w its first value in rows of k */
static void change_tile(const TDChange *c, const Tile *t, float *w, int64_t k, const float *row_norms)
{
    float f = c->strength * c->scale, m[COLS];

    for (int i = 0; i < t->n; i++, w += k) {
        if (!c->dora.data) {
            for (int q = 0; q < t->m; q++)
                w[q] = c->kind == TD_CHANGE_SET ? t->d[i][q] : w[q] + f * t->d[i][q];
            continue;
        }
        if (c->by_column)
            td_plane_row(m, &c->dora, 0, t->col, t->m);
        for (int q = 0; q < t->m; q++) {
            float norm = c->by_column ? (float)c->norms[t->col + q] : row_norms[i];
            float magnitude = c->by_column ? m[q] : value(&c->dora, t->row + i, 0), sum = w[q] + c->scale * t->d[i][q];

            w[q] += c->strength * (norm > 0 ? magnitude * sum / norm - w[q] : 0);
        }
    }
}

const TDChange *td_change_without_norms(const TDChange *c)
{
    while (c && (!c->by_column || !(c->norms[0] < 0)))   /* NaN is found, too */
        c = c->next;
    return c;
}

void td_change_squares(const TDChange *c, double *sums, const float *w, int64_t row0, int64_t rows, int64_t k,
                       int64_t col0, int64_t cols)
{
    Tile t;

    for (int64_t r = 0; r < rows; r += ROWS)
        for (t.col = col0; t.col < col0 + cols; t.col += COLS) {
            t.row = row0 + r;
            t.n = rows - r < ROWS ? (int)(rows - r) : ROWS;
            t.m = col0 + cols - t.col < COLS ? (int)(col0 + cols - t.col) : COLS;
            delta(&t, c);
            for (int i = 0; i < t.n; i++)
                for (int q = 0; q < t.m; q++) {
                    double v = w[(r + i) * k + t.col + q] + c->scale * t.d[i][q];

                    sums[t.col + q] += v * v;
                }
        }
}

void td_change_set_norms(const TDChange *c, const double *sums, int64_t k)
{
    for (int64_t i = 0; i < k; i++)
        c->norms[i] = sqrt(sums[i]);
}

void td_change_rows(const TDChange *c, const TDChange *end, float *w, int64_t row0, int64_t rows, int64_t k)
{
    Tile t;

    for (; c != end; c = c->next) {
        if (td_change_without_norms(c) == c) {
            memset(c->norms, 0, (size_t)k * sizeof(*c->norms));
            td_change_squares(c, c->norms, w, row0, rows, k, 0, k);
            td_change_set_norms(c, c->norms, k);
        }
        for (int64_t r = 0; r < rows; r += ROWS) {
            double squares[ROWS] = { 0 };
            float norms[ROWS] = { 0 };
            float *own = w + r * k;

            t.row = row0 + r;
            t.n = rows - r < ROWS ? (int)(rows - r) : ROWS;
            for (int pass = c->dora.data && !c->by_column ? 0 : 1; pass < 2; pass++)
                for (t.col = 0; t.col < k; t.col += COLS) {
                    t.m = k - t.col < COLS ? (int)(k - t.col) : COLS;
                    delta(&t, c);
                    for (int i = 0; i < t.n && !pass; i++)
                        for (int q = 0; q < t.m; q++) {
                            double v = own[i * k + t.col + q] + c->scale * t.d[i][q];

                            squares[i] += v * v;
                        }
                    for (int i = 0; i < t.n; i++)
                        norms[i] = (float)sqrt(squares[i]);
                    if (pass)
                        change_tile(c, &t, own + t.col, k, norms);
                }
        }
    }
}
