/* histogram.h - how long something took, many times: quantiles in memory that does not grow.
 *
 * Used by the measures of dlock bench. */
#ifndef DLOCK_CLI_HISTOGRAM_H
#define DLOCK_CLI_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

/* Steps of 1/64 from one power of two to the next, up to 2^44 ns, which is nearly five hours. A quantile is then wrong
 * by less than one per cent. */
#define HISTOGRAM_STEPS 64
#define HISTOGRAM_SIZE  (39 * HISTOGRAM_STEPS)

struct histogram {
    uint64_t total;
    uint64_t counts[HISTOGRAM_SIZE];
};

void histogram_add(struct histogram *histogram, int64_t ns);

/* Adds everything that is in `other`. */
void histogram_join(struct histogram *histogram, const struct histogram *other);

/* Nanoseconds that `part` (0 to 1) of the times do not exceed; 0 if there are none. */
double histogram_quantile(const struct histogram *histogram, double part);

#endif
