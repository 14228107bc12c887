/* Whole vectors of fp32. The compiler makes of them what the processor has: one AVX-512, two AVX2, four NEON. */
#pragma once
#include <stddef.h>

#define LANES 16 /* channels come in multiples of this */
typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int mask __attribute__((vector_size(4 * LANES)));
#define LOAD(p) (*(const vec *)(p))
#define STORE(p, v) (*(vec *)(p) = (v))
#define INLINE static inline __attribute__((always_inline)) void
#define PARALLEL _Pragma("omp parallel for num_threads(threads) schedule(static)")

typedef ptrdiff_t place; /* counts and positions */

/* max(0, x), and NaN where x is NaN */
static inline vec rectified(vec x) {
    vec zero = {0};
    return (vec)((mask)x & ~(x < zero));
}
