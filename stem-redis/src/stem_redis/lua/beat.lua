-- uses: prelude
-- HeartbeatStore.beat: keep the last sign of life of a worker, and forget the dead.
--
--   beats   worker: until when in eight bytes, then the heartbeat   hash
--
-- ARGV     instant, worker, milliseconds to believe it, bytes
-- returns  nothing of interest
local name = P .. 'beats'
local all = call('HGETALL', name)
for i = 1, #all, 2 do
    if #all[i + 1] < 8 or struct.unpack('<I8', all[i + 1]) <= now then call('HDEL', name, all[i]) end
end
call('HSET', name, ARGV[2], struct.pack('<I8', now + tonumber(ARGV[3])) .. ARGV[4])
return 0
