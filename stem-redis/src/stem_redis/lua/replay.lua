-- uses: prelude state places records admission
-- BrokerAdmin.replay: put dead letters back to ready, with their records in the same step.
--
-- ARGV     instant, home and results database, then ids
-- returns  two for each: 0 done, 1 already, 2 unknown, 3 unique; the fence when done
local HOME, RESULTS = ARGV[2], ARGV[3]

local function replay(id)
    local s = find(id)
    if not s then return 2 end
    if s.place ~= DEAD then return 1 end
    local holder = s.kind > 0 and holder_of(s.key)
    if holder and holder ~= id then return 3 end
    open_queue(s.queue)
    reserved = reserved or reserve(#ARGV)
    there(HOME, RESULTS, reopen, id, s.fence)
    if s.kind == 1 or s.kind == 2 then claim(s.kind, s.key, s.window, id) end
    s.failed, s.lapses, s.parked_at, s.cancel, s.died_at = 0, 0, 0, 0, 0
    s.turn = next_turn()
    move(s, READY, 0)
    write(s)
    call('HDEL', P .. 'm:' .. id, 'c', 'r')
    return 0, text(s.fence)
end

local replies = {}
for i = 4, #ARGV do
    local status, fence = replay(ARGV[i])
    replies[#replies + 1] = status
    replies[#replies + 1] = fence or '0'
end
return replies
