-- uses: prelude state places records admission
-- Broker.settle: each settlement is one step, and everything is checked before it writes.
--
-- ARGV     instant, home and results database, then for each settlement
--            id, fence, what
--          and behind these, as the letters of `what` say and in this order,
--            a  acknowledge
--            t  retry: milliseconds, error (may be empty)
--            b  bury: milliseconds to keep, reason, error (may be empty), attempt it names
--            l  release: milliseconds
--            p, s  the same, parked; the same, snoozed
--            h  hand back what a cancelled fetch took
--            i  nothing: it can never be kept, and only the receipt is looked at
--            R  a record: fence, 1 if terminal, milliseconds to keep, bytes
--            F  follow-ups: their count, then four for each as in parts/admission.lua
-- returns  two for each: 0 done, 1 already, 2 stale, 3 gone, 5 invalid; and the follow-up's id
local DONE, ALREADY, STALE, GONE, INVALID = 0, 1, 2, 3, 5
local MAX_ERRORS = 20
local HOME, RESULTS = ARGV[2], ARGV[3]

local at = 3
local function take()
    at = at + 1
    return ARGV[at]
end

-- Take the arguments of one settlement.
local function read()
    local it = {id = take(), fence = tonumber(take()), what = take(), follow_ups = {}}
    local kind = string.sub(it.what, 1, 1)
    it.kind = kind
    if kind == 't' then
        it.after, it.error = tonumber(take()), take()
    elseif kind == 'b' then
        it.keep, it.reason, it.error, it.attempt =
            tonumber(take()), take(), take(), tonumber(take())
    elseif kind == 'l' or kind == 'p' or kind == 's' then
        it.after = tonumber(take())
    end
    if string.find(it.what, 'R', 2, true) then
        it.record = {tonumber(take()), take() == '1', tonumber(take()), take()}
    end
    if string.find(it.what, 'F', 2, true) then
        for i = 1, tonumber(take()) do it.follow_ups[i] = incoming(take(), take(), take(), take()) end
    end
    return it
end

local function refusal(it, s)
    local known = s or stone_of(it.id)
    if not known then return GONE end
    return known.settled == it.fence and it.fence > 0 and ALREADY or STALE
end

-- The errors of a message are texts behind their lengths; the oldest beyond 20 are forgotten.
local function note_error(s, error)
    if error == '' then return end
    local name = P .. 'm:' .. s.id
    local all = (call('HGET', name, 'e') or '') .. struct.pack('<I4', #error) .. error
    local starts, position = {}, 1
    while position + 3 <= #all do
        starts[#starts + 1] = position
        position = position + 4 + struct.unpack('<I4', all, position)
    end
    if #starts > MAX_ERRORS then all = string.sub(all, starts[#starts - MAX_ERRORS + 1]) end
    call('HSET', name, 'e', all)
end

local function wait(s, place, after)
    if after > 0 then
        move(s, place == PARKED and PARKED or DELAYED, now + after)
    else
        move(s, place, 0)
    end
    write(s)
end

local function bury(s, it)
    s.failed = math.max(s.failed, it.attempt)
    s.turn, s.died_at = next_turn(), now
    note_error(s, it.error)
    call('HSET', P .. 'm:' .. s.id, 'r', it.reason)
    move(s, DEAD, now + it.keep)
    write(s)
    let_go_of_key(s)
end

local function conclude(s, it)
    if it.kind == 'h' then  -- as if it had never been taken, but for its fence
        s.held = 0
        if s.kind == 2 and s.fence == s.base + 1 then
            local is_ours, holder = pcall(holder_of, s.key)
            if is_ours and not holder then claim(s.kind, s.key, s.window, s.id) end
        end
        return wait(s, READY, 0)
    end
    s.held, s.settled, s.lapses = 0, s.fence, 0
    if it.kind == 'a' then
        finish(s)
    elseif it.kind == 'b' then
        bury(s, it)
    elseif it.kind == 't' then
        s.failed, s.parked_at = s.failed + 1, 0
        note_error(s, it.error)
        if it.after <= 0 then s.turn = next_turn() end  -- behind all that is ready
        wait(s, READY, it.after)
    else
        s.releases = s.releases + 1
        if it.kind == 's' then
            s.parked_at = 0  -- it ran: whoever parks it next starts anew
        elseif it.kind == 'p' and s.parked_at == 0 then
            s.parked_at = now
        end
        wait(s, it.kind == 'p' and PARKED or READY, it.after)
    end
end

-- Stop here, with nothing written, if a key of somebody else stands in the way of *it*.
local function must_be_possible(s, it)
    if it.kind == 'b' then
        must_be_open(s.queue, DEAD, 0)
        reserved = reserved or reserve(#ARGV)
    elseif it.kind ~= 'a' then
        must_be_open(s.queue, it.kind == 'p' and PARKED or READY, it.after or 0)
        if it.kind == 't' and it.after <= 0 then reserved = reserved or reserve(#ARGV) end
    end
    if #it.follow_ups == 0 then return end
    reserved = reserved or reserve(#ARGV)
    for _, follow_up in ipairs(it.follow_ups) do
        open_queue(follow_up.queue)
        if follow_up.kind > 0 then holder_of(follow_up.key) end
    end
end

local function settle(it)
    local s = find(it.id)
    if not s or s.held ~= 1 or s.fence ~= it.fence then return refusal(it, s), '' end
    if it.kind == 'i' then return INVALID, '' end
    for _, follow_up in ipairs(it.follow_ups) do
        local status, why = obstacle(follow_up)
        if status and status ~= DUPLICATE then return INVALID, follow_up.id .. ' ' .. why end
    end
    must_be_possible(s, it)
    -- The record decides, and is the first write.
    if it.record and not there(HOME, RESULTS, offer, it.id, unpack(it.record)) then
        return STALE, ''
    end
    conclude(s, it)
    for _, follow_up in ipairs(it.follow_ups) do admit(follow_up) end
    return DONE, ''
end

-- What is asked for most: acknowledge what is leased, maybe with the first record of it.
-- Nothing is built for it, and what sets need is done for all in the end. Nil for all else.
local FENCE_AT, DEDUPE_AT = 16, 80  -- in a row
local ended, recorded, is_listed = {}, {}, false

local function acknowledged(id, fence, with_record)
    local name = P .. 'm:' .. id
    local raw = redis.pcall('HGET', name, 's')
    if type(raw) ~= 'string' or #raw < ROW_SIZE then return nil end
    local place, held = string.byte(raw, 1, 2)
    if place ~= LEASED or held ~= 1 or struct.unpack('<I8', raw, FENCE_AT) ~= fence then
        return nil
    end
    local dedupe, _, kind, _, digest, queue = struct.unpack('<I8BBI8c8I2c0', raw, DEDUPE_AT)
    if kind ~= 0 then return nil end
    if with_record then
        local ttl = tonumber(ARGV[at + 6])
        if ttl <= 0 then return nil end
        local terminal = ARGV[at + 5] == '1'
        local head = struct.pack(HEAD, terminal and 1 or 0, tonumber(ARGV[at + 4]), now + ttl)
        local kept, is_first = P .. 'r:' .. id, not is_listed
        if is_first then
            call('ZADD', P .. 'rx', '0', id)  -- if it is not ours, here is where to stop
            is_listed = true
        end
        if not call('SET', kept, head .. ARGV[at + 7], 'NX', 'PX', text(ttl)) then return nil end
        if not is_first then
            recorded[#recorded + 1] = '0'
            recorded[#recorded + 1] = id
        end
        if terminal then call('PUBLISH', P .. 'done:' .. id, '') end
    end
    if dedupe > 0 then
        local stone = struct.pack(STONE, now + dedupe, fence, fence, digest)
        call('SET', name, stone, 'PX', text(dedupe))
    else
        call('DEL', name)
    end
    local ids = ended[queue] or {}
    ended[queue] = ids
    ids[#ids + 1] = id
    return DONE
end

local replies, count = {}, 0
local is_one_home = RESULTS == '' or RESULTS == HOME

local function settle_next()
    local what, status, detail = ARGV[at + 3], nil, ''
    local with_record = what == 'aR'
    if what == 'a' or with_record and is_one_home then
        status = acknowledged(ARGV[at + 1], tonumber(ARGV[at + 2]), with_record)
        if status then at = at + (with_record and 7 or 3) end
    end
    if not status then status, detail = settle(read()) end
    replies[count + 1], replies[count + 2] = status, detail
    count = count + 2
end

local function settle_all()
    while at < #ARGV do settle_next() end
end

-- Whatever happens to one of them, those before it have ended.
local is_whole, failure = pcall(settle_all)
for first = 1, #recorded, 1000 do
    call('ZADD', P .. 'rx', unpack(recorded, first, math.min(first + 999, #recorded)))
end
for queue, ids in pairs(ended) do
    for first = 1, #ids, 1000 do
        redis.pcall('ZREM', P .. 'l:' .. queue, unpack(ids, first, math.min(first + 999, #ids)))
    end
end
if not is_whole then error(failure, 0) end
return replies
