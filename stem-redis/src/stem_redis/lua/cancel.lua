-- uses: prelude state places records
-- Broker.cancel: what waits ends with its record, what runs is marked.
--
-- ARGV     instant, home and results database, 1 to leave alone what runs (a purge), then
--          four for each: id, reason, record (may be empty), milliseconds to keep it
-- returns  three for each: 0 cancelled, 1 requested, 2 finished, 3 unknown; the message's
--          bytes and its fence when it was cancelled
local HOME, RESULTS, only_waiting = ARGV[2], ARGV[3], ARGV[4] == '1'

local function cancel(id, reason, record, ttl)
    local s = find(id)
    if not s then return stone_of(id) and 2 or 3 end
    if s.place == DEAD then return 2 end
    local name = P .. 'm:' .. id
    if s.place == LEASED then
        if not only_waiting then
            s.cancel = 1
            write(s)
            call('HSET', name, 'c', reason)
        end
        return 1
    end
    local blob = call('HGET', name, 'm') or ''
    if record ~= '' then there(HOME, RESULTS, offer, id, s.fence, true, tonumber(ttl), record) end
    s.held = 0
    finish(s)
    return 0, blob, text(s.fence)
end

local replies = {}
for i = 5, #ARGV, 4 do
    local status, blob, fence = cancel(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
    local n = #replies
    replies[n + 1], replies[n + 2], replies[n + 3] = status, blob or '', fence or ''
end
return replies
