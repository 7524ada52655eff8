"""The Lua scripts of the Redis channel store: each changes a channel whole, or not at all.

KEYS[1] is the channel, KEYS[2] the notices; ARGV[1] the channel's id. What else a channel has
hangs on its key's name. Scripts reach keys by computed names: one Redis, no cluster. `refresh` and
`save_cursors` are about many channels: KEYS[1] is what stands before the ids in ARGV.
"""

from __future__ import annotations

from typing import Final

_TOUCH: Final = """
local function touch(channel)
  local ms = tonumber(redis.call('HGET', channel, 'timeout')) * 1000
  local snapshots = channel .. ':snapshots'
  redis.call('PEXPIRE', channel, ms)
  redis.call('PEXPIRE', channel .. ':subscriptions', ms)
  redis.call('PEXPIRE', channel .. ':active', ms)
  redis.call('PEXPIRE', channel .. ':ended', ms)
  if redis.call('PEXPIRE', snapshots, ms) == 1 then
    for _, name in ipairs(redis.call('SMEMBERS', snapshots)) do
      redis.call('PEXPIRE', channel .. ':snapshot:' .. name, ms)
    end
  end
end
"""

_COMMON: Final = (
    _TOUCH
    + """
local channel, notices, id = KEYS[1], KEYS[2], ARGV[1]
local subscriptions, active = channel .. ':subscriptions', channel .. ':active'
local ended, snapshots = channel .. ':ended', channel .. ':snapshots'
local function follow(key)
  redis.call('PEXPIRE', key, math.max(1, redis.call('PTTL', channel)))
end
local function remember(sequence, text)
  redis.call('HSET', subscriptions, sequence, text)
  redis.call('ZADD', ended, sequence, sequence)
  follow(ended)
end
local function changed(sequence)
  redis.call('HINCRBY', channel, 'version', 1)
  redis.call('PUBLISH', notices, 'changed ' .. id .. ' ' .. sequence)
end
"""
)

_CREATE: Final = """
local channel, owner, user, counter = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
for _, other in ipairs(redis.call('ZRANGE', user, 0, -1)) do
  if redis.call('EXISTS', ARGV[2] .. other) == 0 then redis.call('ZREM', user, other) end
end
if redis.call('ZCARD', user) >= tonumber(ARGV[7]) then return -1 end
local order = redis.call('INCR', counter)
redis.call('HSET', channel, 'owner', ARGV[3], 'uid', ARGV[4], 'client', ARGV[5],
  'timeout', ARGV[6], 'order', order, 'slots', '', 'generation', 0, 'version', 0,
  'connection', '', 'draining', '')
redis.call('PEXPIRE', channel, ARGV[6] * 1000)
redis.call('ZADD', owner, order, ARGV[1])
redis.call('ZADD', user, order, ARGV[1])
return order
"""

_RESTORE: Final = """
local channel, owner, user = KEYS[1], KEYS[2], KEYS[3]
if redis.call('EXISTS', channel) == 1 then return 0 end
redis.call('HSET', channel, 'owner', ARGV[2], 'uid', ARGV[3], 'client', ARGV[4],
  'timeout', ARGV[5], 'order', ARGV[6], 'slots', ARGV[7], 'generation', ARGV[8],
  'version', ARGV[9], 'cursor', ARGV[10], 'connection', ARGV[11], 'draining', '',
  'seen', ARGV[12])
redis.call('PEXPIRE', channel, ARGV[5] * 1000)
for i = 13, #ARGV, 3 do
  redis.call('HSET', channel .. ':subscriptions', ARGV[i], ARGV[i + 1])
  if ARGV[i + 2] ~= '' then
    redis.call('HSET', channel .. ':active', ARGV[i + 2], ARGV[i])
  else
    redis.call('ZADD', channel .. ':ended', ARGV[i], ARGV[i])
  end
end
redis.call('PEXPIRE', channel .. ':subscriptions', ARGV[5] * 1000)
redis.call('PEXPIRE', channel .. ':active', ARGV[5] * 1000)
redis.call('PEXPIRE', channel .. ':ended', ARGV[5] * 1000)
redis.call('ZADD', owner, ARGV[6], ARGV[1])
redis.call('ZADD', user, ARGV[6], ARGV[1])
return 1
"""

_SET_TIMEOUT: Final = """
if redis.call('EXISTS', channel) == 0 then return 0 end
redis.call('HSET', channel, 'timeout', ARGV[2])
touch(channel)
changed(0)
return 1
"""

_DELETE: Final = """
local fields = redis.call('HMGET', channel, 'owner', 'uid')
if not fields[1] then return 0 end
for _, name in ipairs(redis.call('SMEMBERS', snapshots)) do
  redis.call('UNLINK', channel .. ':snapshot:' .. name)
end
redis.call('UNLINK', channel, subscriptions, active, ended, snapshots)
redis.call('ZREM', ARGV[2] .. 'owner:' .. fields[1], id)
redis.call('ZREM', ARGV[2] .. 'user:' .. fields[2], id)
redis.call('PUBLISH', notices, 'closed ' .. id .. ' ')
return 1
"""

_PUT_SNAPSHOT: Final = """
if redis.call('EXISTS', channel) == 0 then return 0 end
local list = channel .. ':snapshot:' .. ARGV[2]
for i = 3, #ARGV do redis.call('RPUSH', list, ARGV[i]) end
redis.call('SADD', snapshots, ARGV[2])
follow(list)
follow(snapshots)
return 1
"""

_NEW: Final = """
local function add(identity, text, slot)
  local sequence = redis.call('HINCRBY', channel, 'generation', 1)
  redis.call('HSET', subscriptions, sequence, text)
  redis.call('HSET', active, identity, sequence)
  local slots = redis.call('HGET', channel, 'slots')
  local known = string.find('\\n' .. slots .. '\\n', '\\n' .. slot .. '\\n', 1, true)
  if slot ~= '' and not known then
    redis.call('HSET', channel, 'slots', slots == '' and slot or slots .. '\\n' .. slot)
  end
  follow(subscriptions)
  follow(active)
  changed(sequence)
  return sequence
end
"""

_CARRY_ON: Final = """
if redis.call('HGET', active, ARGV[2]) ~= ARGV[3] then return 0 end
remember(ARGV[3], ARGV[4])
add(ARGV[2], ARGV[5], ARGV[6])
return 1
"""

_SUBSCRIBE: Final = """
if redis.call('EXISTS', channel) == 0 then return {0, 0, ''} end
local known = redis.call('HGET', active, ARGV[2])
if known then return {2, tonumber(known), redis.call('HGET', subscriptions, known)} end
local maximum = tonumber(ARGV[5])
if maximum > 0 and redis.call('HLEN', active) >= maximum then return {-1, 0, ''} end
return {1, add(ARGV[2], ARGV[3], ARGV[4]), ''}
"""

_REPLACE: Final = """
if redis.call('HGET', subscriptions, ARGV[2]) ~= ARGV[3] then return 0 end
redis.call('HSET', subscriptions, ARGV[2], ARGV[4])
if not ARGV[5] then changed(ARGV[2]) end
return 1
"""

_END: Final = """
if redis.call('EXISTS', channel) == 0 then return 0 end
if redis.call('HEXISTS', subscriptions, ARGV[3]) == 0 then return 0 end
local was_active = 0
if redis.call('HGET', active, ARGV[2]) == ARGV[3] then
  was_active = redis.call('HDEL', active, ARGV[2])
end
remember(ARGV[3], ARGV[4])
local over = redis.call('ZCARD', ended) - tonumber(ARGV[5])
if over > 0 then
  for _, sequence in ipairs(redis.call('ZRANGE', ended, 0, over - 1)) do
    redis.call('HDEL', subscriptions, sequence)
  end
  redis.call('ZREMRANGEBYRANK', ended, 0, over - 1)
end
changed(ARGV[3])
return was_active
"""

_ATTACH: Final = """
local fields = redis.call('HGETALL', channel)
if #fields == 0 then return {{}, {}} end
redis.call('HSET', channel, 'draining', redis.call('HGET', channel, 'connection'),
  'connection', ARGV[2])
touch(channel)
redis.call('PUBLISH', notices, 'attached ' .. id .. ' ' .. ARGV[2])
return {fields, redis.call('HGETALL', subscriptions)}
"""

_LOAD: Final = """
return {redis.call('HGETALL', channel), redis.call('HGETALL', subscriptions)}
"""

_LOOK: Final = """
return {redis.call('HGETALL', channel), redis.call('HMGET', subscriptions, unpack(ARGV, 2))}
"""

_REFRESH: Final = """
local answers = {}
for i = 1, #ARGV, 2 do
  local channel = KEYS[1] .. ARGV[i]
  local fields = redis.call('HMGET', channel, 'version', 'connection')
  if fields[2] == ARGV[i + 1] then touch(channel) end
  table.insert(answers, fields[1] and fields)
end
return answers
"""

_DETACH: Final = """
local fields = redis.call('HMGET', channel, 'connection', 'draining')
local held = fields[1] == ARGV[2]
if not held and fields[2] ~= ARGV[2] then return 0 end
redis.call('HSET', channel, held and 'connection' or 'draining', '')
if ARGV[3] ~= '' then redis.call('HSET', channel, 'cursor', ARGV[3], 'seen', ARGV[4]) end
if held then touch(channel) end
return 1
"""

_SAVE_CURSORS: Final = """
for i = 1, #ARGV, 4 do
  local channel = KEYS[1] .. ARGV[i]
  if redis.call('HGET', channel, 'connection') == ARGV[i + 1] and ARGV[i + 2] ~= '' then
    redis.call('HSET', channel, 'cursor', ARGV[i + 2], 'seen', ARGV[i + 3], 'draining', '')
  end
end
"""

SCRIPTS: Final = {
    "create": _CREATE,
    "restore": _RESTORE,
    "refresh": _TOUCH + _REFRESH,
    "save_cursors": _SAVE_CURSORS,
    **{
        name: _COMMON + body
        for name, body in {
            "set_timeout": _SET_TIMEOUT,
            "delete": _DELETE,
            "put_snapshot": _PUT_SNAPSHOT,
            "subscribe": _NEW + _SUBSCRIBE,
            "replace": _REPLACE,
            "end": _END,
            "attach": _ATTACH,
            "load": _LOAD,
            "carry_on": _NEW + _CARRY_ON,
            "look": _LOOK,
            "detach": _DETACH,
        }.items()
    },
}
