-- lock.lua - what one Redis node does for a request, or for several, atomically and on its own clock.
--
-- Sent by answer.c with EVALSHA; one script for all, so that a node knows either all of a batch or none of it.
-- KEYS: the lock's key, and the counter of fences. ARGV: operation, owner, and what the operation needs besides.
-- Acquires, extends and releases may share a call, which costs as much as what it does. KEYS: the first one's key, the
-- counter, the other keys. ARGV: operation, owner and ttl of each. The reply has a reply for each.
-- A lock's value is "OWNER FENCE TTL_MS ACQUIRED_US"; any other value is the owner token of another library. A fence of
-- 0 is not known yet.
-- Time comes from TIME, expiry from PX: both are the node's. Numbers stay below 2^53, so that Lua has them exactly.
-- Tables and functions cost time when they are made: common replies are none, and what is called most is one function.

local at, count, replies = 0, #KEYS > 2 and #KEYS - 1 or 1, {}

-- Acquires, extends and releases, from the next one on.
local function run()
  local call, format, keys, words, counter = redis.call, string.format, KEYS, ARGV, KEYS[2]
  local time, time_text, fence_next
  while at < count do
    at = at + 1
    local key, first = keys[at == 1 and 1 or at + 1], at * 3 - 2
    local operation, owner, ttl, reply = words[first], words[first + 1], words[first + 2], nil
    if operation == 'acquire' and fence_next then
      -- The counter is ahead already: a key that is free takes one command.
      local fence = format('%.0f', fence_next)
      if call('SET', key, owner .. ' ' .. fence .. ' ' .. ttl .. ' ' .. time_text, 'NX', 'PX', ttl) then
        fence_next = fence_next + 1
        reply = fence
      end
    end
    if not reply then
      local value = call('GET', key)
      local fence, old_ttl, acquired
      if value and string.find(value, owner .. ' ', 1, true) == 1 then
        fence, old_ttl, acquired = string.match(value, '^(%d+) (%d+) (%d+)$', #owner + 2)
      end
      if operation == 'release' then
        reply = 0
        if fence then
          call('DEL', key)
          redis.pcall('PUBLISH', key, owner)
          reply = 1
        end
      elseif operation == 'extend' then
        reply = value and 2 or 0
        if fence then
          if ttl == old_ttl then
            call('PEXPIRE', key, ttl)
          else
            call('SET', key, owner .. ' ' .. fence .. ' ' .. ttl .. ' ' .. acquired, 'PX', ttl)
          end
          reply = {1, fence, acquired}
        end
      elseif fence and fence ~= '0' then
        call('SET', key, owner .. ' ' .. fence .. ' ' .. ttl .. ' ' .. acquired, 'PX', ttl)
        reply = {1, fence, 1}
      else
        if not time then
          local parts = call('TIME')
          time = parts[1] * 1000000 + parts[2]
          time_text = format('%.0f', time)
        end
        if value and not fence then
          reply = {0, value, call('PTTL', key), time_text}
        else
          -- The clock keeps fences growing though the counter was lost; the counter does though the clock was set back.
          -- It is set ahead for all that may be granted in this call.
          local more = count - at
          local last = tonumber(call('GETSET', counter, format('%.0f', time + more)) or 0) or 0
          local given = time
          if last >= time then
            given = last + 1
            call('SET', counter, format('%.0f', given + more))
          end
          reply = format('%.0f', given)
          call('SET', key, owner .. ' ' .. reply .. ' ' .. ttl .. ' ' .. time_text, 'PX', ttl)
          fence_next = given + 1
        end
      end
    end
    replies[at] = reply
  end
end

if ARGV[1] == 'acquire' or ARGV[1] == 'extend' or ARGV[1] == 'release' then
  if count == 1 then
    run()
    return replies[1]
  end
  while at < count do
    -- The error of one must not be taken for one of the others, which have been carried out.
    local done, why = pcall(run)
    if not done then
      why = type(why) == 'table' and why.err or why
      replies[at] = {err = string.find(why, '^%u+ ') and why or 'ERR ' .. why}
    end
  end
  return replies
end

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

if operation == 'propose' then
  if value and not mine then
    return describe()
  end
  if mine and fence ~= '0' then
    write()
    return {1, fence, 1}
  end
  -- No two nodes propose the same.
  local time, nodes, node = now(), tonumber(ARGV[4]), tonumber(ARGV[5])
  local given = math.max((tonumber(redis.call('GET', counter)) or 0) + 1, time)
  given = text(given + (node - given) % nodes)
  fence, acquired = '0', text(time)
  redis.call('SET', counter, given)
  write()
  return {1, given, 0}
elseif operation == 'inspect' then
  return value and describe() or {1}
elseif operation == 'break' then
  if not value then
    return {1}
  end
  local description = describe()
  redis.call('DEL', key)
  redis.pcall('PUBLISH', key, string.match(value, '^(.*) %d+ %d+ %d+$') or value)
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
