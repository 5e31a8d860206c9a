-- uses: prelude leasing
-- Broker.fetch for whoever has just been told of work: lease what is first, if nothing has to
-- be seen to before. It does what fetch.lua would do, in less time, or nothing at all.
--
-- ARGV     as fetch.lua
-- returns  as fetch.lua when there is something; 0 when that must look
local limit, worker = tonumber(ARGV[2]), ARGV[4]
if limit > 1000 then return 0 end  -- more than one command takes

local function is_due(set)
    return call('ZRANGEBYSCORE', P .. set, '-inf', now, 'LIMIT', 0, 1)[1]
end

local is_paused = call('SMISMEMBER', P .. 'paused', unpack(ARGV, 5))
local queues = {}
for i = 5, #ARGV do
    if is_paused[i - 4] == 0 then
        if is_due('d:' .. ARGV[i]) or is_due('l:' .. ARGV[i]) then return 0 end
        queues[#queues + 1] = ARGV[i]
    end
end

-- First all is read: what is not as it mostly is leaves everything to fetch.lua.
local reply, filled, batches, taken = {1, now, ''}, 3, {}, 0
for _, queue in ipairs(queues) do
    local first = call('ZRANGE', P .. 'q:' .. queue, 0, limit - taken - 1, 'WITHSCORES')
    if #first > 0 then
        local names, rows, leases, earliest = {}, {}, {}, math.huge
        for k = 1, #first, 2 do
            local id, n = first[k], (k + 1) / 2
            names[n] = P .. 'm:' .. id
            local kept = redis.pcall('HMGET', names[n], 's', 'm', 'e', 'c')
            local raw = kept[1]
            if type(raw) ~= 'string' or #raw < ROW_LENGTH or not kept[2] then return 0 end
            local row, ends, place, kind = leased(raw, tonumber(first[k + 1]))
            if not row or place > 0 or kind == 2 then return 0 end
            rows[n], leases[k], leases[k + 1] = row, ends, id
            earliest = math.min(earliest, ends)
            reply[filled + 1], reply[filled + 2], reply[filled + 3] = id, row, kept[2]
            reply[filled + 4], reply[filled + 5] = kept[3] or '', kept[4] or ''
            filled = filled + 5
        end
        taken = taken + #names
        local asleep_until = tonumber(call('GET', P .. 'z:' .. queue) or 0) or 0
        local rouses = asleep_until > earliest  -- who sleeps longer than a lease must look again
        batches[#batches + 1] = {queue, names, rows, leases, rouses}
        if taken >= limit then break end
    end
end
if taken == 0 then return 0 end
local turn = last_turn()  -- as the last of what could stop here

for _, batch in ipairs(batches) do
    local queue, names, rows, leases, rouses = unpack(batch)
    for n = 1, #names do call('HSET', names[n], 's', rows[n], 'w', worker) end
    call('ZADD', P .. 'l:' .. queue, unpack(leases))
    call('ZREMRANGEBYRANK', P .. 'q:' .. queue, 0, #names - 1)  -- they stand first
    if rouses then
        redis.pcall('XADD', P .. 'w:' .. queue, 'MAXLEN', 1, '*', 'q', '')
    end
end
call('SET', P .. 'turn', turn + taken)  -- the first fence of an id born again is above all of these
return reply
