-- uses: prelude
-- LimitStore.acquire: one unit of every limit, or of none.
--
--   lr:KEY   starts by their instant    sorted set
--   lc:KEY   holders by their end       sorted set
--
-- ARGV     instant, holder, lease in milliseconds, then four for each limit: key, rate,
--          milliseconds, concurrent
-- returns  0 when granted, else milliseconds to wait
local holder, lease = ARGV[2], tonumber(ARGV[3])
local ASK_AGAIN = 250  -- a unit may be given back at any time, long before its lease ends

local has_rate = false

local function wait_of(key, rate, per, concurrent)
    local wait = 0
    if rate > 0 then
        has_rate = true
        local starts = P .. 'lr:' .. key
        call('ZREMRANGEBYSCORE', starts, '-inf', now - per)
        if call('ZCARD', starts) >= rate then
            wait = call('ZRANGE', starts, -rate, -rate, 'WITHSCORES')[2] + per - now
        end
    end
    if concurrent > 0 then
        local holders = P .. 'lc:' .. key
        call('ZREMRANGEBYSCORE', holders, '-inf', now)
        if not call('ZSCORE', holders, holder) and call('ZCARD', holders) >= concurrent then
            local soonest = call('ZRANGE', holders, 0, 0, 'WITHSCORES')[2] - now
            wait = math.max(wait, math.min(soonest, ASK_AGAIN))
        end
    end
    return wait
end

local function take(key, rate, per, concurrent)
    if rate > 0 then
        call('ZADD', P .. 'lr:' .. key, now, text(next_turn()))
        call('PEXPIRE', P .. 'lr:' .. key, per)
    end
    if concurrent > 0 then
        local holders = P .. 'lc:' .. key
        call('ZADD', holders, now + lease, holder)
        call('PEXPIRE', holders, math.max(lease, call('PTTL', holders)))
    end
end

local function each(work)
    local most = 0
    for i = 4, #ARGV, 4 do
        local key, rate, per, concurrent =
            ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
        most = math.max(most, work(key, rate, per, concurrent) or 0)
    end
    return most
end

local wait = each(wait_of)
if wait == 0 then
    if has_rate then reserved = reserve(#ARGV) end
    each(take)
end
return math.ceil(wait)
