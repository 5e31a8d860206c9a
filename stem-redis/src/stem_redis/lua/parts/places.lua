-- Moves between the places of a message. Every move adds where it goes before it removes
-- where it was. A key that somebody else wrote stops it before its first write, if something
-- must be added there; there is nothing of ours to remove from one, and so that never fails.

local asleep, roused, is_set = {}, {}, {}

-- Until when somebody sleeps who waits for work of *queue*.
local function sleep_of(queue)
    local until_ms = asleep[queue]
    if not until_ms then
        until_ms = tonumber(call('GET', P .. 'z:' .. queue) or 0) or 0
        asleep[queue] = until_ms
    end
    return until_ms
end

-- Let whoever waits for work of *queue* beyond *at* look again.
local function rouse(queue, at)
    if sleep_of(queue) > at and not roused[queue] then
        redis.pcall('XADD', P .. 'w:' .. queue, 'MAXLEN', 1, '*', 'q', '')
        roused[queue] = true
    end
end

local function score_of(s)
    return (9 - s.priority) * LEVEL + s.turn
end

local function set_of(place, due)
    if place == LEASED then return 'l:' end
    if place == DEAD then return 'x:' end
    return due > 0 and 'd:' or 'q:'
end

local function stands_in(s)
    return set_of(s.place, s.due)
end

-- Stop here if a set is not ours. *command* reads one of its type.
local function must_be_ours(command, name)
    if is_set[name] then return end
    call(command, P .. name)
    is_set[name] = true
end

-- Stop here, with nothing written, if a message of *queue* could not enter that place.
local function must_be_open(queue, place, due)
    local set = set_of(place, due)
    must_be_ours('ZCARD', set .. queue)
    if place == DEAD then
        must_be_ours('ZCARD', 'x')
        must_be_ours('ZCARD', 'graves')
    else
        if place == PARKED then must_be_ours('SCARD', (due > 0 and 'pw:' or 'pr:') .. queue) end
        sleep_of(queue)
    end
end

local function enter(s)
    local set = stands_in(s)
    must_be_open(s.queue, s.place, s.due)
    local score = set == 'q:' and score_of(s) or set == 'x:' and s.turn or s.due
    call('ZADD', P .. set .. s.queue, text(score), s.id)
    if s.place == DEAD then
        call('ZADD', P .. 'x', s.turn, s.id)
        call('ZADD', P .. 'graves', s.due, s.id)
    elseif s.place == PARKED then
        call('SADD', P .. (set == 'd:' and 'pw:' or 'pr:') .. s.queue, s.id)
    end
    if s.place ~= DEAD then rouse(s.queue, s.due > 0 and s.due or now) end
end

local function leave(s, place, set)
    redis.pcall('ZREM', P .. set .. s.queue, s.id)
    if place == DEAD then
        redis.pcall('ZREM', P .. 'x', s.id)
        redis.pcall('ZREM', P .. 'graves', s.id)
    elseif place == PARKED then
        redis.pcall('SREM', P .. (set == 'd:' and 'pw:' or 'pr:') .. s.queue, s.id)
    end
end

-- Let *s* stand at *place*: until *due*, or with 0 where it can be taken at its turn.
local function move(s, place, due)
    local was, set = s.place, stands_in(s)
    s.place, s.due = place, due
    enter(s)
    if set ~= stands_in(s) then leave(s, was, set) end
end

local function let_go_of_key(s)
    if s.kind == 1 or s.kind == 2 then  -- 3 is freed by time alone
        local name = P .. 'u:' .. s.key
        local held = redis.pcall('GET', name)
        if held == '0 ' .. s.id then call('DEL', name) end
    end
end

-- Let *s* end: only its id stays, for as long as the message asked.
local function finish(s)
    local name = P .. 'm:' .. s.id
    if s.dedupe > 0 then
        local stone = struct.pack(STONE, now + s.dedupe, s.fence, s.settled, s.digest)
        call('SET', name, stone, 'PX', text(s.dedupe))
    else
        call('DEL', name)
    end
    leave(s, s.place, stands_in(s))
    let_go_of_key(s)
end
