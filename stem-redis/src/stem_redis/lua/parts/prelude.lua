-- Stands before every script: the keys, the instant, and the counter of turns.
--
-- KEYS[1]  what every key of the namespace begins with: {namespace}:
-- ARGV[1]  the instant in milliseconds; empty for the server's own clock, as in production
--
--   m:ID         the message: a hash while it is live or dead, a text (its stone) after its end
--   q:QUEUE      what can be taken, by priority and turn          sorted set
--   d:QUEUE      what waits for a time, by that time              sorted set
--   l:QUEUE      what is leased, by the end of the lease          sorted set
--   x:QUEUE, x   the dead letters, by the turn of their death     sorted sets
--   graves       the dead letters, by the end of their retention  sorted set
--   pw:QUEUE     of those in d: the parked ones                   set
--   pr:QUEUE     of those in q: the parked ones                   set
--   u:KEY        who holds a unique key                           text
--   z:QUEUE      until when somebody sleeps who waits for work    text
--   w:QUEUE      wakes whoever sleeps                             stream of one entry
--   queues, paused                                                sets of names
--   turn         grows with every message and every lease, and never falls behind the clock
--   epoch        set once: another one is there only if all was lost   text
--   swept        there while nothing needs to be swept again      text
--   walk         how far the walk through all messages has come   text
local P = KEYS[1]
local call = redis.call

local now = tonumber(ARGV[1])
if not now then
    local time = call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local LEVEL = 9e14  -- all turns of one priority; ten of them stay below 2^53
local CHANGING = '<BBBI4I4I4I8I8I8I8I8I8I8'  -- see parts/state.lua
local PER_MS = 256  -- turns in a millisecond, until the counter runs ahead of the clock
local reserved

-- Take *count* turns and return the one before the first of them.
local function reserve(count)
    local last = math.max(tonumber(call('GET', P .. 'turn')) or 0, now * PER_MS)
    call('SET', P .. 'turn', last + count)
    return last
end

-- A script that writes something before it takes a turn reserves some first: that can stop it.
local function next_turn()
    reserved = (reserved or reserve(#ARGV)) + 1
    return reserved
end

-- A whole number as text, exactly: Lua itself would write 4.5e+14, and the server writes a number
-- that it is given as a fraction, which takes as long as most commands. Where a whole number of the
-- machine is too short, that is the only way.
local WHOLE = string.format('%d', 9e15) == '9000000000000000' and '%d' or '%.0f'
local function text(number)
    return string.format(WHOLE, number)
end
