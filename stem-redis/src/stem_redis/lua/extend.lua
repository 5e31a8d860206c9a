-- uses: prelude state places
-- Broker.extend: let leases run anew from now. Changes no fence and no counter.
--
-- ARGV     instant, then three for each: id, fence, milliseconds
-- returns  two for each: 0 lost, 1 held, 2 held and to be cancelled; and why
local replies = {}
for i = 2, #ARGV, 3 do
    local s, lease = find(ARGV[i]), tonumber(ARGV[i + 2])
    local status, why = 0, ''
    if s and s.held == 1 and s.fence == tonumber(ARGV[i + 1]) then
        move(s, LEASED, now + lease)
        write(s)
        status = 1 + s.cancel
        if s.cancel == 1 then why = call('HGET', P .. 'm:' .. s.id, 'c') or '' end
    end
    replies[#replies + 1] = status
    replies[#replies + 1] = why
end
return replies
