-- Append one batch of one partition: all of it or nothing, once, in order.
--
-- KEYS[1]  what stands before every key of this log
-- ARGV     partition ('' to only let go of what is too old), first offset ('' if unknown),
--          next offset, segment, max bytes, max age ms, seconds a key lives untouched, bytes added,
--          and, in MessagePack, four lists:
--            shard, mark it goes on from, first number, new mark; ...
--            key, blob; ...
--            key of an index, place, score; ...
--            keys new in this segment
-- Returns  {status, segment}: ok; old (the log has this batch); rewound (the log has lost what
--          came before); marks (it goes on from elsewhere); segment (another one is open now)
local P = KEYS[1]
local call = redis.call
local partition, first, next_offset = ARGV[1], ARGV[2], tonumber(ARGV[3])
local segment, max_bytes, max_age_ms = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local ttl_s, added = ARGV[7], tonumber(ARGV[8])
local current = call('HGET', P .. 'log', 'segment') or '0'
local time = call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local registered = 0

-- A write that a full Redis (OOM) allows: those after it are allowed, too, so it can let go.
if partition == '' then call('HDEL', P .. 'log', '') end

-- A segment is a stretch of time that is let go as a whole: a 32nd of what may be kept.
local function close_segment_if_due()
  local in_segment = tonumber(call('HGET', P .. 'log', 'segment_bytes') or '0')
  local started = tonumber(call('HGET', P .. 'log', 'started') or '0')
  if started == 0 then
    call('HSET', P .. 'log', 'started', now_ms)
  elseif in_segment > max_bytes / 32 or (in_segment > 0 and now_ms - started > max_age_ms / 32) then
    call('HSET', P .. 'log', 'b:' .. current, in_segment, 't:' .. current, now_ms)
    current = string.format('%d', current + 1)
    call('HSET', P .. 'log', 'segment', current, 'segment_bytes', 0, 'started', now_ms)
  end
end
close_segment_if_due()

if partition ~= '' then
  local stored = tonumber(call('HGET', P .. 'offsets', partition) or '-1')
  if first ~= '' and stored < tonumber(first) then return {'rewound', current} end
  if stored >= next_offset then return {'old', current} end
  if segment ~= current then return {'segment', current} end
  local shards, pushes, indexed, keys = unpack(cmsgpack.unpack(ARGV[9]))
  for n = 1, #shards, 4 do
    local mark = call('HGET', P .. 'marks', shards[n]) or '0'
    if mark ~= shards[n + 1] then return {'marks', current} end
  end

  for n = 1, #pushes, 2 do call('RPUSH', P .. pushes[n], pushes[n + 1]) end
  for n = 1, #indexed, 3 do call('ZADD', P .. indexed[n], indexed[n + 2], indexed[n + 1]) end
  local lossy = call('HEXISTS', P .. 'losses', partition) == 1
  for n = 1, #shards, 4 do
    local shard, first_number, mark = shards[n], tonumber(shards[n + 2]), shards[n + 3]
    if lossy and call('SADD', P .. 'l:' .. partition, shard) == 1 then
      call('HSET', P .. 'floors', shard, first_number - 1)
    end
    call('HSET', P .. 'marks', shard, mark)
    call('HSET', P .. 'm:' .. segment, shard, mark)
  end
  registered = #keys
  for _, key in ipairs(keys) do
    call('SADD', P .. 'k:' .. segment, key)
    call('EXPIRE', P .. key, ttl_s)
  end
  call('HSET', P .. 'offsets', partition, next_offset)
  call('PUBLISH', P .. 'appended', partition)
end

local bytes = call('HINCRBY', P .. 'log', 'bytes', added)
call('HINCRBY', P .. 'log', 'segment_bytes', added)
close_segment_if_due()

-- Let go of the oldest segment, a few keys a time: first the floors say so, then the data goes.
local floors = {}
local function floor_of(shard)
  if not floors[shard] then
    floors[shard] = tonumber(call('HGET', P .. 'floors', shard) or '0')
  end
  return floors[shard]
end
local function last_of(key, index)
  return (struct.unpack('>I8', call('LINDEX', key, index)))
end
local function trim(name)
  local key, bare = P .. name, name:sub(3)
  local floor = floor_of(bare:sub(1, bare:find('\0', 1, true) - 1))
  if name:sub(1, 1) == 'i' then
    call('ZREMRANGEBYSCORE', key, '-inf', floor)
    return
  end
  local count = call('LLEN', key)
  if count == 0 or last_of(key, 0) > floor then return end
  local gone, kept = 0, count
  while kept - gone > 1 do
    local middle = math.floor((gone + kept) / 2)
    if last_of(key, middle) > floor then kept = middle else gone = middle end
  end
  call('LTRIM', key, kept, -1)
end

local oldest = tonumber(call('HGET', P .. 'log', 'oldest') or '0')
local budget = partition == '' and 1024 or 64 + 2 * registered
for _ = 1, 4 do
  local ended = tonumber(call('HGET', P .. 'log', 't:' .. oldest) or '0')
  if ended == 0 or (bytes <= max_bytes and now_ms - ended <= max_age_ms) then break end
  if call('HGET', P .. 'log', 'letting_go') ~= tostring(oldest) then
    local marks = call('HGETALL', P .. 'm:' .. oldest)
    for n = 1, #marks, 2 do call('HSET', P .. 'floors', marks[n], marks[n + 1]) end
    call('HSET', P .. 'log', 'letting_go', oldest)
  end
  local names = call('SPOP', P .. 'k:' .. oldest, budget)
  for _, name in ipairs(names) do trim(name) end
  if #names < budget then
    local freed = call('HGET', P .. 'log', 'b:' .. oldest)
    bytes = call('HINCRBY', P .. 'log', 'bytes', '-' .. freed)
    call('HDEL', P .. 'log', 'b:' .. oldest, 't:' .. oldest)
    call('DEL', P .. 'm:' .. oldest, P .. 'k:' .. oldest)
    oldest = oldest + 1
    call('HSET', P .. 'log', 'oldest', oldest)
    floors = {}
  end
end
return {'ok', current}
