-- uses: prelude state places records
-- Clear away a little of what is over: dead letters after their retention, names of queues
-- that hold nothing, ids of records that have expired. Few workers do it: one in half a second.
--
-- ARGV     instant, home and results database
-- returns  how much was cleared away
local HOME, RESULTS = ARGV[2], ARGV[3]
if not call('SET', P .. 'swept', '', 'PX', 500, 'NX') then return 0 end
local cleared = 0

for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'graves', '-inf', now, 'LIMIT', 0, 200)) do
    local raw = redis.pcall('HGET', P .. 'm:' .. id, 's')
    if type(raw) == 'string' and #raw >= CHANGING_SIZE then
        finish(row_of(id, raw))
    else
        call('ZREM', P .. 'graves', id)
        call('ZREM', P .. 'x', id)
    end
    cleared = cleared + 1
end

for _, queue in ipairs(call('SRANDMEMBER', P .. 'queues', 20)) do
    local sets = {P .. 'q:' .. queue, P .. 'd:' .. queue, P .. 'l:' .. queue, P .. 'x:' .. queue}
    if call('EXISTS', unpack(sets)) == 0 and call('SISMEMBER', P .. 'paused', queue) == 0 then
        call('SREM', P .. 'queues', queue)
        if call('EXISTS', P .. 'z:' .. queue) == 0 then call('DEL', P .. 'w:' .. queue) end
        cleared = cleared + 1
    end
end

local function forget_records()
    local gone = 0
    for _ = 1, 20 do  -- go on while many of those looked at are gone, as Redis itself does
        local ids, over = call('ZRANDMEMBER', P .. 'rx', 50), {}
        for _, id in ipairs(ids) do
            if call('EXISTS', P .. 'r:' .. id) == 0 then over[#over + 1] = id end
        end
        if #over > 0 then call('ZREM', P .. 'rx', unpack(over)) end
        gone = gone + #over
        if #over * 4 < #ids or #ids == 0 then break end
    end
    return gone
end

return cleared + there(HOME, RESULTS, forget_records)
