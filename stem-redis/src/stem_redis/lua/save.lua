-- uses: prelude records
-- ResultBackend.save: keep each record iff it replaces what is there.
--
-- ARGV     instant, then five for each: id, fence, 1 if terminal, milliseconds to keep, bytes
-- returns  1 or 0 for each
local replies = {}
for i = 2, #ARGV, 5 do
    local kept = offer(
        ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2] == '1', tonumber(ARGV[i + 3]), ARGV[i + 4]
    )
    replies[#replies + 1] = kept and 1 or 0
end
return replies
