-- Fetch the blobs that hold these numbers, each blob once.
-- ARGV     shard, then (number, place) for each, numbers of one place ascending
local shard = ARGV[1]
local answer, seen = {}, {}
for n = 2, #ARGV, 2 do
  local number, key = tonumber(ARGV[n]), key_of(shard, ARGV[n + 1])
  if not (seen[key] and seen[key] >= number) then
    local count = call('LLEN', key)
    local index = first_above(key, count, number - 1)
    if index < count then
      local blob = call('LINDEX', key, index)
      answer[#answer + 1] = blob
      seen[key] = struct.unpack('>I8', blob)
    end
  end
end
return answer
