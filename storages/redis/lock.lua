-- lock.lua - what one Redis node does for a request, or for several, atomically and on its own clock.
--
-- Sent by answer.c with EVALSHA; one script for all, so that a node knows either all of a batch or none of it.
-- KEYS: the lock's key, and the counter of fences. ARGV: operation, owner, and what the operation needs besides.
-- Acquires, extends and releases may share a call, which costs as much as what it does. KEYS: the first one's key, the
-- counter, the other keys. ARGV: operation, owner and ttl of each. The reply has a reply for each.
-- A lock's value is "OWNER FENCE TTL_MS ACQUIRED_US"; any other value is the owner token of another library. A fence of
-- 0 is not known yet.
-- Time comes from TIME, expiry from PX: both are the node's. Numbers stay below 2^53, so that Lua has them exactly.
-- Commands, tables and functions cost time: what is common takes few, and replies with few tables.

local WANTED_AHEAD_US = 100000 -- so far a fence that a client wants may be ahead of those that were given, and of the time

local time, fence_next

-- An acquire, extend or release; so many more acquires may follow it in this call.
local function carry_out(operation, key, owner, ttl, more)
  local call, format = redis.call, string.format
  if operation == 'acquire' then
    if not time then
      local parts = call('TIME')
      time = format('%.0f', parts[1] * 1000000 + parts[2])
    end
    local fence = fence_next and format('%.0f', fence_next) or time
    if call('SET', key, owner .. ' ' .. fence .. ' ' .. ttl .. ' ' .. time, 'NX', 'PX', ttl) then
      if not fence_next then
        -- The clock keeps fences growing though the counter was lost; the counter does though the clock was set back.
        -- It is set ahead for all that may be granted in this call.
        local last = redis.pcall('GETSET', KEYS[2], more == 0 and time or format('%.0f', time + more))
        if type(last) == 'table' then
          call('DEL', key)
          return last
        end
        fence_next = tonumber(time)
        last = tonumber(last or 0) or 0
        if last >= fence_next then
          fence_next = last + 1
          fence = format('%.0f', fence_next)
          call('SET', KEYS[2], format('%.0f', fence_next + more))
          call('SET', key, owner .. ' ' .. fence .. ' ' .. ttl .. ' ' .. time, 'PX', ttl)
        end
      end
      fence_next = fence_next + 1
      return fence
    end
  end
  local value = call('GET', key)
  local fence, old_ttl, acquired
  if value and string.find(value, owner .. ' ', 1, true) == 1 then
    fence, old_ttl, acquired = string.match(value, '^(%d+) (%d+) (%d+)$', #owner + 2)
  end
  if operation == 'release' then
    if not fence then
      return 0
    end
    call('DEL', key)
    redis.pcall('PUBLISH', key, owner)
    return 1
  end
  if not fence then
    return operation == 'acquire' and {0, value, call('PTTL', key), time} or value and 2 or 0
  elseif ttl == old_ttl then
    call('PEXPIRE', key, ttl)
  else
    call('SET', key, owner .. ' ' .. fence .. ' ' .. ttl .. ' ' .. acquired, 'PX', ttl)
  end
  return {1, fence, operation == 'extend' and acquired or 1}
end

local operation = ARGV[1]
if operation == 'acquire' or operation == 'release' or operation == 'extend' then
  local count = #KEYS - 1
  if count == 1 then
    return carry_out(operation, KEYS[1], ARGV[2], ARGV[3], 0)
  end
  local replies = {}
  for at = 1, count do
    local first = at * 3 - 2
    -- The error of one must not be taken for one of the others, which have been carried out.
    local done, reply = pcall(carry_out, ARGV[first], KEYS[at == 1 and 1 or at + 1], ARGV[first + 1], ARGV[first + 2],
                              count - at)
    if not done then
      local why = type(reply) == 'table' and reply.err or reply
      reply = {err = string.find(why, '^%u+ ') and why or 'ERR ' .. why}
    end
    replies[at] = reply
  end
  return replies
end

local key, counter, owner, ttl = KEYS[1], KEYS[2], ARGV[2], ARGV[3]

-- An acquire of one of several nodes. It takes the fence that is wanted, or proposes another: no two nodes the same, nor
-- one that a client may want. The reply: {1, fence, 0 = proposed or 1 = held before or 2 = taken, time}, or a description.
if operation == 'propose' then
  local call, format = redis.call, string.format
  local parts, last = call('TIME'), tonumber(call('GET', counter)) or 0
  local time = parts[1] * 1000000 + parts[2]
  local nodes, node, given = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
  local least, how, fence = last < time and time or last + 1, 2, ARGV[6]
  if given < least or given > least + WANTED_AHEAD_US then
    given, how, fence = least + (node - least) % (nodes + 1), 0, '0'
  end
  time = format('%.0f', time)
  local record = owner .. ' ' .. fence .. ' ' .. ttl .. ' ' .. time
  if not call('SET', key, record, 'NX', 'PX', ttl) then
    local value, known, acquired = call('GET', key), nil, nil
    if string.find(value, owner .. ' ', 1, true) == 1 then
      known, acquired = string.match(value, '^(%d+) %d+ (%d+)$', #owner + 2)
    end
    if not known then
      return {0, value, call('PTTL', key), time}
    elseif known ~= '0' then
      call('SET', key, owner .. ' ' .. known .. ' ' .. ttl .. ' ' .. acquired, 'PX', ttl)
      return {1, known, 1, time}
    end
    call('SET', key, record, 'PX', ttl)
  end
  given = format('%.0f', given)
  local counted = redis.pcall('SET', counter, given)
  if counted.err then
    call('DEL', key)
    return counted
  end
  return {1, given, how, time}
end

local value = redis.call('GET', key)
local mine, fence, acquired = false, nil, nil
if value and owner and string.sub(value, 1, #owner + 1) == owner .. ' ' then
  fence, acquired = string.match(value, '^(%d+) %d+ (%d+)$', #owner + 2)
  mine = fence ~= nil
end

-- A fence that was given by another node: never give a smaller one here.
local function learn(given)
  if (tonumber(redis.call('GET', counter)) or 0) < tonumber(given) then
    redis.call('SET', counter, given)
  end
end

local function describe()
  local time = redis.call('TIME')
  return {0, value, redis.call('PTTL', key), string.format('%.0f', time[1] * 1000000 + time[2])}
end

if operation == 'inspect' then
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
  redis.call('SET', key, owner .. ' ' .. ARGV[4] .. ' ' .. ttl .. ' ' .. ARGV[5], 'PX', ttl)
  return {1}
end
