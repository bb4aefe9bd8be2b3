/* lease.c - see lease.h. */
#include "lease.h"

#include "dlock.h"

int64_t lease_valid_until(int64_t sent_at, uint32_t ttl_ms)
{
    const int64_t drift = (int64_t)ttl_ms * 10 + 2000;
    return sent_at + (int64_t)ttl_ms * 1000 - drift;
}

int64_t lease_lost_at(int64_t valid_until, uint32_t ttl_ms, uint32_t margin_ms)
{
    const int64_t wanted = margin_ms ? (int64_t)margin_ms * 1000 : (int64_t)ttl_ms * 100;
    const int64_t most = (int64_t)ttl_ms * 500;
    return valid_until - (wanted < most ? wanted : most);
}

int64_t lease_renew_at(int64_t sent_at, uint32_t ttl_ms)
{
    const int64_t ttl = (int64_t)ttl_ms * 1000, due = sent_at + ttl / 3;
    return due - due % (ttl / 32);
}

/* Between half of `most` and all of it. */
static int64_t part_by_chance(int64_t most, uint64_t chance)
{
    const int64_t half = most / 2;
    return most - (int64_t)(chance % (uint64_t)(half + 1));
}

int64_t lease_retry_at(int64_t now, uint32_t ttl_ms, uint64_t chance)
{
    return now + part_by_chance((int64_t)ttl_ms * 1000 / 12, chance);
}

int64_t lease_apart(uint32_t interval_ms, uint64_t chance)
{
    return (int64_t)interval_ms * 1000 + (int64_t)(chance % ((uint64_t)interval_ms * 250 + 1));
}

int64_t lease_pause(uint32_t interval_ms, uint32_t attempts, uint64_t chance)
{
    const int64_t first = 25000, most = (int64_t)interval_ms * 1000;
    const uint32_t doublings = attempts < 2 ? 0 : attempts - 1;
    const bool grown = doublings >= 32 || first >= most >> doublings;
    return part_by_chance(grown ? most : first << doublings, chance);
}

int64_t lease_told_pause(uint32_t interval_ms, uint64_t chance)
{
    return part_by_chance((int64_t)interval_ms * 1000 * LEASE_TOLD_LONGER, chance);
}
