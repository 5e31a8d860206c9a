-- uses: prelude records
-- ResultBackend.list: a stretch of records, the latest id first.
--
-- ARGV     instant, the id to go on below (empty to begin), how many to look at
-- returns  ids and records in turn; an id without a record has expired
local below = ARGV[2] == '' and '+' or '(' .. ARGV[2]
local ids = call('ZREVRANGEBYLEX', P .. 'rx', below, '-', 'LIMIT', 0, ARGV[3])
local replies = {}
for _, id in ipairs(ids) do
    replies[#replies + 1] = id
    replies[#replies + 1] = head_of(id) and call('GET', P .. 'r:' .. id) or false
end
return replies
