-- uses: prelude leasing ready state places
-- Broker.fetch: promote what is due, make ready again what has lapsed, lease what is first.
--
-- ARGV     instant, limit, milliseconds to wait, worker, then the queues in order
-- returns  1, instant, ids of messages that have vanished and, behind a "!", of those that start
--          anew because their rows could not be read (joined by spaces), then five for each
--          delivery: id, row, bytes, errors, why it shall be cancelled
--      or  0, instant, when to look again, then for each queue where its wakes stand
local limit, wait, worker = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local MOST, FEWEST = 250, 50  -- moved in one call, and of one kind in a queue at least: it is short

local vanished = {}
local function vanish(set, queue, id)
    call('ZREM', P .. set .. queue, id)
    vanished[#vanished + 1] = id
end

local ANEW = 30000  -- milliseconds of a lease, and of remembering an id, when nothing tells of them

-- What the row of a message is taken for that somebody has overwritten: it comes to *queue*, where
-- it stands, as if for the first time. Nil if there is no message.
local function mended(queue, id)
    local name = P .. 'm:' .. id
    if type(redis.pcall('HGET', name, 'm')) ~= 'string' then return nil end
    local turn = last_turn()
    local row = struct.pack(CHANGING, READY, 0, 0, 0, 0, 0, turn, turn, 0, turn, 0, 0, 0)
        .. struct.pack('<' .. FIXED, ANEW, ANEW, 0, 0, 0, string.rep('\0', 8), #queue, queue, 0, '')
    call('HSET', name, 's', row)
    redis.pcall('SREM', P .. 'pr:' .. queue, id)
    redis.pcall('SREM', P .. 'pw:' .. queue, id)
    vanished[#vanished + 1] = '!' .. id
    return row
end

-- Let a message stand in line again whose row cannot be read; there may be none any more.
local function come_again(set, queue, id)
    must_be_ours('ZCARD', 'q:' .. queue)
    local row = mended(queue, id)
    if not row then return vanish(set, queue, id) end
    call('ZADD', P .. 'q:' .. queue, score_of(row_of(id, row)), id)
    call('ZREM', P .. set .. queue, id)
end

-- Ready time is the turn: what is promoted late stands where it would have stood in time.
local function make_ready(s)
    s.turn = s.due * PER_MS + s.base % PER_MS
    move(s, s.place == PARKED and PARKED or READY, 0)
    write(s)
end

local function in_chunks(command, name, list)
    for first = 1, #list, 1000 do
        call(command, name, unpack(list, first, math.min(first + 999, #list)))
    end
end

local ROW_HEAD = CHANGING .. 'I8I8BB'  -- up to the kind of unique key

-- What a row is once its time has come, and its score; nil for one that waits for nothing.
-- As numbers of its own and not a table: thousands may be due at one moment.
local function come_due(raw)
    local place, held, cancel, failed, lapses, releases, fence, base, settled, _, due, parked_at,
        died_at, _, _, priority = struct.unpack(ROW_HEAD, raw)
    if due == 0 or place ~= DELAYED and place ~= PARKED then return nil end
    local turn = due * PER_MS + base % PER_MS
    return struct.pack(
        CHANGING, place == PARKED and PARKED or READY, held, cancel, failed, lapses, releases,
        fence, base, settled, turn, 0, parked_at, died_at
    ) .. string.sub(raw, CHANGING_SIZE + 1), (9 - priority) * LEVEL + turn, place == PARKED
end

local budget = MOST

local function promote(queue)
    local most = math.max(FEWEST, budget)
    local due = call('ZRANGEBYSCORE', P .. 'd:' .. queue, '-inf', now, 'LIMIT', 0, most)
    budget = budget - #due
    local ready, rows, done, parked = {}, {}, {}, {}
    for _, id in ipairs(due) do
        local raw = redis.pcall('HGET', P .. 'm:' .. id, 's')
        if type(raw) ~= 'string' or #raw < ROW_SIZE then
            come_again('d:', queue, id)
        else
            local row, score, is_parked = come_due(raw)
            if row or row_of(id, raw) then
                done[#done + 1] = id
            else
                come_again('d:', queue, id)
            end
            if row then
                ready[#ready + 1], ready[#ready + 2] = text(score), id
                rows[#rows + 1], rows[#rows + 2] = P .. 'm:' .. id, row
                if is_parked then parked[#parked + 1] = id end
            end
        end
    end
    if #parked > 0 then must_be_ours('SCARD', 'pr:' .. queue) end
    if #rows > 0 then sleep_of(queue) end
    in_chunks('ZADD', P .. 'q:' .. queue, ready)  -- before anything that it could leave half done
    in_chunks('SADD', P .. 'pr:' .. queue, parked)
    for i = 1, #rows, 2 do call('HSET', rows[i], 's', rows[i + 1]) end
    in_chunks('ZREM', P .. 'd:' .. queue, done)
    in_chunks('SREM', P .. 'pw:' .. queue, parked)
    if #rows > 0 then rouse(queue, now) end
end

local function lapse(queue)
    local most = math.max(FEWEST, math.floor(budget / 2))  -- each takes twice as long
    local over = call('ZRANGEBYSCORE', P .. 'l:' .. queue, '-inf', now, 'LIMIT', 0, most)
    budget = budget - 2 * #over
    for _, id in ipairs(over) do
        local s = find(id)
        if s and s.place == LEASED then
            s.lapses = s.lapses + 1
            make_ready(s)
        elseif s or kept_row(id) then
            call('ZREM', P .. 'l:' .. queue, id)
        else
            come_again('l:', queue, id)
        end
    end
end

local reply, filled, leases, earliest = {1, now, ''}, 3, {}, math.huge

local function lease(queue, id)
    local name = P .. 'm:' .. id
    local kept = redis.pcall('HMGET', name, 's', 'm', 'e', 'c')
    local raw = kept[1]
    if not kept[2] then
        local s = row_of(id, raw)  -- its bytes are gone, and nothing shall put it back
        if s then finish(s) end
        vanish('q:', queue, id)
        return false
    end
    local row, ends, place, kind
    if type(raw) == 'string' and #raw >= ROW_SIZE then
        row, ends, place, kind = leased(raw)
    end
    if not row and not row_of(id, raw) then
        raw = mended(queue, id)
        row, ends, place, kind = leased(raw)
    end
    if not row then  -- the message knows better
        call('ZREM', P .. 'q:' .. queue, id)
        return false
    end
    if place == PARKED then redis.pcall('SREM', P .. 'pr:' .. queue, id) end
    local s = kind == 2 and row_of(id, raw)
    if s then let_go_of_key(s) end
    call('HSET', name, 's', row, 'w', worker)
    earliest = math.min(earliest, ends)
    leases[#leases + 1] = text(ends)
    leases[#leases + 1] = id
    reply[filled + 1], reply[filled + 2], reply[filled + 3] = id, row, kept[2]
    reply[filled + 4], reply[filled + 5] = kept[3] or '', kept[4] or ''
    filled = filled + 5
    return true
end

local taken, turn = 0, nil

-- Lease from *queue* until *limit* is reached or nothing is left.
local function take(queue)
    repeat
        local first, mine = call('ZRANGE', P .. 'q:' .. queue, 0, limit - taken - 1), {}
        leases, earliest = {}, math.huge
        if #first > 0 then  -- what stops here stops before anything is leased
            turn = turn or last_turn()
            sleep_of(queue)
        end
        for _, id in ipairs(first) do
            if lease(queue, id) then mine[#mine + 1] = id end
        end
        if #mine > 0 then
            in_chunks('ZADD', P .. 'l:' .. queue, leases)
            if #mine == #first then  -- as nearly always: those that stand first
                call('ZREMRANGEBYRANK', P .. 'q:' .. queue, 0, #mine - 1)
            else
                in_chunks('ZREM', P .. 'q:' .. queue, mine)
            end
            rouse(queue, earliest)
        end
        taken = taken + #mine
    until #first == 0 or #mine == #first or taken >= limit
end

-- Lease what has come due where nothing else can be taken: it need not be ready first, which
-- for thousands that are due at one moment is half of the work. Says whether it did; all is read
-- before the first write, and anything unusual is left to the others.
local function take_due(queue)
    if call('ZCARD', P .. 'q:' .. queue) > 0 then return false end
    if call('ZRANGEBYSCORE', P .. 'l:' .. queue, '-inf', now, 'LIMIT', 0, 1)[1] then return false end
    local due = call('ZRANGEBYSCORE', P .. 'd:' .. queue, '-inf', now, 'LIMIT', 0, MOST)
    if #due == 0 or #due > limit - taken then return false end
    local found = {}
    for i, id in ipairs(due) do
        local kept = call('HMGET', P .. 'm:' .. id, 's', 'm', 'e', 'c')
        if not kept[1] or #kept[1] < ROW_SIZE or not kept[2] then return false end
        local row, ends, score = leased_when_due(kept[1])
        if not row then return false end
        found[i] = {score = score, id = id, row = row, ends = ends, kept = kept}
    end
    sleep_of(queue)
    turn = turn or last_turn()
    table.sort(found, function(a, b) return a.score < b.score end)
    local soonest, ends = math.huge, {}
    for i, it in ipairs(found) do
        call('HSET', P .. 'm:' .. it.id, 's', it.row, 'w', worker)
        ends[2 * i - 1], ends[2 * i] = text(it.ends), it.id
        soonest = math.min(soonest, it.ends)
        reply[filled + 1], reply[filled + 2], reply[filled + 3] = it.id, it.row, it.kept[2]
        reply[filled + 4], reply[filled + 5] = it.kept[3] or '', it.kept[4] or ''
        filled = filled + 5
    end
    call('ZADD', P .. 'l:' .. queue, unpack(ends))
    call('ZREMRANGEBYRANK', P .. 'd:' .. queue, 0, #due - 1)  -- they stand first
    rouse(queue, soonest)
    taken = taken + #due
    return true
end

local is_paused = call('SMISMEMBER', P .. 'paused', unpack(ARGV, 5))
local function serve(queue)
    local is_whole, is_taken = pcall(take_due, queue)
    if is_whole and is_taken then return end
    promote(queue)
    lapse(queue)
    take(queue)
end

for i = 5, #ARGV do
    if is_paused[i - 4] == 0 then
        if taken == 0 then
            serve(ARGV[i])
        else  -- with a key that is not ours: what is leased goes out, and a look that takes nothing tells
            pcall(serve, ARGV[i])
        end
        if taken >= limit then break end
    end
end

if taken > 0 then
    -- The first fence of an id that is born again is above all of these.
    call('SET', P .. 'turn', text(turn + taken))
    reply[3] = table.concat(vanished, ' ')
    return reply
end

-- Nothing: say when something will be due, and note until when somebody sleeps.
local look_at = now + wait
for i = 5, #ARGV do
    if is_paused[i - 4] == 0 then
        for _, set in ipairs({'d:', 'l:'}) do
            local first = call('ZRANGE', P .. set .. ARGV[i], 0, 0, 'WITHSCORES')
            if first[2] then look_at = math.min(look_at, tonumber(first[2])) end
        end
    end
end
reply = {0, now, look_at}
if wait > 0 then
    local sleep = math.max(1, look_at - now)
    for i = 5, #ARGV do
        local name = P .. 'z:' .. ARGV[i]
        if (tonumber(call('GET', name) or 0) or 0) < look_at then
            call('SET', name, text(look_at), 'PX', sleep)
        end
        local last = call('XREVRANGE', P .. 'w:' .. ARGV[i], '+', '-', 'COUNT', 1)
        reply[#reply + 1] = last[1] and last[1][1] or '0-0'
    end
end
if #vanished > 0 then return {1, now, table.concat(vanished, ' ')} end
return reply
