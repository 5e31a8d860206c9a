-- uses: prelude
-- LockStore.acquire and release. The fences of all names come from one counter.
--
--   k:NAME   until when and fence in eight bytes each, then the owner   text
--
-- ARGV     instant, name, owner, milliseconds (0 gives it back)
-- returns  the fence, or 1 for a release; 0 if another holds it
local name, ttl = P .. 'k:' .. ARGV[2], tonumber(ARGV[4])
local held, fence, owner = call('GET', name), nil, nil
if held then
    local until_ms
    until_ms, fence = struct.unpack('<I8I8', held)
    owner = string.sub(held, 17)
    if until_ms <= now then owner = nil end
end
if ttl <= 0 then
    if owner ~= ARGV[3] then return '0' end
    call('DEL', name)
    return '1'
end
if owner and owner ~= ARGV[3] then return '0' end
if not owner then fence = next_turn() end
call('SET', name, struct.pack('<I8I8', now + ttl, fence) .. ARGV[3], 'PX', ttl)
return text(fence)
