-- uses: prelude records
-- ResultBackend.progress: keep the last progress of running tasks.
--
--   g:ID   a head like that of a record, then the value as JSON
--
-- ARGV     instant, then four for each: id, fence, milliseconds to keep, value
-- returns  nothing of interest
for i = 2, #ARGV, 4 do
    local id, fence, ttl = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
    local name, record = P .. 'g:' .. id, head_of(id)
    local is_late = record and record.is_terminal and fence <= record.fence
    local raw = call('GETRANGE', name, 0, HEAD_SIZE - 1)
    if #raw == HEAD_SIZE then
        local _, newest = struct.unpack(HEAD, raw)
        is_late = is_late or fence < newest
    end
    if not is_late and ttl > 0 then
        call('SET', name, struct.pack(HEAD, 0, fence, now + ttl) .. ARGV[i + 3], 'PX', ttl)
    end
end
return 0
