-- uses: prelude
-- HeartbeatStore.alive: the heartbeats that are believed now.
--
-- ARGV     instant
-- returns  the bytes of each
local all, replies = call('HGETALL', P .. 'beats'), {}
for i = 1, #all, 2 do
    if #all[i + 1] >= 8 and struct.unpack('<I8', all[i + 1]) > now then
        replies[#replies + 1] = string.sub(all[i + 1], 9)
    end
end
return replies
