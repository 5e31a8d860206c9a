-- Broker.publish for what is published most: messages of one queue and priority, each with an id
-- of its own, ready at once and without a unique key. It does what publish.lua would do with
-- them, in less time, or nothing at all. It stands alone, for what the prelude makes costs more
-- than the writes of one message do, and so it says again what the keys are: see there.
--
-- ARGV     instant, queue, 9 less the priority, then three for each message: id, fixed row, bytes
-- returns  0 when all are created, 1 when an id is known and publish.lua must look closer
local P, call, args, queue = KEYS[1], redis.call, ARGV, ARGV[2]
local LEVEL, PER_MS = 9e14, 256  -- as in the prelude, like WHOLE

local format, M = string.format, P .. 'm:'
local WHOLE = format('%d', 9e15) == '9000000000000000' and '%d' or '%.0f'

local names, ready, count = {}, {}, (#args - 3) / 3
for i = 1, count do names[i] = M .. args[3 * i + 1] end
if call('EXISTS', unpack(names)) > 0 then return 1 end
call('ZCARD', P .. 'q:' .. queue)  -- a key of somebody else is found before anything is written
call('ZCARD', P .. 'd:' .. queue)

local now = tonumber(args[1])
if not now then
    local time = call('TIME')
    now = time[1] * 1000 + time[2] / 1000  -- to the microsecond: the counter is mostly behind it
end
local asleep_until = tonumber(call('GET', P .. 'z:' .. queue) or 0) or 0
-- As reserve(count), but in one command while the counter is behind the clock.
local turn = math.floor(now * PER_MS)
local last = tonumber(call('SET', P .. 'turn', turn + count, 'GET') or 0) or 0
if last > turn then
    turn = last
    call('SET', P .. 'turn', turn + count)
end
local score, at = args[3] * LEVEL + turn, 4
for i = 1, count do
    ready[2 * i - 1], ready[2 * i] = format(WHOLE, score + i), args[at]
    at = at + 3
end
call('SADD', P .. 'queues', queue)
call('ZADD', P .. 'q:' .. queue, unpack(ready))
-- CHANGING of a message that is ready: all but its turns is zero. See parts/state.lua.
local pack, rep = struct.pack, string.rep
local before, none, after = rep('\0', 15), rep('\0', 8), rep('\0', 24)
at = 4
for i = 1, count do
    turn = turn + 1
    local mine = pack('<I8', turn)  -- fence, base and turn
    local row = before .. mine .. mine .. none .. mine .. after .. args[at + 1]
    call('HSET', names[i], 'm', args[at + 2], 's', row)
    at = at + 3
end
if asleep_until > now then
    redis.pcall('XADD', P .. 'w:' .. queue, 'MAXLEN', 1, '*', 'q', '')
end
return 0
