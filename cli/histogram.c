/* histogram.c - see histogram.h. */
#include "histogram.h"

#define STEP_BITS 6

static size_t index_of(uint64_t ns)
{
    if (ns < HISTOGRAM_STEPS)
        return ns;
    const unsigned shift = 63 - (unsigned)__builtin_clzll(ns) - STEP_BITS;
    const size_t index = (shift + 1) * HISTOGRAM_STEPS + (ns >> shift) % HISTOGRAM_STEPS;
    return index < HISTOGRAM_SIZE ? index : HISTOGRAM_SIZE - 1;
}

static double middle_of(size_t index)
{
    if (index < HISTOGRAM_STEPS)
        return (double)index;
    const size_t shift = index / HISTOGRAM_STEPS - 1;
    return ((double)(HISTOGRAM_STEPS + index % HISTOGRAM_STEPS) + 0.5) * (double)(UINT64_C(1) << shift);
}

void histogram_add(struct histogram *histogram, int64_t ns)
{
    histogram->counts[index_of(ns > 0 ? (uint64_t)ns : 0)]++;
    histogram->total++;
}

void histogram_join(struct histogram *histogram, const struct histogram *other)
{
    for (size_t i = 0; i < HISTOGRAM_SIZE; i++)
        histogram->counts[i] += other->counts[i];
    histogram->total += other->total;
}

double histogram_quantile(const struct histogram *histogram, double part)
{
    const double rank = part * (double)histogram->total;
    uint64_t seen = 0;

    if (histogram->total == 0)
        return 0;
    for (size_t i = 0; i < HISTOGRAM_SIZE; i++) {
        seen += histogram->counts[i];
        if (seen > 0 && (double)seen >= rank)
            return middle_of(i);
    }
    return middle_of(HISTOGRAM_SIZE - 1);
}
