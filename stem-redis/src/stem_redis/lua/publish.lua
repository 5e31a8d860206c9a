-- uses: prelude state places admission
-- Broker.publish: accept messages, each whole or not at all, all of them in one step.
--
-- ARGV     instant, then four for each message: see parts/admission.lua
-- returns  0 when every one was created, else for each its status and holder or reason
-- Everything is looked at before the first write: a call is done whole or not at all.
local PRIORITY_AT, KIND_AT, QUEUE_AT = 17, 18, 35  -- in a fixed row
local BEFORE_TURNS, AFTER_TURNS = string.rep('\0', 15), string.rep('\0', 24)

-- The names of the messages when each is new, ready at once and without a unique key.
local function names_of_plain()
    local names, seen = {}, {}
    for i = 2, #ARGV, 4 do
        local id = ARGV[i]
        if seen[id] or ARGV[i + 2] ~= '' or string.byte(ARGV[i + 1], KIND_AT) ~= 0 then
            return nil
        end
        seen[id] = true
        names[(i + 2) / 4] = P .. 'm:' .. id
    end
    return call('EXISTS', unpack(names)) == 0 and names or nil
end

-- Accept such messages: what is the same for all is done once, and each costs one command.
local function accept(names)
    local turn, ready = reserve(#names), {}
    local first = turn
    for i = 2, #ARGV, 4 do
        local fixed = ARGV[i + 1]
        local queue = struct.unpack('<I2c0', fixed, QUEUE_AT)
        local list = ready[queue]
        if not list then
            open_queue(queue)
            list = {}
            ready[queue] = list
        end
        turn = turn + 1
        list[#list + 1] = text((9 - string.byte(fixed, PRIORITY_AT)) * LEVEL + turn)
        list[#list + 1] = ARGV[i]
    end
    for queue, list in pairs(ready) do
        call('ZADD', P .. 'q:' .. queue, unpack(list))
        rouse(queue, now)
    end
    for i, name in ipairs(names) do
        turn = first + i
        local turns = struct.pack('<I8I8I8I8', turn, turn, 0, turn)
        call('HSET', name, 'm', ARGV[4 * i + 1], 's',
            BEFORE_TURNS .. turns .. AFTER_TURNS .. ARGV[4 * i - 1])
    end
    return 0
end

local names = names_of_plain()
if names then return accept(names) end

local messages = {}
for i = 2, #ARGV, 4 do
    messages[#messages + 1] = incoming(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
end
reserved = reserve(#messages)
for i, s in ipairs(messages) do
    open_queue(s.queue)
    if i > 1 and s.kind > 0 then holder_of(s.key) end  -- the first is looked at before it is written
end

local replies, all_created = {}, true
for i, s in ipairs(messages) do
    local status, detail = admit(s)
    replies[2 * i - 1], replies[2 * i] = status, detail
    all_created = all_created and status == CREATED
end
return all_created and 0 or replies
