-- uses: prelude records
-- ResultBackend.progress_of: the last progress of tasks.
--
-- ARGV     instant, then ids
-- returns  for each its value, or nothing
local replies = {}
for i = 2, #ARGV do
    local raw = call('GET', P .. 'g:' .. ARGV[i])
    local value = false
    if raw and #raw >= HEAD_SIZE then
        local _, _, until_ms = struct.unpack(HEAD, raw)
        if until_ms > now then value = string.sub(raw, HEAD_SIZE + 1) end
    end
    replies[i - 1] = value
end
return replies
