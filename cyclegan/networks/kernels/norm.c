/* Instance normalisation of NHWC pictures, as the residual block needs it between and after its convolutions. */
#include <math.h>

#include "vectors.h"

/* x (N,P,C), P pixels -> mean and 1 / sqrt(variance + eps), (N,C). Sums of sums: the error grows with sqrt(P), not P. */
void statistics(const float *x, float *mean, float *scale, float eps, place n, place pixels, place c, int threads) {
    place blocks = c / LANES;
    PARALLEL
    for (place job = 0; job < n * blocks; job++) {
        const float *in = x + job / blocks * pixels * c + job % blocks * LANES;
        vec zero = {0}, mu = zero, variance = zero;
        for (place p = 0; p < pixels;) {
            vec part = zero;
            for (place end = p + 256 < pixels ? p + 256 : pixels; p < end; p++) part += LOAD(in + p * c);
            mu += part;
        }
        mu /= (float)pixels;
        for (place p = 0; p < pixels;) {
            vec part = zero;
            for (place end = p + 256 < pixels ? p + 256 : pixels; p < end; p++) {
                vec d = LOAD(in + p * c) - mu;
                part += d * d;
            }
            variance += part;
        }
        variance = variance / (float)pixels + eps;
        for (int i = 0; i < LANES; i++) variance[i] = 1 / sqrtf(variance[i]);
        STORE(mean + job / blocks * c + job % blocks * LANES, mu);
        STORE(scale + job / blocks * c + job % blocks * LANES, variance);
    }
}

/* out = x + (y - mean) * scale, all (N,P,C) */
void add_normalised(const float *x, const float *y, const float *mean, const float *scale, float *out, place n,
                    place pixels, place c, int threads) {
    PARALLEL
    for (place p = 0; p < n * pixels; p++)
        for (place k = 0; k < c; k += LANES)
            STORE(out + p * c + k, LOAD(x + p * c + k) + (LOAD(y + p * c + k) - LOAD(mean + p / pixels * c + k)) *
                                                             LOAD(scale + p / pixels * c + k));
}

/* Gradient with respect to x of z, or of max(0, z), where z has mean 0 and deviation 1 and dz/dx is scale, but for what
 * the mean and the deviation change: scale * (dz - mean(dz) - z mean(dz z)). */
INLINE adjoint(const float *dy, const float *x, const float *less, const float *mean, const float *scale, float *dx,
               place pixels, place c) {
    /* z is x - less, or max(0, .) of (x - mean) * scale */
    vec zero = {0}, mu = mean ? LOAD(mean) : zero, by = LOAD(scale), sum = zero, dot = zero;
    for (int pass = 0; pass < 2; pass++) {
        for (place p = 0; p < pixels;) {
            vec part = zero, product = zero;
            for (place end = p + 256 < pixels ? p + 256 : pixels; p < end; p++) {
                vec dz = LOAD(dy + p * c), z;
                if (less)
                    z = LOAD(x + p * c) - LOAD(less + p * c);
                else {
                    z = (LOAD(x + p * c) - mu) * by;
                    dz = (vec)((mask)dz & (z > zero));
                }
                if (pass)
                    STORE(dx + p * c, by * (dz - sum - z * dot));
                else {
                    part += dz;
                    product += dz * z;
                }
            }
            sum += part;
            dot += product;
        }
        if (!pass) {
            sum /= (float)pixels;
            dot /= (float)pixels;
        }
    }
}

/* Gradient of max(0, (x - mean) * scale), all (N,P,C). */
void rectified_norm_adjoint(const float *dy, const float *x, const float *mean, const float *scale, float *dx, place n,
                            place pixels, place c, int threads) {
    place blocks = c / LANES;
    PARALLEL
    for (place job = 0; job < n * blocks; job++) {
        place start = job / blocks * pixels * c + job % blocks * LANES, of = job / blocks * c + job % blocks * LANES;
        adjoint(dy + start, x + start, NULL, mean + of, scale + of, dx + start, pixels, c);
    }
}

/* Gradient of add_normalised with respect to y, whose normalised value is known again as out - x. */
void added_norm_adjoint(const float *dy, const float *out, const float *x, const float *scale, float *dx, place n,
                        place pixels, place c, int threads) {
    place blocks = c / LANES;
    PARALLEL
    for (place job = 0; job < n * blocks; job++) {
        place start = job / blocks * pixels * c + job % blocks * LANES, of = job / blocks * c + job % blocks * LANES;
        adjoint(dy + start, out + start, x + start, NULL, scale + of, dx + start, pixels, c);
    }
}
