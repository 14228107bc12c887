/* Convolutions with few channels on one side and a large kernel, as the first and the last layer of a generator: a
 * matrix product over all positions of the kernel at once, and between it and the few channels a sum or a spreading of
 * shifted planes, which is here. NCHW, fp32, odd square kernel, stride 1, edges mirrored: position p with offset k reads
 * mirror(p + k - kernel / 2). "Planes" are [N][channels * kernel * kernel][rows of a band][w].
 */
#include <string.h>

#include "vectors.h"

static place mirror(place p, place size) { return p < 0 ? -p : p >= size ? 2 * (size - 1) - p : p; }

/* The columns x for which x + shift needs no mirror. */
static void inside(place shift, place w, place *from, place *to) {
    *from = shift < 0 ? -shift : 0;
    *to = shift > 0 ? w - shift : w;
    if (*from > w) *from = w;
    if (*to < *from) *to = *from;
}

/* to[x] (+)= from[mirror(x + shift)] */
INLINE pull(float *restrict to, const float *restrict from, place shift, place w, int add) {
    place first, last;
    inside(shift, w, &first, &last);
    for (place x = 0; x < first; x++) to[x] = (add ? to[x] : 0) + from[mirror(x + shift, w)];
    if (add)
        for (place x = first; x < last; x++) to[x] += from[x + shift];
    else
        memcpy(to + first, from + first + shift, (size_t)(last - first) * sizeof(float));
    for (place x = last; x < w; x++) to[x] = (add ? to[x] : 0) + from[mirror(x + shift, w)];
}

/* to[mirror(x + shift)] += from[x] */
INLINE push(float *restrict to, const float *restrict from, place shift, place w) {
    place first, last;
    inside(shift, w, &first, &last);
    for (place x = 0; x < first; x++) to[mirror(x + shift, w)] += from[x];
    for (place x = first; x < last; x++) to[x + shift] += from[x];
    for (place x = last; x < w; x++) to[mirror(x + shift, w)] += from[x];
}

/* planes[c,i,j][y][x] = picture[c][mirror(y + i)][mirror(x + j)] for rows y in [top, bottom); c counts all pictures */
void planes_of_picture(const float *picture, float *planes, place top, place bottom, place channels, place kernel,
                       place h, place w, int threads) {
    place rows = bottom - top, half = kernel / 2;
    PARALLEL
    for (place job = 0; job < channels * kernel * kernel; job++) {
        place c = job / (kernel * kernel), i = job / kernel % kernel, j = job % kernel;
        for (place y = top; y < bottom; y++)
            pull(planes + (job * rows + y - top) * w, picture + (c * h + mirror(y + i - half, h)) * w, j - half, w, 0);
    }
}

/* Its gradient: picture[c][mirror(y + i)][mirror(x + j)] += planes[c,i,j][y][x] */
void planes_of_picture_adjoint(const float *planes, float *picture, place top, place bottom, place channels,
                               place kernel, place h, place w, int threads) {
    place rows = bottom - top, half = kernel / 2;
    PARALLEL
    for (place c = 0; c < channels; c++)
        for (place y = top; y < bottom; y++)
            for (place k = 0; k < kernel * kernel; k++)
                push(picture + (c * h + mirror(y + k / kernel - half, h)) * w,
                     planes + ((c * kernel * kernel + k) * rows + y - top) * w, k % kernel - half, w);
}

/* picture[c][y][x] = sum over i, j of planes[c,i,j][mirror(y + i)][mirror(x + j)] for rows y in [top, bottom); the
 * planes begin at row `first` and have `rows` of them, which are all that is read. */
void picture_of_planes(const float *planes, float *picture, place top, place bottom, place first, place rows,
                       place channels, place kernel, place h, place w, int threads) {
    place half = kernel / 2;
    PARALLEL
    for (place job = 0; job < channels * (bottom - top); job++) {
        place c = job / (bottom - top), y = top + job % (bottom - top);
        float *to = picture + (c * h + y) * w;
        memset(to, 0, (size_t)w * sizeof(float));
        for (place k = 0; k < kernel * kernel; k++)
            pull(to, planes + ((c * kernel * kernel + k) * rows + mirror(y + k / kernel - half, h) - first) * w,
                 k % kernel - half, w, 1);
    }
}

/* Its gradient, for planes of rows [first, first + rows): what every row of the picture read of them. */
void picture_of_planes_adjoint(const float *picture, float *planes, place first, place rows, place channels,
                               place kernel, place h, place w, int threads) {
    place half = kernel / 2;
    PARALLEL
    for (place job = 0; job < channels * kernel * kernel; job++) {
        place c = job / (kernel * kernel), i = job / kernel % kernel, j = job % kernel;
        memset(planes + job * rows * w, 0, (size_t)(rows * w) * sizeof(float));
        place low = first - kernel > 0 ? first - kernel : 0, high = first + rows + kernel < h ? first + rows + kernel : h;
        for (place y = low; y < high; y++) {
            place row = mirror(y + i - half, h) - first;
            if (row >= 0 && row < rows)
                push(planes + (job * rows + row) * w, picture + (c * h + y) * w, j - half, w);
        }
    }
}
