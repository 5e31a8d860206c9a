-- Accepting messages. Each is four arguments: id, fixed row, wait, bytes. The wait is
-- empty, a duration like +5000, or an instant like @1764000000000, in milliseconds.
local CREATED, DUPLICATE, UNIQUE, CONFLICT, REFUSED = 0, 1, 2, 3, 4
local MAX_DELAY = 10 * 365 * 86400000

local INCOMING = '<' .. FIXED

-- Read the four arguments of a message as what it would be once accepted.
local function incoming(id, fixed, wait, blob)
    local lease, dedupe, priority, kind, window, digest, queue, key =
        struct.unpack(INCOMING, fixed)
    return {
        id = id, fixed = fixed, wait = wait, blob = blob, place = READY, held = 0, cancel = 0,
        failed = 0, lapses = 0, releases = 0, fence = 0, base = 0, settled = 0, turn = 0, due = 0,
        parked_at = 0, died_at = 0, lease = lease, dedupe = dedupe, priority = priority,
        kind = kind, window = window, digest = digest, queue = queue, key = key,
    }
end

local is_known = {}

-- Stop here, with nothing written, if a key of *queue* is not ours.
local function open_queue(queue)
    if is_known[queue] then return end
    must_be_ours('ZCARD', 'q:' .. queue)
    must_be_ours('ZCARD', 'd:' .. queue)
    sleep_of(queue)
    call('SADD', P .. 'queues', queue)
    is_known[queue] = true
end

-- What publishing a known id again means; nil when it is not known.
local function status_of_known(id, digest)
    local name = P .. 'm:' .. id
    if call('EXISTS', name) == 0 then return nil end
    local known = find(id) or stone_of(id)
    if known then return known.digest == digest and DUPLICATE or CONFLICT end
    local s = kept_row(id)
    if s then  -- a dead letter whose time is over
        finish(s)
        return status_of_known(id, digest)
    end
    local kind = call('TYPE', name).ok
    local length = kind == 'string' and call('STRLEN', name)
    if length == struct.size(STONE) then  -- its time is over, by a hair before the server's own
        call('DEL', name)
        return nil
    end
    return REFUSED, 'the key ' .. name .. ' holds a ' .. kind .. ' that Stem did not write'
end

local function delay_of(wait)
    if wait == '' then return 0 end
    local number = tonumber(string.sub(wait, 2))
    if string.sub(wait, 1, 1) == '@' then number = number - now end
    return math.max(0, number)
end

-- Who holds the unique key; nobody when its message is gone, whatever became of it.
local function holder_of(key)
    local held = call('GET', P .. 'u:' .. key)
    if not held then return nil end
    local until_ms, id = string.match(held, '^(%d+) (.*)$')
    until_ms = tonumber(until_ms)
    if not until_ms then return nil end
    if until_ms > 0 then return until_ms > now and id or nil end
    local s = find(id)
    return s and s.place ~= DEAD and id or nil
end

local function claim(kind, key, window, id)
    if kind ~= 3 then
        call('SET', P .. 'u:' .. key, '0 ' .. id)
    elseif window > 0 then
        call('SET', P .. 'u:' .. key, text(now + window) .. ' ' .. id, 'PX', window)
    end
end

-- Say what keeps this message out; nil when it can be accepted.
local function obstacle(s)
    local known, why = status_of_known(s.id, s.digest)
    if known then return known, why or '' end
    local delay = delay_of(s.wait)
    if delay > MAX_DELAY then
        return REFUSED, 'a delay of ' .. text(delay) .. ' ms is more than ' .. text(MAX_DELAY)
    end
    return nil
end

-- Accept one message. Returns its status and, for UNIQUE, the holder or else a reason.
local function admit(s)
    local status, why = obstacle(s)
    if status then return status, why end
    local holder = s.kind > 0 and holder_of(s.key)
    if holder then return UNIQUE, holder end
    local delay = delay_of(s.wait)
    s.turn = next_turn()
    s.fence, s.base = s.turn, s.turn
    s.place, s.due = delay > 0 and DELAYED or READY, delay > 0 and now + delay or 0
    enter(s)
    call('HSET', P .. 'm:' .. s.id, 'm', s.blob, 's', packed(s))
    if s.kind > 0 then claim(s.kind, s.key, s.window, s.id) end
    return CREATED, ''
end
