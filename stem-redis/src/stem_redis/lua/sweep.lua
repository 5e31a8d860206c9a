-- uses: prelude state places records admission clearing
-- Clear away a little of what is over: dead letters after their retention, names of queues
-- that hold nothing, ids of records that have expired. And walk on through all messages, to
-- put back what stands nowhere. Few workers do it: one in half a second.
--
-- ARGV     instant, home and results database, 1 to go on where messages were put back
-- returns  the epoch, 1 when air.lua has more to do or else 0, then ids of messages put back
local HOME, RESULTS = ARGV[2], ARGV[3]
local STEP = 300  -- keys looked at in one sweep; it comes to some milliseconds
local epoch = call('GET', P .. 'epoch')
if not epoch then
    local time = call('TIME')
    epoch = time[1] .. '.' .. time[2]
    call('SET', P .. 'epoch', epoch)
end
if ARGV[4] == '1' then
    call('SET', P .. 'swept', '', 'PX', 500)  -- one goes on, and nobody else begins
elseif not is_time_to('swept') then
    return {epoch, 0}
end
local from = call('GET', P .. 'walk')

for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'graves', '-inf', now, 'LIMIT', 0, 100)) do
    local s = kept_row(id)
    if s then
        finish(s)
    else
        if call('TYPE', P .. 'm:' .. id).ok == 'hash' then call('DEL', P .. 'm:' .. id) end
        redis.pcall('ZREM', P .. 'graves', id)
        redis.pcall('ZREM', P .. 'x', id)
    end
end

for _, queue in ipairs(call('SRANDMEMBER', P .. 'queues', 20)) do
    local sets = {P .. 'q:' .. queue, P .. 'd:' .. queue, P .. 'l:' .. queue, P .. 'x:' .. queue}
    sets[5] = P .. 'z:' .. queue  -- somebody sleeps there, and its wakes must be found again
    if call('EXISTS', unpack(sets)) == 0 and call('SISMEMBER', P .. 'paused', queue) == 0 then
        call('SREM', P .. 'queues', queue)
        call('DEL', P .. 'w:' .. queue)
    end
end

local is_more = there(HOME, RESULTS, forget_records)

-- The hash of a message is the truth: what it says about its place must stand in the sets.
-- A set that is not ours is no reason to stop here; whoever needs it tells of it.
local function is_missing(s)
    local set = stands_in(s)
    if not redis.pcall('ZSCORE', P .. set .. s.queue, s.id) then return true end
    if s.place == DEAD then
        return not (redis.pcall('ZSCORE', P .. 'x', s.id) and redis.pcall('ZSCORE', P .. 'graves', s.id))
    end
    return s.place == PARKED
        and redis.pcall('SISMEMBER', P .. (set == 'd:' and 'pw:' or 'pr:') .. s.queue, s.id) == 0
end

local reply = {epoch, is_more and 1 or 0}
local function check(id)
    local s = find(id)
    if not s then return end
    if is_missing(s) then
        enter(s)
        reply[#reply + 1] = id
    end
    if s.place == DEAD then return end
    call('SADD', P .. 'queues', s.queue)
    -- The first lease has freed a key of the second kind, for good.
    local holds_key = s.kind == 1 or s.kind == 2 and s.fence == s.base
    if holds_key then
        local is_ours, holder = pcall(holder_of, s.key)
        if is_ours and not holder then claim(s.kind, s.key, s.window, id) end
    end
end

local step = call('SCAN', tonumber(from) and from or '0', 'MATCH', P .. 'm:*', 'COUNT', STEP)
for _, name in ipairs(step[2]) do
    if call('TYPE', name).ok == 'hash' then check(string.sub(name, #P + 3)) end
end
call('SET', P .. 'walk', step[1], 'PX', 10000)
return reply
