/* The two convolutions that double a picture, from the planes that a matrix product made of it: planes are
 * (channels,3,3,rows,w), one for each position of a 3x3 kernel, and hold the rows of the input from `first` on. */
#include "vectors.h"

/* The transposed convolution of stride 2, padding 1 and output padding 1: out (channels,2h,2w), rows 2 top to 2 bottom,
 * from the rows `top` to one further than `bottom`, if there is one. Position k lands on 2 p + k - 1, so an even pixel is touched once and an
 * odd one by this pixel and the next, in each direction. */
void doubled_of_planes(const float *planes, const float *bias, float *out, place top, place bottom, place rows,
                       place channels, place h, place w, int threads) {
    PARALLEL
    for (place job = 0; job < channels * (bottom - top); job++) {
        place c = job / (bottom - top), y = top + job % (bottom - top);
        const float *p[9], *q[9]; /* by position, of this row and the next */
        for (int k = 0; k < 9; k++) {
            p[k] = planes + ((c * 9 + k) * rows + y - top) * w;
            q[k] = p[k] + w;
        }
        float b = bias ? bias[c] : 0, *restrict even = out + (c * 2 * h + 2 * y) * 2 * w, *restrict odd = even + 2 * w;
        int more = y + 1 < h;
        for (place x = 0; x < w; x++) {
            place next = x + 1 < w;
            even[2 * x] = b + p[4][x];
            even[2 * x + 1] = b + p[5][x] + (next ? p[3][x + 1] : 0);
            odd[2 * x] = b + p[7][x] + (more ? q[1][x] : 0);
            odd[2 * x + 1] = b + p[8][x] + (next ? p[6][x + 1] : 0);
            if (more) odd[2 * x + 1] += q[2][x] + (next ? q[0][x + 1] : 0);
        }
    }
}

/* Repeating each pixel twice in both directions, then a convolution that mirrors the edge, which here is repeating it:
 * output pixel p with position k - 1 sees pixel (p + k - 1) / 2. Rows 2 top to 2 bottom of out. */
void repeated_of_planes(const float *planes, const float *bias, float *out, place top, place bottom, place first,
                        place rows, place channels, place h, place w, int threads) {
    PARALLEL
    for (place job = 0; job < channels * 2 * (bottom - top); job++) {
        place c = job / (2 * (bottom - top)), row = 2 * top + job % (2 * (bottom - top));
        const float *p[9];
        for (place k = 0; k < 9; k++) {
            place y = row + k / 3 == 0 ? 0 : (row + k / 3 - 1) / 2; /* above the picture: its first row */
            p[k] = planes + ((c * 9 + k) * rows + (y < h ? y : h - 1) - first) * w;
        }
        float b = bias ? bias[c] : 0, *restrict to = out + (c * 2 * h + row) * 2 * w;
        for (place x = 0; x < w; x++) {
            place left = x ? x - 1 : 0, right = x + 1 < w ? x + 1 : x;
            float middle = b + p[1][x] + p[4][x] + p[7][x];
            to[2 * x] = middle + p[0][left] + p[3][left] + p[6][left] + p[2][x] + p[5][x] + p[8][x];
            to[2 * x + 1] = middle + p[0][x] + p[3][x] + p[6][x] + p[2][right] + p[5][right] + p[8][right];
        }
    }
}

/* to[x] += what the pixels of a row of the output read of pixel x by position j */
INLINE add_row(float *restrict to, const float *restrict from, place j, place w) {
    if (j == 0) {
        to[0] += from[0];
        for (place x = 0; x + 1 < w; x++) to[x] += from[2 * x + 1] + from[2 * x + 2];
        to[w - 1] += from[2 * w - 1];
    } else if (j == 1) {
        for (place x = 0; x < w; x++) to[x] += from[2 * x] + from[2 * x + 1];
    } else {
        to[0] += from[0];
        for (place x = 1; x < w; x++) to[x] += from[2 * x - 1] + from[2 * x];
        to[w - 1] += from[2 * w - 1];
    }
}

/* The gradient of repeated_of_planes for the rows [first, first + rows) of the planes. */
void repeated_of_planes_adjoint(const float *gradient, float *planes, place first, place rows, place channels, place h,
                                place w, int threads) {
    PARALLEL
    for (place job = 0; job < channels * 9; job++) {
        place c = job / 9, i = job / 3 % 3, j = job % 3;
        for (place y = first; y < first + rows; y++) {
            float *to = planes + (job * rows + y - first) * w;
            for (place x = 0; x < w; x++) to[x] = 0;
            /* rows 2 y and 2 y + 1 of the output, moved by the position; what moves out of the picture stays in */
            place low = 2 * y + 1 - i, high = low + 1;
            if (y == 0) low = 0;
            if (y == h - 1) high = 2 * h - 1;
            for (place row = low; row <= high; row++) add_row(to, gradient + (c * 2 * h + row) * 2 * w, j, w);
        }
    }
}
