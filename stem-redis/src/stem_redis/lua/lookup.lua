-- uses: prelude state
-- Broker.lookup: where messages are. Changes nothing, not even what is due.
--
-- ARGV     instant, then ids
-- returns  the instant, then for each id either nothing (false) or
--          row, bytes, errors, why it shall be cancelled, who holds it, why it is dead
local replies = {now}
for i = 2, #ARGV do
    local kept = find(ARGV[i]) and call('HMGET', P .. 'm:' .. ARGV[i], 's', 'm', 'e', 'c', 'w', 'r')
    replies[i] = kept and kept[2] and kept or false
end
return replies
