-- uses: prelude records
-- ResultBackend.reopen: let records of replayed tasks be queued again.
--
-- ARGV     instant, then two for each: id, fence
-- returns  1 for each that existed, else 0
local replies = {}
for i = 2, #ARGV, 2 do
    replies[#replies + 1] = reopen(ARGV[i], tonumber(ARGV[i + 1])) and 1 or 0
end
return replies
