-- Shared by the scripts that read: where in a list of blobs a number is.
-- Each blob begins with the highest number in it (8 bytes, big-endian); blobs ascend.
local call = redis.call
local P = KEYS[1]
local function key_of(shard, place)
  return P .. place:sub(1, 1) .. ':' .. shard .. '\0' .. place:sub(2)
end
local function last_of(key, index)
  return (struct.unpack('>I8', call('LINDEX', key, index)))
end
-- The index of the first blob with a number above `after`, looked for from the end, where
-- readers usually are; equal to the length if there is none.
local function first_above(key, count, after)
  local low, high, step = count - 1, count, 1
  while low >= 0 and last_of(key, low) > after do
    high = low
    low = low - step
    step = step * 2
  end
  if low < -1 then low = -1 end
  while high - low > 1 do
    local middle = math.floor((low + high) / 2)
    if last_of(key, middle) > after then high = middle else low = middle end
  end
  return high
end
