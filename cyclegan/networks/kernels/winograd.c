/* The residual block of a ResNet generator on a processor: what torch has no fast operator for.
 *
 * A 3x3 convolution of stride 1 by the minimal filtering F(4x4, 3x3) of Winograd (Lavin & Gray 2016,
 * https://arxiv.org/abs/1509.09308): 4x4 outputs come from a 6x6 tile by 36 products for each pair of channels, where
 * the definition takes 144. The products are 36 matrix products, which torch does; here are the transforms around
 * them, all linear, and their adjoints for the gradients:
 *
 *     y = A^T [ (G w G^T) . (B^T x B) ] A
 *
 * Pictures are NHWC, fp32, channels a multiple of LANES, so that every load and store is a whole vector. Padding is
 * never written anywhere: the tile reads the mirrored pixel. Instance normalisation and ReLU are applied on reading.
 *
 * Tiles [from, to) are computed; scratch holds them as [36][to - from][channels].
 */
#include "vectors.h"

typedef struct {
    place n, y, x; /* the number of the picture, the first row and column of what the tile gives */
} Tile;

static Tile tile_at(place t, place h, place w) {
    place across = (w + 3) / 4, down = (h + 3) / 4;
    return (Tile){t / (across * down), t / across % down * 4, t % across * 4};
}

/* Where the 6 rows (or columns) read by a tile lie, -1 for beyond the padding; there is one pixel of mirror. */
static void sources(place *at, place first, place size) {
    for (place i = 0; i < 6; i++) {
        place p = first - 1 + i;
        at[i] = p == -1 ? 1 : p == size ? size - 2 : p > size ? -1 : p;
    }
}

/* B^T d */
INLINE bt(vec *o, const vec *d) {
    vec a = d[4] - 4 * d[2], b = d[3] - 4 * d[1], c = d[4] - d[2], e = 2 * (d[3] - d[1]);
    o[0] = 4 * d[0] - 5 * d[2] + d[4];
    o[1] = a + b;
    o[2] = a - b;
    o[3] = c + e;
    o[4] = c - e;
    o[5] = 4 * d[1] - 5 * d[3] + d[5];
}

/* B o */
INLINE b(vec *d, const vec *o) {
    vec s = o[1] + o[2], m = o[1] - o[2], p = o[3] + o[4], q = o[3] - o[4];
    d[0] = 4 * o[0];
    d[1] = 4 * (o[5] - m) - 2 * q;
    d[2] = -5 * o[0] - 4 * s - p;
    d[3] = m + 2 * q - 5 * o[5];
    d[4] = o[0] + s + p;
    d[5] = o[5];
}

/* A^T m */
INLINE at(vec *o, const vec *m) {
    vec s = m[1] + m[2], d = m[1] - m[2], p = m[3] + m[4], q = m[3] - m[4];
    o[0] = m[0] + s + p;
    o[1] = d + 2 * q;
    o[2] = s + 4 * p;
    o[3] = d + 8 * q + m[5];
}

/* A y */
INLINE a(vec *m, const vec *y) {
    vec e = y[0] + y[2], o = y[1] + y[3], f = y[0] + 4 * y[2], g = 2 * y[1] + 8 * y[3];
    m[0] = y[0];
    m[1] = e + o;
    m[2] = e - o;
    m[3] = f + g;
    m[4] = f - g;
    m[5] = y[3];
}

/* G w */
INLINE g(vec *o, const vec *w) {
    vec s = w[0] + w[2], u = (1.0f / 24) * w[0] + (1.0f / 6) * w[2], v = (1.0f / 12) * w[1];
    o[0] = 0.25f * w[0];
    o[1] = (-1.0f / 6) * (s + w[1]);
    o[2] = (-1.0f / 6) * (s - w[1]);
    o[3] = u + v;
    o[4] = u - v;
    o[5] = w[2];
}

/* G^T o */
INLINE gt(vec *w, const vec *o) {
    vec s = (1.0f / 6) * (o[1] + o[2]), d = o[3] + o[4];
    w[0] = 0.25f * o[0] - s + (1.0f / 24) * d;
    w[1] = (1.0f / 6) * (o[2] - o[1]) + (1.0f / 12) * (o[3] - o[4]);
    w[2] = (1.0f / 6) * d - s + o[5];
}

/* x (N,H,W,C) -> scratch; with mean and scale (N,C): of max(0, (x - mean) * scale). */
void tiles_of_input(const float *x, const float *mean, const float *scale, float *scratch, place from, place to,
                    place h, place w, place c, int threads) {
    place step = (to - from) * c;
    PARALLEL
    for (place t = from; t < to; t++) {
        Tile tile = tile_at(t, h, w);
        place ys[6], xs[6];
        sources(ys, tile.y, h);
        sources(xs, tile.x, w);
        for (place k = 0; k < c; k += LANES) {
            vec zero = {0}, mu = zero, by = zero, half[6][6];
            if (mean) {
                mu = LOAD(mean + tile.n * c + k);
                by = LOAD(scale + tile.n * c + k);
            }
            for (int j = 0; j < 6; j++) {
                vec d[6], o[6];
                for (int i = 0; i < 6; i++) {
                    d[i] = zero;
                    if (ys[i] >= 0 && xs[j] >= 0) {
                        d[i] = LOAD(x + ((tile.n * h + ys[i]) * w + xs[j]) * c + k);
                        if (mean) d[i] = rectified((d[i] - mu) * by);
                    }
                }
                bt(o, d);
                for (int i = 0; i < 6; i++) half[i][j] = o[i];
            }
            float *out = scratch + (t - from) * c + k;
            for (int i = 0; i < 6; i++) {
                vec o[6];
                bt(o, half[i]);
                for (int j = 0; j < 6; j++) STORE(out + (6 * i + j) * step, o[j]);
            }
        }
    }
}

/* Gradient of tiles_of_input without its normalisation: dx += …; threads share the channels, since tiles overlap. */
void tiles_of_input_adjoint(const float *scratch, float *dx, place from, place to, place h, place w, place c,
                            int threads) {
    place step = (to - from) * c, blocks = c / LANES;
    PARALLEL
    for (place part = 0; part < threads; part++) {
        place first = blocks * part / threads * LANES, last = blocks * (part + 1) / threads * LANES;
        for (place t = from; t < to; t++) {
            Tile tile = tile_at(t, h, w);
            place ys[6], xs[6];
            sources(ys, tile.y, h);
            sources(xs, tile.x, w);
            for (place k = first; k < last; k += LANES) {
                vec half[6][6];
                const float *in = scratch + (t - from) * c + k;
                for (int j = 0; j < 6; j++) {
                    vec d[6], o[6];
                    for (int i = 0; i < 6; i++) o[i] = LOAD(in + (6 * i + j) * step);
                    b(d, o);
                    for (int i = 0; i < 6; i++) half[i][j] = d[i];
                }
                for (int i = 0; i < 6; i++) {
                    vec d[6];
                    b(d, half[i]);
                    for (int j = 0; j < 6; j++)
                        if (ys[i] >= 0 && xs[j] >= 0) {
                            float *to_pixel = dx + ((tile.n * h + ys[i]) * w + xs[j]) * c + k;
                            STORE(to_pixel, LOAD(to_pixel) + d[j]);
                        }
                }
            }
        }
    }
}

/* scratch -> y (N,H,W,C) */
void output_of_tiles(const float *scratch, float *y, place from, place to, place h, place w, place c, int threads) {
    place step = (to - from) * c;
    PARALLEL
    for (place t = from; t < to; t++) {
        Tile tile = tile_at(t, h, w);
        place rows = h - tile.y < 4 ? h - tile.y : 4, columns = w - tile.x < 4 ? w - tile.x : 4;
        for (place k = 0; k < c; k += LANES) {
            vec half[4][6];
            const float *in = scratch + (t - from) * c + k;
            for (int j = 0; j < 6; j++) {
                vec m[6], o[4];
                for (int i = 0; i < 6; i++) m[i] = LOAD(in + (6 * i + j) * step);
                at(o, m);
                for (int i = 0; i < 4; i++) half[i][j] = o[i];
            }
            for (place i = 0; i < rows; i++) {
                vec o[4];
                at(o, half[i]);
                for (place j = 0; j < columns; j++)
                    STORE(y + ((tile.n * h + tile.y + i) * w + tile.x + j) * c + k, o[j]);
            }
        }
    }
}

/* dy (N,H,W,C) -> scratch: the gradient of output_of_tiles. */
void output_of_tiles_adjoint(const float *dy, float *scratch, place from, place to, place h, place w, place c,
                             int threads) {
    place step = (to - from) * c;
    PARALLEL
    for (place t = from; t < to; t++) {
        Tile tile = tile_at(t, h, w);
        for (place k = 0; k < c; k += LANES) {
            vec zero = {0}, half[6][4];
            for (int j = 0; j < 4; j++) {
                vec y[4], o[6];
                for (int i = 0; i < 4; i++)
                    y[i] = tile.y + i < h && tile.x + j < w
                               ? LOAD(dy + ((tile.n * h + tile.y + i) * w + tile.x + j) * c + k)
                               : zero;
                a(o, y);
                for (int i = 0; i < 6; i++) half[i][j] = o[i];
            }
            float *out = scratch + (t - from) * c + k;
            for (int i = 0; i < 6; i++) {
                vec o[6];
                a(o, half[i]);
                for (int j = 0; j < 6; j++) STORE(out + (6 * i + j) * step, o[j]);
            }
        }
    }
}

/* weight (K,3,3,C) -> (36,K,C) */
void weights(const float *weight, float *out, place outputs, place c, int threads) {
    PARALLEL
    for (place n = 0; n < outputs; n++)
        for (place k = 0; k < c; k += LANES) {
            vec half[6][3];
            for (int j = 0; j < 3; j++) {
                vec w[3], o[6];
                for (int i = 0; i < 3; i++) w[i] = LOAD(weight + (n * 9 + 3 * i + j) * c + k);
                g(o, w);
                for (int i = 0; i < 6; i++) half[i][j] = o[i];
            }
            for (int i = 0; i < 6; i++) {
                vec o[6];
                g(o, half[i]);
                for (int j = 0; j < 6; j++) STORE(out + ((6 * i + j) * outputs + n) * c + k, o[j]);
            }
        }
}

/* (36,K,C) -> dweight (K,3,3,C) */
void weights_adjoint(const float *in, float *dweight, place outputs, place c, int threads) {
    PARALLEL
    for (place n = 0; n < outputs; n++)
        for (place k = 0; k < c; k += LANES) {
            vec half[3][6];
            for (int j = 0; j < 6; j++) {
                vec o[6], w[3];
                for (int i = 0; i < 6; i++) o[i] = LOAD(in + ((6 * i + j) * outputs + n) * c + k);
                gt(w, o);
                for (int i = 0; i < 3; i++) half[i][j] = w[i];
            }
            for (int i = 0; i < 3; i++) {
                vec w[3];
                gt(w, half[i]);
                for (int j = 0; j < 3; j++) STORE(dweight + (n * 9 + 3 * i + j) * c + k, w[j]);
            }
        }
}
