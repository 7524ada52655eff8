-- Read blobs of several places.
-- ARGV     shard, up_to, bytes per place, then (after, place) for each
-- Returns  for each place {1 if that was all else 0, blob, ...}
local shard, up_to, limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local answer = {}
for n = 4, #ARGV, 2 do
  local after, key = tonumber(ARGV[n]), key_of(shard, ARGV[n + 1])
  local count = call('LLEN', key)
  local index, size, found, complete = first_above(key, count, after), 0, {1}, false
  while index < count and size < limit and not complete do
    for _, blob in ipairs(call('LRANGE', key, index, index + 15)) do
      found[#found + 1] = blob
      size = size + #blob
      index = index + 1
      complete = struct.unpack('>I8', blob) >= up_to
      if complete or size >= limit then break end
    end
  end
  if index < count and not complete then found[1] = 0 end
  answer[#answer + 1] = found
end
return answer
