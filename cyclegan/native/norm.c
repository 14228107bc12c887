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

/* Gradient of z = (x - mean) * scale, or of max(0, z), with respect to x: scale * (dz - mean(dz) - z mean(dz z)). */
void normalised_adjoint(const float *dy, const float *x, const float *mean, const float *scale, float *dx, int relu,
                        place n, place pixels, place c, int threads) {
    place blocks = c / LANES;
    PARALLEL
    for (place job = 0; job < n * blocks; job++) {
        place start = job / blocks * pixels * c + job % blocks * LANES, of = job / blocks * c + job % blocks * LANES;
        vec zero = {0}, mu = LOAD(mean + of), by = LOAD(scale + of), sum = zero, dot = zero;
        for (place p = 0; p < pixels;) {
            vec part = zero, product = zero;
            for (place end = p + 256 < pixels ? p + 256 : pixels; p < end; p++) {
                vec z = (LOAD(x + start + p * c) - mu) * by, dz = LOAD(dy + start + p * c);
                if (relu) dz = (vec)((mask)dz & (z > zero));
                part += dz;
                product += dz * z;
            }
            sum += part;
            dot += product;
        }
        sum /= (float)pixels;
        dot /= (float)pixels;
        for (place p = 0; p < pixels; p++) {
            vec z = (LOAD(x + start + p * c) - mu) * by, dz = LOAD(dy + start + p * c);
            if (relu) dz = (vec)((mask)dz & (z > zero));
            STORE(dx + start + p * c, by * (dz - sum - z * dot));
        }
    }
}
