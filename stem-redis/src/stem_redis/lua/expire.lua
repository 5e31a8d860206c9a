-- uses: prelude records
-- ResultBackend.expire: let records, and progress, live anew for a while.
--
-- ARGV     instant, milliseconds (0 forgets at once), then ids
-- returns  1 for each record that existed, else 0
local ttl, replies = tonumber(ARGV[2]), {}

local function live_anew(name)
    if ttl <= 0 then return call('DEL', name) end
    local raw = call('GETRANGE', name, 0, HEAD_SIZE - 1)
    if #raw < HEAD_SIZE then return end
    local flags, fence = struct.unpack(HEAD, raw)
    call('SETRANGE', name, 0, struct.pack(HEAD, flags, fence, now + ttl))
    call('PEXPIRE', name, ttl)
end

for i = 3, #ARGV do
    local existed = head_of(ARGV[i])
    live_anew(P .. 'g:' .. ARGV[i])
    if existed then live_anew(P .. 'r:' .. ARGV[i]) end
    if ttl <= 0 then redis.pcall('ZREM', P .. 'rx', ARGV[i]) end
    replies[#replies + 1] = existed and 1 or 0
end
return replies
