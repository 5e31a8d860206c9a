-- uses: prelude state
-- The first part of BrokerAdmin.purge: some messages that wait, those first that come first.
--
-- ARGV     instant, queue, how many
-- returns  three for each: id, row, bytes
local ids = call('ZRANGE', P .. 'q:' .. ARGV[2], 0, ARGV[3] - 1)
local more = ARGV[3] - #ids
if more > 0 then
    for _, id in ipairs(call('ZRANGE', P .. 'd:' .. ARGV[2], 0, more - 1)) do ids[#ids + 1] = id end
end
local replies = {}
for _, id in ipairs(ids) do
    local kept = find(id) and call('HMGET', P .. 'm:' .. id, 's', 'm')
    if kept and kept[2] then
        replies[#replies + 1] = id
        replies[#replies + 1] = kept[1]
        replies[#replies + 1] = kept[2]
    end
end
return replies
