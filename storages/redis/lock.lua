-- lock.lua - what one Redis node does for one request, atomically and on its own clock.
--
-- Sent by request.c with EVALSHA; one script for all, so that a node knows either all of a batch or none of it.
-- KEYS: the lock's key, and the counter of fences. ARGV: operation, owner, and what the operation needs besides.
-- A lock's value is "OWNER FENCE TTL_MS ACQUIRED_US"; any other value is the owner token of another library. A fence of
-- 0 is not known yet.
-- Time comes from TIME, expiry from PX: both are the node's. Numbers stay below 2^53, so that Lua has them exactly.

local key, counter = KEYS[1], KEYS[2]
local operation, owner, ttl = ARGV[1], ARGV[2], ARGV[3]
local value = redis.call('GET', key)
local mine, fence, acquired = false, nil, nil
if value and owner and string.sub(value, 1, #owner + 1) == owner .. ' ' then
  fence, acquired = string.match(value, '^(%d+) %d+ (%d+)$', #owner + 2)
  mine = fence ~= nil
end

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function text(number)
  return string.format('%.0f', number)
end

local function write()
  redis.call('SET', key, owner .. ' ' .. fence .. ' ' .. ttl .. ' ' .. acquired, 'PX', ttl)
end

-- A fence that was given by another node: never give a smaller one here.
local function learn(given)
  if (tonumber(redis.call('GET', counter)) or 0) < tonumber(given) then
    redis.call('SET', counter, given)
  end
end

local function describe()
  return {0, value, redis.call('PTTL', key), text(now())}
end

local function free(whose)
  redis.call('DEL', key)
  redis.pcall('PUBLISH', key, whose)
end

-- The clock keeps fences growing though the counter was lost; the counter does though the clock was set back.
local function next_fence(time)
  return math.max((tonumber(redis.call('GET', counter)) or 0) + 1, time)
end

if operation == 'acquire' or operation == 'propose' then
  if value and not mine then
    return describe()
  end
  if mine and fence ~= '0' then
    write()
    return {1, fence, 1}
  end
  local time = now()
  local given = next_fence(time)
  if operation == 'propose' then
    -- No two nodes propose the same.
    local nodes, node = tonumber(ARGV[4]), tonumber(ARGV[5])
    given = given + (node - given) % nodes
  end
  given = text(given)
  fence = operation == 'propose' and '0' or given
  acquired = text(time)
  redis.call('SET', counter, given)
  write()
  return {1, given, 0}
elseif operation == 'extend' then
  if not mine then
    return {value and 2 or 0}
  end
  write()
  return {1, fence, acquired}
elseif operation == 'release' then
  if not mine then
    return {0}
  end
  free(owner)
  return {1}
elseif operation == 'inspect' then
  return value and describe() or {1}
elseif operation == 'break' then
  if not value then
    return {1}
  end
  local description = describe()
  free(string.match(value, '^(.*) %d+ %d+ %d+$') or value)
  return description
elseif operation == 'settle' then
  -- The hold got this fence: the largest that was proposed.
  if not mine then
    return {0}
  end
  fence = ARGV[3]
  learn(fence)
  ttl = string.match(value, ' (%d+) %d+$')
  redis.call('SET', key, owner .. ' ' .. fence .. ' ' .. ttl .. ' ' .. acquired, 'KEEPTTL')
  return {1}
elseif operation == 'repair' then
  -- A majority of the nodes has the hold, and this one does not know of it.
  if value then
    return {0}
  end
  learn(ARGV[4])
  fence, acquired = ARGV[4], ARGV[5]
  write()
  return {1}
end
