-- uses: prelude records
-- ResultBackend.load: records by id. Changes nothing.
--
-- ARGV     instant, then ids
-- returns  for each its flags, fence and bytes in one text, or nothing
local replies = {}
for i = 2, #ARGV do
    replies[i - 1] = head_of(ARGV[i]) and call('GET', P .. 'r:' .. ARGV[i]) or false
end
return replies
