-- uses: prelude state
-- BrokerAdmin.dead_letters: a stretch of dead letters, the latest first.
--
-- ARGV     instant, queue (empty for all), the turn to go on below (empty to begin), how many
-- returns  the instant, then three for each: turn, id, and as in lookup.lua
local name = ARGV[2] == '' and P .. 'x' or P .. 'x:' .. ARGV[2]
local below = ARGV[3] == '' and '+inf' or '(' .. ARGV[3]
local found = call('ZREVRANGEBYSCORE', name, below, '-inf', 'WITHSCORES', 'LIMIT', 0, ARGV[4])
local replies = {now}
for i = 1, #found, 2 do
    local s = find(found[i])
    local kept = s and call('HMGET', P .. 'm:' .. found[i], 's', 'm', 'e', 'c', 'w', 'r')
    replies[#replies + 1] = text(tonumber(found[i + 1]))
    replies[#replies + 1] = found[i]
    replies[#replies + 1] = kept and kept[2] and kept or false
end
return replies
