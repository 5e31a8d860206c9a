-- uses: prelude state
-- BrokerAdmin.stats: how many of each queue are where.
--
-- ARGV     instant, then names of queues; none for all that are known
-- returns  eight for each: name, ready, delayed, parked, leased, dead, age of the oldest
--          ready one in milliseconds, 1 if paused
local names = {unpack(ARGV, 2)}
if #names == 0 then names = call('SUNION', P .. 'queues', P .. 'paused') end
local replies = {}

-- The first of each priority is the oldest of it: at most ten looks.
local function oldest(queue)
    local age, from = 0, 0
    while true do
        local first = call(
            'ZRANGEBYSCORE', P .. 'q:' .. queue, text(from), '+inf', 'WITHSCORES', 'LIMIT', 0, 1
        )
        if not first[1] then return age end
        local rank = math.floor(tonumber(first[2]) / LEVEL)
        local since = math.floor((tonumber(first[2]) - rank * LEVEL) / PER_MS)
        age = math.max(age, now - since)
        from = (rank + 1) * LEVEL
    end
end

for _, queue in ipairs(names) do
    local count = function(command, set) return call(command, P .. set .. queue) end
    local parked_waiting, parked_ready = count('SCARD', 'pw:'), count('SCARD', 'pr:')
    for _, value in ipairs({
        queue, count('ZCARD', 'q:') - parked_ready, count('ZCARD', 'd:') - parked_waiting,
        parked_waiting + parked_ready, count('ZCARD', 'l:'), count('ZCARD', 'x:'), oldest(queue),
        call('SISMEMBER', P .. 'paused', queue),
    }) do replies[#replies + 1] = value end
end
return replies
