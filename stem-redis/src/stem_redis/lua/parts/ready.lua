-- The look of whoever waited, as it mostly ends: what stands first is leased, and nothing else has
-- to be seen to before. Then the script is over here, and what stands behind is not even set up,
-- which for a server that was idle takes most of the time. All is read before the first write.
local function taken_at_once(limit, worker)
    if limit > 1000 then return nil end  -- more than one command takes

    local is_paused, queues = call('SMISMEMBER', P .. 'paused', unpack(ARGV, 5)), {}
    for i = 5, #ARGV do
        if is_paused[i - 4] == 0 then
            for _, set in ipairs({'d:', 'l:'}) do
                local due = call('ZRANGEBYSCORE', P .. set .. ARGV[i], '-inf', now, 'LIMIT', 0, 1)
                if due[1] then return nil end
            end
            queues[#queues + 1] = ARGV[i]
        end
    end

    local reply, filled, batches, taken = {1, now, ''}, 3, {}, 0
    for _, queue in ipairs(queues) do
        local ids = call('ZRANGE', P .. 'q:' .. queue, 0, limit - taken - 1)
        if #ids > 0 then
            local names, rows, leases, earliest, shown = {}, {}, {}, math.huge, {}
            for n, id in ipairs(ids) do
                local name = P .. 'm:' .. id
                local kept = call('HMGET', name, 's', 'm', 'e', 'c')
                local raw = kept[1]
                if not raw or #raw < ROW_LENGTH or not kept[2] then return nil end
                local row, ends, place, kind = leased(raw)
                if not row or place > 0 or kind == 2 then return nil end
                shown[ends] = shown[ends] or text(ends)
                names[n], rows[n], leases[2 * n - 1], leases[2 * n] = name, row, shown[ends], id
                if ends < earliest then earliest = ends end
                reply[filled + 1], reply[filled + 2], reply[filled + 3] = id, row, kept[2]
                reply[filled + 4], reply[filled + 5] = kept[3] or '', kept[4] or ''
                filled = filled + 5
            end
            taken = taken + #ids
            -- Who sleeps longer than a lease must look again.
            local rouses = (tonumber(call('GET', P .. 'z:' .. queue) or 0) or 0) > earliest
            batches[#batches + 1] = {queue, names, rows, leases, rouses}
            if taken >= limit then break end
        end
    end
    if taken == 0 then return nil end
    local turn = last_turn()  -- as the last of what could stop here

    for _, batch in ipairs(batches) do
        local queue, names, rows, leases, rouses = unpack(batch)
        for n, name in ipairs(names) do call('HSET', name, 's', rows[n], 'w', worker) end
        call('ZADD', P .. 'l:' .. queue, unpack(leases))
        call('ZREMRANGEBYRANK', P .. 'q:' .. queue, 0, #names - 1)  -- they stand first
        if rouses then redis.pcall('XADD', P .. 'w:' .. queue, 'MAXLEN', 1, '*', 'q', '') end
    end
    -- The first fence of an id that is born again is above all of these.
    call('SET', P .. 'turn', text(turn + taken))
    return reply
end

-- A key that is not ours is left to those who find out more about it.
local is_whole, taken_already = pcall(taken_at_once, tonumber(ARGV[2]), ARGV[4])
if is_whole and taken_already then return taken_already end
