-- Find where messages that tell an inode are.
-- ARGV     shard, after, up_to, then (bucket place, tag) for each inode
-- Returns  one string: 27 bytes (number, place) for each message
local shard, after, up_to = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local found = {}
for n = 4, #ARGV, 2 do
  local key, tag = key_of(shard, ARGV[n]), ARGV[n + 1]
  local count = call('LLEN', key)
  local index = first_above(key, count, after)
  local past = false
  while index < count and not past do
    for _, blob in ipairs(call('LRANGE', key, index, index + 63)) do
      -- Nearly all refs are others': a plain search passes over them ten times as fast.
      local hit = blob:find(tag, 17, true)
      while hit do
        local at = hit - 8
        if (at - 9) % 31 == 0 then
          local number = struct.unpack('>I8', blob, at)
          if number > after and number <= up_to then
            found[#found + 1] = blob:sub(at, at + 7) .. blob:sub(at + 12, at + 30)
          end
        end
        hit = blob:find(tag, hit + 1, true)
      end
      past = past or struct.unpack('>I8', blob) >= up_to
    end
    index = index + 64
  end
end
return table.concat(found)
