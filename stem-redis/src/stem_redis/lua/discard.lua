-- uses: prelude state places
-- BrokerAdmin.discard: remove dead letters for good; their ids stay known for a while.
--
-- ARGV     instant, then ids
-- returns  two for each: 0 done, 1 already, 2 unknown; the fence when done
local replies = {}
for i = 2, #ARGV do
    local s, status, fence = find(ARGV[i]), 2, '0'
    if s and s.place ~= DEAD then
        status = 1
    elseif s then
        status, fence = 0, text(s.fence)
        finish(s)
    end
    replies[#replies + 1] = status
    replies[#replies + 1] = fence
end
return replies
